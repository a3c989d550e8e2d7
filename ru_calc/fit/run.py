"""A fit from a data set to a run folder, as `ru-calc fit` makes it.

The folder holds `settings.json` (all settings), `split.json`, `log.csv`, `best.safetensors` and `last.safetensors`
(models), `state.safetensors` (the checkpoint), `learning_curves.png`, `parity.png` and `metrics.json`; in a fit to
several levels of theory also `split_2.json`, `best_2.safetensors` and `metrics_2.json` of the second level, and so on.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ru_calc.dataset import Dataset, fold_of, split_by_group
from ru_calc.errors import DataError, SettingsError
from ru_calc.evaluate.splits import read_split
from ru_calc.files import owned, read_json, whole_file, write_json
from ru_calc.fit.batches import PackedFrames
from ru_calc.fit.begin import first_potential
from ru_calc.fit.levels import Level, fingerprint, share_modules
from ru_calc.fit.losses import LabelStatistics
from ru_calc.fit.pair_cache import PairCache
from ru_calc.fit.report import final_report
from ru_calc.fit.runs import Log
from ru_calc.fit.settings import FitSettings
from ru_calc.fit.start import FIT, METRICS, NO_LICENCE, STATE, check_start, sha256_of_start
from ru_calc.fit.team import ALONE, Team
from ru_calc.fit.trainer import TIMES, Trainer, epoch_batches
from ru_calc.fit.uncertainty import calibrate
from ru_calc.modelfiles.load import save_model
from ru_calc.modelfiles.read import BEST
from ru_calc.reports.figures import learning_curves


@dataclass(frozen=True)
class FitInput:
    """A fit to make.

    Attributes:
        dataset: labelled frames, of the level of theory that the model predicts.
        folder: the run folder.
        settings: of the fit.
        device: `cpu`, `cuda` or `cuda:N`.
        init_from: name or file of the model to start from; None means random weights.
        licence: of the weights, for the model file.
        others: frames of other levels of theory, which share the network; see `levels.py`.
    """

    dataset: Dataset
    folder: Path
    settings: FitSettings
    device: str = "cpu"
    init_from: str | None = None
    licence: str = NO_LICENCE
    others: Sequence[Dataset] = ()

    @cached_property
    def init_from_sha256(self) -> str | None:
        """See `sha256_of_start`."""
        return sha256_of_start(self.folder, self.init_from)

    @property
    def levels(self) -> list[Dataset]:
        """The data sets of all levels of theory, that of the model first."""
        return [self.dataset, *self.others]


def run_fit(
    job: FitInput, resume: bool = False, say: Log = print, bar: Any = None, team: Team = ALONE
) -> dict[str, Any]:
    """Fits a potential, or resumes a fit that was interrupted.

    Args:
        resume: resume the fit in `job.folder`; the result is that of an uninterrupted one.
        say: prints a line.
        bar: progress bar with `update(n)` and `reset(total)`; None shows none.
        team: the processes that fit together; all but the main one use neither the folder nor `resume`, `say` and
            `bar`.

    Returns:
        The final errors, as in `metrics.json`; nothing in a process that is not the main one.

    Raises:
        DataError: the data lack a label that the loss needs, or a part of the split is empty.
        SettingsError, OutputError: see `check_start`.
    """
    if not team.main:
        _assist(job, team)
        return {}
    with owned(job.folder):
        return _fit(job, resume, say, bar, team)


def _assist(job: FitInput, team: Team) -> None:
    """What the other processes do: the same epochs, without a file."""
    torch.manual_seed(job.settings.seed)
    trainer = start_trainer(job, team.of_main(None), lambda line: None, team)
    _share_state(trainer)
    if team.of_main(None):
        trainer.progress.best_loss, _ = trainer.validate()
    while not trainer.finished:
        trainer.run_epoch()


def _share_state(trainer: Trainer) -> None:
    """All processes begin with the state of the main one; its file may be on another machine."""
    if trainer.team.size == 1:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / STATE
        if trainer.team.main:
            trainer.save_state(path)
        content: bytes = trainer.team.of_main(path.read_bytes() if trainer.team.main else None)
        if not trainer.team.main:
            path.write_bytes(content)
            trainer.load_state(path)


def _fit(job: FitInput, resume: bool, say: Log, bar: Any, team: Team) -> dict[str, Any]:
    settings = job.settings
    check_start(job.folder, settings, job.init_from, resume, fingerprint(job.levels))
    splits = team.of_main((_begun_splits(job) if resume else None) or splits_of(job))
    torch.manual_seed(settings.seed)
    trainer = start_trainer(job, splits, say, team)
    if not resume:  # only now, so that a fit that cannot start leaves no folder behind
        begin_fit(job)
    write_splits(job, splits)
    state = job.folder / STATE
    if resume and state.is_file():
        trainer.load_state(state)
        say(f"resumed after epoch {trainer.progress.epoch}" + (": already finished" if trainer.finished else ""))
    _share_state(trainer)
    if team.of_main(job.init_from is not None and not (resume and state.is_file())):
        _take_start(trainer, job, say)
    _train(trainer, job, say, bar)
    _write_log(job.folder, trainer.progress.rows)
    learning_curves(job.folder / "learning_curves.png", trainer.progress.rows)
    if settings.family == "schnet":
        unseen = "test" if settings.folds else "validation"
        training, held_out = (job.dataset.select(splits[0][part]) for part in ("train", unseen))
        calibrate(job.folder / BEST, training, held_out, say)
    reports = [
        final_report(numbered(job.folder / BEST, k), dataset, splits[k], numbered(job.folder / METRICS, k), say)
        for k, dataset in list(enumerate(job.levels))[::-1]  # the model's own last: then the fit is finished
    ]
    _say_result(trainer, job, say)
    return reports[-1]


def _begun_splits(job: FitInput) -> list[dict[str, np.ndarray]] | None:
    # The fit may have begun in a version that splits otherwise; a new split would move test frames into training.
    paths = [numbered(job.folder / "split.json", k) for k in range(len(job.levels))]
    if not all(path.is_file() for path in paths):
        return None
    return [read_split(path, dataset) for path, dataset in zip(paths, job.levels, strict=True)]


def numbered(path: Path, level: int) -> Path:
    """The file of a level of theory, counted from 0: its number is added from the second on."""
    return path.with_stem(f"{path.stem}_{level + 1}") if level else path


def finish_fit(job: FitInput, note: str, say: Log = print, bar: Any = None) -> dict[str, Any]:
    """Starts, resumes or just reads the fit in `job.folder`; returns its final errors, see `run_fit`.

    Args:
        note: printed before a fit that is not finished; the name of the folder precedes every line.
    """

    def say_of_it(line: str) -> None:
        say(f"{job.folder.name}: {line}")

    if finished(job.folder):
        say_of_it("already finished")
    else:
        say_of_it(note)
        run_fit(job, FIT.begun(job.folder), say_of_it, bar)
    return dict(read_json(job.folder / METRICS))


def finished(folder: Path) -> bool:
    """Whether the fit in a run folder is finished."""
    return (folder / METRICS).is_file()


def _say_result(trainer: Trainer, job: FitInput, say: Log) -> None:
    best, done = trainer.progress.best_epoch, trainer.progress.epoch
    if job.init_from is not None and not best:
        say(f"warning: no epoch was better than {job.init_from}, from which the fit started: the errors are its own")
    say(f"the {job.settings.keep} model, of epoch {best} of {done}, is in {job.folder / BEST}")


def splits_of(job: FitInput) -> list[dict[str, np.ndarray]]:
    """Indices of the frames of each part, for each level of theory.

    Raises:
        DataError: the data lack a label that the loss needs, or there are no training or no validation frames.
        SettingsError: `passes` of the settings has another number of levels.
    """
    settings, levels = job.settings, job.levels
    if len(settings.passes) not in (0, len(levels)):
        raise SettingsError(
            f"passes is {settings.passes}, but the data are of {len(levels)} levels of theory; give one number for each"
        )
    return [_split(dataset, settings) for dataset in levels]


def _split(dataset: Dataset, settings: FitSettings) -> dict[str, np.ndarray]:
    dataset.require(settings.labels)
    split = _parts(dataset, settings)
    for name in ("train", "validation"):
        if not len(split[name]):
            raise DataError(
                f"the {name} part of the split {settings.split} of {len(dataset)} frames is empty; give more frames "
                "(and groups), or another --split"
            )
    return split


def _parts(dataset: Dataset, settings: FitSettings) -> dict[str, np.ndarray]:
    if not settings.folds:
        return split_by_group(dataset, settings.split, settings.seed_of_split)
    fold = fold_of(dataset, settings.folds, settings.seed_of_split)
    rest = np.flatnonzero(fold != settings.fold)
    train, validation, _ = settings.split
    parts = max(round((train + validation) / validation), 2)
    held = fold_of(dataset.select(rest), parts, settings.seed_of_split) == 0
    return {"train": rest[~held], "validation": rest[held], "test": np.flatnonzero(fold == settings.fold)}


def _take_start(trainer: Trainer, job: FitInput, say: Log) -> None:
    """Keeps the weights to start from as the best until an epoch is better."""
    loss, errors = trainer.validate()
    trainer.progress.best_loss = loss
    _save(job, BEST, trainer, {"epoch": 0, **errors})
    say(f"start: {_errors('validation', errors)}  loss {loss:.4f}")


def _train(trainer: Trainer, job: FitInput, say: Log, bar: Any) -> None:
    n_batches = len(epoch_batches(trainer.levels, job.settings, 0))
    if not trainer.finished:
        say(
            "mean absolute errors: of training frames during the epoch, of validation frames with the averaged weights "
            "after it; * marks the best loss so far"
        )
    say(
        f"{job.settings.epochs} epochs of {n_batches} batches: "
        + ", ".join(f"{len(one.train)} training and {len(one.validation)} validation frames" for one in trainer.levels)
    )
    if bar is not None:
        bar.reset(total=job.settings.epochs * n_batches)
        bar.update(trainer.progress.epoch * n_batches)
    while not trainer.finished:
        improved = trainer.run_epoch(bar.update if bar is not None else lambda batches: None)
        row = trainer.progress.rows[-1]
        _save(job, "last.safetensors", trainer, row)
        if improved:
            _save(job, BEST, trainer, row)
        _write_log(job.folder, trainer.progress.rows)
        # Last: a fit killed before this line repeats the epoch, and writes the same files again.
        trainer.save_state(job.folder / STATE)
        say(epoch_line(row, job.settings.epochs, improved))
    if trainer.progress.epoch < job.settings.epochs:
        say(f"stopped early: the validation loss has not improved since epoch {trainer.progress.best_epoch}")


def start_trainer(job: FitInput, splits: Sequence[dict[str, np.ndarray]], say: Log, team: Team = ALONE) -> Trainer:
    """A trainer before its first epoch.

    Args:
        splits: indices of `train` and `validation` frames, for each level of theory.
    """
    settings, cache = job.settings, PairCache(say=say)
    parts = [
        [dataset.select(split[name]) for name in ("train", "validation")]
        for dataset, split in zip(job.levels, splits, strict=True)
    ]
    potentials = [
        first_potential(settings, dataset, train_set, job.init_from, say)
        for dataset, (train_set, _) in zip(job.levels, parts, strict=True)
    ]
    share_modules(potentials, settings.own)
    dtype = getattr(torch, settings.dtype)
    levels = []
    for potential, (train_set, validation_set) in zip(potentials, parts, strict=True):
        train, validation = (
            PackedFrames(part, potential.cutoff_A, dtype, job.device, cache) for part in (train_set, validation_set)
        )
        potential.to(device=job.device, dtype=dtype)
        levels.append(Level(potential, train, validation, LabelStatistics.of(train_set)))
    trainer = Trainer(levels, settings, team)
    _check_batches(trainer, say)
    return trainer


def _check_batches(trainer: Trainer, say: Log) -> None:
    settings = trainer.settings
    batches = settings.epochs * len(epoch_batches(trainer.levels, settings, 0))
    if batches < settings.accumulate:
        raise SettingsError(
            f"accumulate is {settings.accumulate}, but all epochs together have {batches} batches, so the weights "
            f"would never change; use --set accumulate={max(batches // 10, 1)} or less, or more epochs"
        )
    if not trainer.compiled and settings.model.get("spline_intervals"):
        say(
            "the compiled passes are missing (no C++20 compiler at installation): plain torch fits the same network "
            "some four times slower"
        )


def begin_fit(job: FitInput, **facts: Any) -> None:
    """Makes the run folder with the record of the fit.

    Args:
        facts: further entries of the record.
    """
    record: dict[str, Any] = {
        "settings": asdict(job.settings), "data": fingerprint(job.levels), "init_from": job.init_from,
        "init_from_sha256": job.init_from_sha256, "licence": job.licence,
        "level_of_theory": job.dataset.level_of_theory,
        "other_levels": [other.level_of_theory for other in job.others], **facts,
    }  # fmt: skip
    FIT.begin(job.folder, record)


def write_splits(job: FitInput, splits: Sequence[dict[str, np.ndarray]]) -> None:
    """Writes `split.json` of each level of theory, also when a fit is resumed that was killed before it had."""
    for k, (dataset, split) in enumerate(zip(job.levels, splits, strict=True)):
        parts = {name: indices.tolist() for name, indices in split.items()}
        path = numbered(job.folder / "split.json", k)
        write_json(path, {"data": dataset.fingerprint(), **parts}, indent=None)


def _save(job: FitInput, name: str, trainer: Trainer, row: dict[str, float]) -> None:
    """Writes the averaged weights of all levels of theory, that of the model last.

    Without the times of the epoch, so that equal fits write equal files.
    """
    metrics = {name: value for name, value in row.items() if name not in TIMES}
    for k, (dataset, averaged) in list(enumerate(zip(job.levels, trainer.averages, strict=True)))[::-1]:
        save_model(numbered(job.folder / name, k), averaged, _header(job, dataset, {} if k else metrics))


def _header(job: FitInput, dataset: Dataset, metrics: dict[str, float]) -> dict[str, Any]:
    others = [other for other in job.levels if other is not dataset]
    return {
        "level_of_theory": dataset.level_of_theory, "energy_reference": dataset.energy_reference,
        "data": dataset.fingerprint(), "seed": job.settings.seed, "licence": job.licence,
        "other_levels": {other.level_of_theory: other.fingerprint() for other in others},
        "init_from": job.init_from, "init_from_sha256": job.init_from_sha256,
        "fit": asdict(job.settings), "metrics": metrics,
    }  # fmt: skip


def epoch_line(row: dict[str, float], epochs: int, improved: bool) -> str:
    """One epoch in a line: mean absolute errors of training and validation."""
    mark = " *" if improved else ""
    return (
        f"epoch {row['epoch']:4.0f}/{epochs}  {_errors('train', row)}  {_errors('validation', row)}  "
        f"loss {row['validation_loss']:.4f}  {row['seconds']:.0f} s{mark}"
    )


def _errors(part: str, row: dict[str, float]) -> str:
    shown = (
        ("energy_meV_per_atom", "7.1f", "meV/atom"),
        ("forces_meV_per_A", "7.1f", "meV/Å"),
        ("stress_GPa", "6.3f", "GPa"),
    )
    found = [f"{row[f'{part}_{name}']:{form}} {unit}" for name, form, unit in shown if f"{part}_{name}" in row]
    return " ".join([part, *found])


def _write_log(folder: Path, rows: list[dict[str, float]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with whole_file(folder / "log.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
