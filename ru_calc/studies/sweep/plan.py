"""The plan of a sweep, which is also its record: `plan.json` in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ru_calc.errors import SettingsError
from ru_calc.fit.runs import RunKind, refuse
from ru_calc.fit.settings import FitSettings, differences
from ru_calc.studies.sweep.trials import Changes, Trials, built_in, check_trials, resolved

SWEEP = RunKind("sweep", "plan.json")
EPOCHS = 40


@dataclass(frozen=True)
class Plan:
    """A sweep.

    Attributes:
        shared: changes to the preset `md` for all trials, `epochs`, `seed` and `split_seed` among them.
        trials: name → further changes.
        data: fingerprint of the data; empty until they have been read.
        commands: that started and extended the sweep.
    """

    shared: Changes
    trials: Trials
    data: str = ""
    commands: tuple[str, ...] = ()

    @property
    def base(self) -> FitSettings:
        """The common settings of the trials."""
        return resolved(self.shared, {})

    def settings(self, name: str) -> FitSettings:
        """Settings of a trial, which gets the training and validation frames of the sweep and has no test frames."""
        train, validation, _ = self.base.split
        both = train + validation
        settings = resolved(self.shared, self.trials[name])
        return replace(settings, split=(train / both, validation / both, 0.0))

    def chosen(self, only: tuple[str, ...]) -> tuple[str, ...]:
        """The trials with these names, or all if none is given.

        Raises:
            SettingsError: there is no such trial.
        """
        for name in only:
            if name not in self.trials:
                raise SettingsError(f"there is no trial {name!r}; choose from {', '.join(self.trials)}")
        return tuple(name for name in self.trials if name in only or not only)


def stored(folder: Path) -> Plan:
    """The sweep in a folder.

    Raises:
        SettingsError: there is none, or its record is damaged.
        OutputError: the folder cannot be written.
    """
    return SWEEP.resume(folder, _plan)


def _plan(record: dict[str, Any]) -> Plan:
    trials = {str(name): dict(changes) for name, changes in record["trials"].items()}
    return Plan(dict(record["shared"]), trials, str(record["data"]), tuple(record["commands"]))


def plan_sweep(folder: Path, given: Mapping[str, Any], trials: Trials | None = None, resume: bool = False) -> Plan:
    """Plans the sweep in `folder`; changes nothing there.

    Args:
        given: changes to the preset `md` for all trials; a resumed sweep keeps its own.
        trials: None takes the folder's, or the built-in ones; a resumed sweep adds these to its own.
        resume: resume the sweep in `folder`.

    Raises:
        SettingsError: a setting or trial is wrong; the folder holds another sweep, or none to resume.
        OutputError: the folder cannot be made or written.
    """
    if not resume:
        SWEEP.claim(folder)
    before = stored(folder) if resume else Plan({}, {})
    shared = {"epochs": EPOCHS, "seed": 0, **before.shared, **given}
    # Trials with other seeds must have the same validation frames.
    shared["split_seed"] = resolved(shared, {}).seed_of_split
    new = trials if trials is not None else before.trials or built_in(shared)
    plan = replace(before, shared=shared, trials=before.trials | new)
    settings = check_trials(plan.trials, shared)
    changed = differences(asdict(before.base), plan.base) if resume else []
    for name, trial in before.trials.items():
        then = asdict(resolved(shared, trial))
        changed += [f"trial {name}: {change}" for change in differences(then, settings[name])]
    refuse(changed)
    return plan
