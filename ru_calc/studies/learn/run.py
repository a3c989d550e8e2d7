"""The loop: a first fit, then rounds until no candidate is uncertain any more.

The folder holds `learn.json` (all settings), a folder for each round (`round_0` is the first fit), and `learn.md` and
`results.json`.  A round's folder holds its candidates, the frames chosen, their labels, the fit and its figures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ru_calc.errors import SettingsError
from ru_calc.files import owned, write_json, write_text
from ru_calc.fit.levels import fingerprint
from ru_calc.fit.runs import RunKind, changes, data_changes, refuse
from ru_calc.label import check_calculator
from ru_calc.modelfiles import load_model
from ru_calc.sample import wanted_kinds, wanted_md_kinds
from ru_calc.studies.learn.report import report
from ru_calc.studies.learn.rounds import Loop, play
from ru_calc.studies.learn.settings import LearnSettings

LEARNING = RunKind("loop", "learn.json")


def learn(loop: Loop, resume: bool = False) -> list[dict[str, Any]]:
    """Plays all rounds, or resumes where they stopped; rounds and workers may differ from before.

    Returns:
        The figures of each round, as in `results.json`.

    Raises:
        SettingsError: another loop is in the folder, or none to resume, or one with other settings; a family without
            an uncertainty.
        UnphysicalError: all frames of a round failed; they are tried again when the loop is resumed.
        DataError, ModelError, OutputError: from sampling, labelling and fitting.
    """
    with owned(loop.folder):
        return _learn(loop, resume)


def _learn(loop: Loop, resume: bool) -> list[dict[str, Any]]:
    check_learning(loop, resume)
    if not resume:
        LEARNING.begin(loop.folder, {**loop.settings.record(), "data": _data(loop), "licence": loop.licence})
    rows: list[dict[str, Any]] = []
    for number in range(loop.settings.rounds + 1):
        rows.append(play(loop, number))
        write_json(loop.folder / "results.json", rows)
        write_text(loop.folder / "learn.md", report(loop, rows))
        if number and not rows[-1]["labelled"]:
            loop.say(f"round {number} found nothing to label: the model knows all that these conditions visit")
            break
    loop.say(report(loop, rows).rstrip())
    return rows


def check_learning(loop: Loop, resume: bool) -> None:
    """Refuses a loop that cannot start, or cannot be resumed; changes nothing.  Raises: see `learn`."""
    family = load_model(loop.settings.init_from).potential.family
    if family != "schnet":
        raise SettingsError(f"{loop.settings.init_from} is of family {family}, which has no uncertainty; use a schnet")
    if loop.settings.labelling.level_of_theory != loop.dataset.level_of_theory:
        raise SettingsError(
            f"the frames are labelled at {loop.settings.labelling.level_of_theory!r}, but the data to start from are "
            f"at {loop.dataset.level_of_theory!r}; label with the same, or name the level with --level"
        )
    _ = loop.settings.fitting()
    for wanted in (wanted_kinds, wanted_md_kinds):
        wanted(loop.settings.sampling(1))
    check_calculator(loop.settings.labelling)
    if not resume:
        LEARNING.claim(loop.folder)
        return
    before = LEARNING.resume(loop.folder, dict)
    data = before.pop("data")
    refuse([*changes(_fixed(before), _fixed(loop.settings.record())), *data_changes(data, _data(loop))])


def _fixed(record: dict[str, Any]) -> dict[str, Any]:
    """What may not change when a loop is resumed: all that decides what the rounds played so far hold."""
    label = {name: value for name, value in record["label"].items() if name != "workers"}
    return {name: value for name, value in record.items() if name not in ("rounds", "licence")} | {"label": label}


def stored_settings(folder: Path) -> dict[str, Any]:
    """Settings and licence of the loop in a folder.

    Raises:
        SettingsError: there is none, or its record is damaged.
    """
    return LEARNING.resume(folder, lambda record: {k: v for k, v in record.items() if k != "data"})


def settings_from(record: dict[str, Any]) -> LearnSettings:
    """Settings from their record."""
    return LearnSettings(**{name: value for name, value in record.items() if name != "licence"})


def _data(loop: Loop) -> str:
    return fingerprint([loop.dataset, *loop.others])
