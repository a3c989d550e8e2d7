"""The steps of a round; each leaves a file, and is not repeated when that file is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write

from ru_calc.calculator import RuCalculator
from ru_calc.dataset import Dataset
from ru_calc.dataset.convert import ConvertSettings, convert
from ru_calc.dataset.groups import group_of
from ru_calc.dataset.layouts import read_frames
from ru_calc.errors import UnphysicalError
from ru_calc.evaluate.metrics import Comparison, error_table
from ru_calc.files import make_folder, read_json, whole_file, write_json
from ru_calc.fit.committee import run_committee
from ru_calc.fit.folds import held_out
from ru_calc.fit.report import open_fitted
from ru_calc.fit.run import FitInput
from ru_calc.fit.runs import Log
from ru_calc.fit.start import FIT, NO_LICENCE
from ru_calc.label import label_frames
from ru_calc.predictor import predict_all
from ru_calc.sample import sample
from ru_calc.studies.learn.choose import assessed, chosen
from ru_calc.studies.learn.settings import LearnSettings

CANDIDATES, CHOSEN, LABELS, RESULT = "candidates.extxyz", "chosen.extxyz", "labels.extxyz", "round.json"


@dataclass(frozen=True)
class Loop:
    """What all rounds have in common.

    Attributes:
        folder: of the loop.
        settings: of all rounds.
        dataset: frames labelled before the first round, at the level that is learned.
        others: frames of other levels of theory.
        licence: of the weights.
        say: prints a line.
        bar: see `ru_calc.fit.run.run_fit`.
    """

    folder: Path
    settings: LearnSettings
    dataset: Dataset
    others: Sequence[Dataset] = ()
    licence: str = NO_LICENCE
    say: Log = print
    bar: Any = None

    def round_folder(self, number: int) -> Path:
        """Of a round; 0 is that of the first fit."""
        return self.folder / f"round_{number}"

    def fit_folder(self, number: int) -> Path:
        """Of the fit of a round."""
        return self.round_folder(number) / "fit"


def finished(loop: Loop, number: int) -> bool:
    """Whether a round is finished."""
    return (loop.round_folder(number) / RESULT).is_file()


def result(loop: Loop, number: int) -> dict[str, Any]:
    """The figures of a finished round."""
    return dict(read_json(loop.round_folder(number) / RESULT))


def play(loop: Loop, number: int) -> dict[str, Any]:
    """Plays a round, or what is left of it, and returns its figures; round 0 is the first fit alone."""
    if finished(loop, number):
        return result(loop, number)
    make_folder(loop.round_folder(number))
    row: dict[str, Any] = {"round": number}
    if number:
        row |= _found(loop, number)
        row |= _labelled(loop, number)
        if row["failed"] and not row["labelled"]:
            raise UnphysicalError(
                f"round {number}: all {row['failed']} frames failed, see {LABELS}.failed in its folder; mend the "
                "cause, then --resume tries them again"
            )
        if not row["labelled"]:
            write_json(loop.round_folder(number) / RESULT, row)
            return row
        row |= _before(loop, number)
    row |= _fitted(loop, number)
    write_json(loop.round_folder(number) / RESULT, row)
    return row


def data_of(loop: Loop, number: int) -> Dataset:
    """All frames that are labelled at the end of a round."""
    parts = [loop.dataset, *(new_data(loop, k) for k in range(1, number + 1))]
    return Dataset.joined(parts) if len(parts) > 1 else parts[0]


def new_data(loop: Loop, number: int) -> Dataset:
    """The frames that a round labelled."""
    level = ConvertSettings(level_of_theory=loop.dataset.level_of_theory)
    return convert([loop.round_folder(number) / LABELS], level).dataset


def _found(loop: Loop, number: int) -> dict[str, Any]:
    """Candidates of the last model's dynamics, and the choice among them."""
    folder, settings = loop.round_folder(number), loop.settings
    path = folder / CHOSEN
    if not path.is_file():
        model = str(loop.fit_folder(_last_fit(loop, number)))
        known = data_of(loop, number - 1)
        made = sample(settings.sampling(number), lambda: RuCalculator(model), report=lambda kind: loop.say(f"  {kind}"))
        for note in made.notes:
            loop.say(f"  {note}")
        candidates = assessed(made.frames, model, settings.threshold_eV_per_A)
        picked = chosen(candidates, settings.frames, model, known.structures)
        _write(folder / CANDIDATES, candidates.frames)
        write_json(folder / "choice.json", {
            "candidates": len(candidates.frames), "uncertain": len(candidates.uncertain),
            "threshold_eV_per_A": candidates.threshold_eV_per_A, "notes": made.notes,
        })  # fmt: skip
        _write(path, [candidates.frames[k] for k in picked])
    choice = dict(read_json(folder / "choice.json"))
    frames = _read(path)
    loop.say(
        f"round {number}: {choice['candidates']} candidates, {choice['uncertain']} with an atom above "
        f"{choice['threshold_eV_per_A']:.3f} eV/Å; {len(frames)} to label"
    )
    return choice | {"chosen": len(frames)}


def _labelled(loop: Loop, number: int) -> dict[str, Any]:
    folder = loop.round_folder(number)
    frames, path = _read(folder / CHOSEN), folder / LABELS
    failed = 0
    if frames:
        # Where all have failed, the cause was not the frames.
        how = replace(loop.settings.labelling, retry_failed=not path.is_file())
        done = label_frames(frames, path, how, loop.say, source=str(folder / CHOSEN))
        failed = len(done.failed) + done.failed_before
        if done.left:
            raise KeyboardInterrupt  # by the stop file
    labels = read_frames(path) if path.is_file() and path.stat().st_size else []
    cost_s = sum(float(atoms.info.get("cpu_s", 0.0)) for atoms in labels)
    return {"labelled": len(labels), "failed": failed, "labelling_cpu_min": cost_s / 60}


def _before(loop: Loop, number: int) -> dict[str, Any]:
    """Errors of the model of the round before on the new frames, and the errors that it expected."""
    data = new_data(loop, number)
    predictor = open_fitted(loop.fit_folder(_last_fit(loop, number))).predictor
    found = predict_all(predictor, data.structures, ("energy", "forces", "stress", "uncertainty"))
    errors = Comparison(data, found.energy, found.forces, found.stress)
    actual = np.sqrt(np.mean((found.forces - data.forces) ** 2))
    expected = np.sqrt(np.mean(found.uncertainty**2))
    return {
        "before": error_table(errors, by=group_of),
        "expected_error_eV_per_A": float(expected), "actual_error_eV_per_A": float(actual),
    }  # fmt: skip


def _fitted(loop: Loop, number: int) -> dict[str, Any]:
    """Fits to all frames so far; errors of each by the member of the folds that has not seen it."""
    data, folder, settings = data_of(loop, number), loop.fit_folder(number), loop.settings.fitting()
    job = FitInput(data, folder, settings, "cpu", loop.settings.init_from, loop.licence, loop.others)
    loop.say(f"round {number}: a fit to {len(data)} frames")
    run_committee(job, settings.folds, FIT.begun(folder), loop.say, loop.bar)
    comparison, order = held_out(job)
    first = np.flatnonzero(order < len(loop.dataset))
    return {
        "frames": len(data),
        "all": error_table(comparison, by=group_of),
        "first frames": error_table(comparison, {"test": first}, by=group_of),
    }


def _last_fit(loop: Loop, number: int) -> int:
    """The last round before this one that has a fit."""
    return max(k for k in range(number) if FIT.begun(loop.fit_folder(k)))


def _write(path: Path, frames: Sequence[Atoms]) -> None:
    with whole_file(path) as temporary:
        if frames:
            write(temporary, list(frames), format="extxyz")
        else:
            temporary.write_text("")


def _read(path: Path) -> list[Atoms]:
    return read_frames(path) if path.stat().st_size else []
