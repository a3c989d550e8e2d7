"""What a sweep was begun with: `plan.json` in its folder, by which it knows whether it may go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ru_calc.errors import SettingsError
from ru_calc.files import check_folder, read_stored
from ru_calc.fit.settings import FitSettings, differences
from ru_calc.studies.sweep.trials import Changes, Trials, built_in, check_trials, resolved

PLAN = "plan.json"
EPOCHS = 40


@dataclass(frozen=True)
class Plan:
    """A sweep.

    Attributes:
        shared: changes to the preset `md` that every trial has; `epochs`, `seed` and `split_seed` are among them.
        trials: name → further changes.
        data: fingerprint of the data; empty before they are known.
        commands: by which it came about.
    """

    shared: Changes
    trials: Trials
    data: str = ""
    commands: tuple[str, ...] = ()

    @property
    def base(self) -> FitSettings:
        """What the trials share, as settings."""
        return resolved(self.shared, {})

    def settings(self, name: str) -> FitSettings:
        """Of a trial: its frames are the training and validation frames of the sweep, and nothing is left to test."""
        train, validation, _ = self.base.split
        both = train + validation
        settings = resolved(self.shared, self.trials[name])
        return replace(settings, split=(train / both, validation / both, 0.0))

    def chosen(self, only: tuple[str, ...]) -> tuple[str, ...]:
        """The trials with these names, or all where none is given.

        Raises:
            SettingsError: there is no such trial.
        """
        for name in only:
            if name not in self.trials:
                raise SettingsError(f"there is no trial {name!r}; choose of {', '.join(self.trials)}")
        return tuple(name for name in self.trials if name in only or not only)


def stored(folder: Path) -> Plan | None:
    """The sweep in a folder, or None where there is none.

    Raises:
        SettingsError: it is damaged.
    """
    path = folder / PLAN
    if not path.is_file():
        return None

    def make(found: dict[str, Any]) -> Plan:
        trials = {str(name): dict(changes) for name, changes in found["trials"].items()}
        return Plan(dict(found["shared"]), trials, str(found["data"]), tuple(found["commands"]))

    return read_stored(path, make)


def plan_sweep(folder: Path, given: Mapping[str, Any], trials: Trials | None = None, resume: bool = False) -> Plan:
    """The sweep that is to be made in `folder`; changes nothing there.

    Args:
        given: changes to the preset `md` for all trials; when it goes on, those of the folder need not be repeated.
        trials: None takes the folder's, or the built-in ones; when it goes on, these are added to the folder's.
        resume: go on in `folder`.

    Raises:
        SettingsError: a setting or trial is wrong, the folder holds another sweep, or none to resume.
        OutputError: the folder cannot be made or written.
    """
    before = stored(folder)
    if before and not resume:
        raise SettingsError(f"{folder} already holds a sweep; use --resume, or another folder")
    if resume and before is None:
        raise SettingsError(f"{folder} holds no sweep to resume; leave out --resume")
    check_folder(folder)
    shared = {"epochs": EPOCHS, "seed": 0, **(before.shared if before else {}), **given}
    # Another seed of a trial must not change the frames that it is judged by.
    shared["split_seed"] = resolved(shared, {}).seed_of_split
    known = before.trials if before else {}
    new = trials if trials is not None else known or built_in(shared)
    plan = Plan(shared, known | new, before.data if before else "", before.commands if before else ())
    settings = check_trials(plan.trials, shared)
    changed = differences(asdict(before.base), plan.base) if before else []
    for name in known:
        then = asdict(resolved(shared, known[name]))
        changed += [f"trial {name}: {change}" for change in differences(then, settings[name])]
    if changed:
        raise SettingsError(f"cannot resume with changed settings: {'; '.join(changed)}")
    return plan
