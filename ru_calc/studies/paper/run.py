"""The `paper` protocol from a data set to a folder, as `ru-calc compare --protocol paper` follows it.

The folder holds `protocol.json`, `descriptors.npz` (SOAP vectors), `rows/NAME.json` for each finished row of the table,
`rows/NAME.safetensors` for a row in training, and at the end `table.md`, `results.json` and `figure.png`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ru_calc.dataset import Dataset, split_by_group
from ru_calc.errors import DataError
from ru_calc.files import make_folder, owned, read_json, write_json
from ru_calc.fit.runs import Log
from ru_calc.studies.compare.settings import QUICK_FRAME_ATOMS, QUICK_FRAMES
from ru_calc.studies.compare.start import begin, check_start
from ru_calc.studies.paper.components import Scales
from ru_calc.studies.paper.descriptors import cached_soap_vectors, require_dscribe
from ru_calc.studies.paper.report import errors_of, write_report
from ru_calc.studies.paper.settings import SPLITS, STEPWISE, PaperProtocol
from ru_calc.studies.paper.training import Part, Training, predict

SAVE_EVERY_S = 10.0


def check_paper_start(folder: Path, protocol: PaperProtocol, resume: bool = False, data: str | None = None) -> None:
    """`ru_calc.studies.compare.start.check_start`, and a check for DScribe.

    Raises:
        SettingsError: DScribe is missing; else as there.
        OutputError: as there.
    """
    require_dscribe()
    check_start(folder, protocol, resume, data)


def run_paper(
    dataset: Dataset, folder: Path, protocol: PaperProtocol, say: Log = print, bar: Any = None, resume: bool = False
) -> dict[str, Any]:
    """The paper's Table 1 for these data; a resumed run gives the numbers of an uninterrupted one.

    Args:
        say: prints a line.
        bar: progress bar over epochs with `update(n)` and `reset(total)`; None shows none.
        resume: resume the comparison in `folder`.

    Returns:
        The contents of `results.json`.

    Raises:
        DataError: no frame has both energy and forces, or a part of the split is empty.
        SettingsError, OutputError: see `check_paper_start`.
    """
    with owned(folder):
        return _run(dataset, folder, protocol, say, bar, resume)


def _run(dataset: Dataset, folder: Path, protocol: PaperProtocol, say: Log, bar: Any, resume: bool) -> dict[str, Any]:
    check_paper_start(folder, protocol, resume, dataset.fingerprint())
    frames, split = _frames(dataset, protocol, say)
    begin(folder, protocol, dataset.fingerprint(), protocol.families)
    make_folder(folder / "rows")
    say(f"SOAP vectors of {frames.structures.n_atoms} atoms")
    vectors = cached_soap_vectors(frames, protocol.soap, folder / "descriptors.npz")
    scales = Scales.of(*_chosen(frames, vectors, split["train"]), protocol)
    parts = {name: _part(frames, vectors, split[name], scales, protocol) for name in SPLITS}
    say(f"{len(scales.descriptors)} inputs and {1 + len(scales.forces)} targets per atom")
    if bar is not None:
        bar.reset(total=protocol.lengths[0] * len(protocol.families))
    # SchNet takes most of the time, and comes last.
    order = sorted(protocol.families, key=lambda family: family in ("SchNet", STEPWISE))
    trained = {family: _row(family, parts, folder, protocol, say, bar) for family in order}
    rows = {family: trained[family] for family in protocol.families}
    results = {
        "protocol": "paper", "settings": protocol.record(), "data": _facts(dataset, frames, split),
        "components": _components(scales), "batch_atoms": protocol.lengths[1], "rows": rows, "mean": _mean_row(parts),
    }  # fmt: skip
    return write_report(results, folder)


def _frames(dataset: Dataset, protocol: PaperProtocol, say: Log) -> tuple[Dataset, dict[str, np.ndarray]]:
    """The frames to use, and their split."""
    dataset.require(("energy", "forces"))
    complete = np.flatnonzero(dataset.has("energy") & dataset.has("forces"))
    if len(complete) < len(dataset):
        say(f"{len(dataset) - len(complete)} of {len(dataset)} frames lack energy or forces and are left out")
    if not len(complete):
        raise DataError(f"none of the {len(dataset)} frames has both energy and forces; label them")
    dataset = dataset.select(complete)
    split = split_by_group(dataset, protocol.split, protocol.seed)
    if protocol.quick:
        split = {
            name: _few(dataset, split[name], protocol, share)
            for name, share in zip(SPLITS, protocol.split, strict=True)
        }
        chosen = np.concatenate([split[name] for name in SPLITS])
        dataset, places = dataset.select(chosen), np.cumsum([0, *(len(split[name]) for name in SPLITS)])
        split = {name: np.arange(places[k], places[k + 1]) for k, name in enumerate(SPLITS)}
    for name in SPLITS:
        if not len(split[name]):
            raise DataError(f"the {name} part of the split {protocol.split} of {len(dataset)} frames is empty")
    return dataset, split


def _few(dataset: Dataset, frames: np.ndarray, protocol: PaperProtocol, share: float) -> np.ndarray:
    """A random few of these frames in order, small ones if possible."""
    shuffled = np.random.default_rng(protocol.seed).permutation(frames)
    small_first = shuffled[np.argsort(dataset.structures.counts[shuffled] > QUICK_FRAME_ATOMS, kind="stable")]
    return np.sort(small_first[: max(1, round(share * QUICK_FRAMES))])


def _chosen(frames: Dataset, vectors: np.ndarray, indices: np.ndarray) -> tuple[Dataset, np.ndarray]:
    return frames.select(indices), vectors[frames.structures.atoms_of(indices)]


def _part(frames: Dataset, vectors: np.ndarray, indices: np.ndarray, scales: Scales, protocol: PaperProtocol) -> Part:
    dataset, own = _chosen(frames, vectors, indices)
    return Part(dataset, scales.descriptors(own), scales.targets(dataset), protocol.cutoff_A)


def _row(
    family: str, parts: Mapping[str, Part], folder: Path, protocol: PaperProtocol, say: Log, bar: Any
) -> dict[str, Any]:
    """A row of the table: from its file if it is finished, else trained to the end."""
    path, state = folder / "rows" / f"{family}.json", folder / "rows" / f"{family}.safetensors"
    update = bar.update if bar is not None else lambda epochs: None
    if path.is_file():
        update(protocol.lengths[0])
        return dict(read_json(path))
    training = Training(family, protocol, parts["train"], parts["validation"])
    if state.is_file():
        training.load(state)
        say(f"{family}: resumed after epoch {training.progress.epoch}")
    update(training.progress.epoch)
    saved = time.monotonic()
    while not training.finished:
        training.run_epoch()
        if time.monotonic() - saved > SAVE_EVERY_S:
            training.save(state)
            saved = time.monotonic()
        update(1)
        _say_epoch(family, training, say)
    update(protocol.lengths[0] - training.progress.epoch)
    row = _result(training, parts)
    write_json(path, row)
    state.unlink(missing_ok=True)
    return row


def _say_epoch(family: str, training: Training, say: Log) -> None:
    last = training.progress.rows[-1]
    if training.finished or last["epoch"] % 10 == 0 or last["cpu_s"] > last["epoch"] * SAVE_EVERY_S:
        say(
            f"{family}: epoch {last['epoch']:.0f}/{training.settings.epochs}  train loss {last['train_loss']:.4f}  "
            f"validation loss {last['validation_loss']:.4f}  {last['cpu_s']:.0f} s of CPU"
        )


def _result(training: Training, parts: Mapping[str, Part]) -> dict[str, Any]:
    training.network.load_state_dict(training.best)
    errors = {}
    for name, part in parts.items():
        predicted = predict(training.network, part, training.settings)
        errors[name] = errors_of(predicted.numpy(), part.targets.numpy())
    progress = training.progress
    return {
        "errors": errors, "parameters": sum(p.numel() for p in training.network.parameters()),
        "epochs": progress.epoch, "best_epoch": progress.best_epoch, "steps": training.counts.steps,
        "accumulate": training.accumulate, "cpu_s": training.counts.cpu_s, "history": progress.rows,
    }  # fmt: skip


def _mean_row(parts: Mapping[str, Part]) -> dict[str, Any]:
    """The errors of predicting the mean of the training targets, which is 0 in their units."""
    targets = {name: part.targets.numpy() for name, part in parts.items()}
    return {"errors": {name: errors_of(np.zeros_like(values), values) for name, values in targets.items()}}


def _facts(dataset: Dataset, frames: Dataset, split: Mapping[str, np.ndarray]) -> dict[str, Any]:
    counts = frames.structures.counts
    return {
        "fingerprint": dataset.fingerprint(), "level_of_theory": dataset.level_of_theory,
        "frames": {name: len(indices) for name, indices in split.items()},
        "atoms": {name: int(counts[indices].sum()) for name, indices in split.items()},
    }  # fmt: skip


def _components(scales: Scales) -> dict[str, Any]:
    """Principal components in plain numbers, and the unit of each standardised target."""
    return {
        "descriptors": {"kept": len(scales.descriptors), "shares": scales.descriptors.shares[:8].tolist()},
        "forces": {"kept": len(scales.forces), "shares": scales.forces.shares.tolist()},
        "energy_unit_eV_per_atom": scales.energy_spread_eV,
        "force_units_eV_per_A": scales.forces.spreads.tolist(),
    }  # fmt: skip
