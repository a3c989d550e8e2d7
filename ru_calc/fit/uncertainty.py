"""The uncertainty of a model: how far atoms lie from its training atoms, calibrated by errors on held-out frames.

Compared on held-out DFT frames, fits of the default model: the distance in these features orders the errors of forces
(rank correlation 0.78) better than one in the first activations (0.62) or in the hidden layer of the readout (0.45),
and than the size of the force (0.65).  Averages over neighbours and the size of the force add 0.01 to 0.02.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import spearmanr

from ru_calc.dataset import Dataset
from ru_calc.errors import DataError
from ru_calc.fit.report import open_fitted
from ru_calc.modelfiles import load_model
from ru_calc.modelfiles.load import StoredModel, save_model
from ru_calc.potentials import Potential
from ru_calc.potentials.derivatives import Batch
from ru_calc.potentials.pairs import Pairs
from ru_calc.predictor import batches, predict_all
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import find_pairs
from ru_calc.tables.uncertainty import Uncertainty, no_uncertainty

DIRECTIONS = 32  # of the whitened features; all of them order the errors no better
FLOOR = 1e-8  # of the eigenvalues of the covariance, relative to the largest
LEAST_ATOMS, LEAST_OF_TYPE = 30, 20  # to calibrate with, and to report of one config type
NO_ERROR_EV_PER_A = 1e-3  # the symmetry of the frame, not the model, makes smaller errors
UNUSUAL = 4.0  # distance of the threshold; that of training atoms is 1 in the mean, and 2 at most with 1 300 of them
TWO_SIGMA = 1.959964  # 95 % of a normal distribution


@dataclass(frozen=True)
class _HeldOut:
    """Atoms whose error is known: squares |P φ − o|² (n,), errors of forces (n, 3) in eV/Å, config types (n,)."""

    squares: np.ndarray
    errors: np.ndarray
    kinds: np.ndarray


def add_uncertainty(
    file: str | Path, training: Dataset, held_out: Dataset, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Adds to a model file what its uncertainty needs, or replaces it.

    Args:
        file: of the model.
        training: frames that the model was trained on.
        held_out: frames that it was not trained on, with forces.

    Returns:
        The entry `uncertainty` of the file's header: `threshold_eV_per_A`, u of an atom four times as far away as
        training atoms are, and `calibration`: data, the fraction of held-out atoms below the threshold, rank
        correlation of u with |ΔF|, and coverage, the fractions of force components whose error is below u and 1.96 u
        (0.68 and 0.95 of a normal distribution); the same by config type.

    Raises:
        ModelError: no such model, or of a family without an uncertainty.
        DataError: too few atoms with a known error.
        OutputError: the file cannot be written.
    """
    return _add(file, training, [_held_out(file, training, held_out)], held_out, say)


def add_pooled_uncertainty(
    file: str | Path,
    dataset: Dataset,
    folds: Sequence[tuple[Path, Dataset, Dataset]],
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Adds an uncertainty to a model that has seen all frames, calibrated by members of folds that have not.

    Args:
        file: of the model.
        dataset: all frames.
        folds: of each member its file, the frames it was trained on and those it was not.

    Returns, raises: see `add_uncertainty`.
    """
    return _add(file, dataset, [_held_out(*member) for member in folds], dataset, say)


def _add(
    file: str | Path, training: Dataset, tested: Sequence[_HeldOut], held_out: Dataset, say: Callable[[str], None]
) -> dict[str, Any]:
    stored, projection, offset = _measure(file, training)
    found = _HeldOut(*(np.concatenate([getattr(one, name.name) for one in tested]) for name in fields(_HeldOut)))
    if len(found.squares) < LEAST_ATOMS:
        raise DataError(
            f"{len(found.squares)} held-out atoms have a known error of the force, and the uncertainty is calibrated "
            f"on at least {LEAST_ATOMS}; give more frames that the model was not trained on"
        )
    made = Uncertainty(projection, offset, *_law(found, len(offset)))
    entry = _entry(made, found, held_out)
    save_model(stored.path, stored.potential, {**stored.header, "uncertainty": entry}, made)
    _say(entry, say)
    return entry


def _measure(file: str | Path, training: Dataset) -> tuple[StoredModel, np.ndarray, np.ndarray]:
    """A model, and P and o of its `Uncertainty`."""
    stored = load_model(file)
    if stored.potential.family != "schnet":
        raise no_uncertainty(stored.potential.family)
    if not (stored.potential.settings.angular or stored.potential.settings.blocks):
        raise DataError(f"{file} has neither angles nor blocks, so it has no features to tell atoms apart by")
    return stored, *_whitening(features(stored.potential, training.structures))


def _held_out(file: str | Path, training: Dataset, held_out: Dataset) -> _HeldOut:
    stored, projection, offset = _measure(file, training)
    return _errors(stored.path, held_out, whitened(stored.potential, held_out.structures, projection, offset))


def features(potential: Potential, structures: Structures) -> Iterator[np.ndarray]:
    """(m, width) of all atoms in order, about 1000 at a time, float64; see `Potential.features`."""
    for frames in batches(structures.counts, 1000):
        part = structures.select(frames)
        batch = Batch.from_structures(part, find_pairs(part, potential.cutoff_A), torch.float64)
        with torch.no_grad():
            found = potential.features(Pairs(part.n_atoms, batch.first, batch.second, batch.vectors))
        yield found.numpy()


def whitened(potential: Potential, structures: Structures, projection: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """(n, k) y = P φ − o of all atoms, by P (k, features) and o (k,) of an `Uncertainty`."""
    return np.concatenate([part @ projection.T - offset for part in features(potential, structures)])


def _whitening(training: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """P (k, features) and o (k,) of `Uncertainty` from the features (m, width) of the training atoms, part by part."""
    atoms, total, products = 0, np.zeros(1), np.zeros((1, 1))
    for part in training:
        atoms, total, products = atoms + len(part), total + part.sum(axis=0), products + part.T @ part
    mean, width = total / atoms, len(total)
    values, vectors = np.linalg.eigh(products / atoms - np.outer(mean, mean))
    whiten = vectors / np.sqrt(np.maximum(values, 0.0) + FLOOR * values[-1])
    random = np.random.default_rng(0).normal(size=(width, min(DIRECTIONS, width)))
    projection = np.ascontiguousarray((whiten @ np.linalg.qr(random)[0]).T, dtype=np.float32)
    return projection, projection.astype(float) @ mean


def _errors(file: Path, held_out: Dataset, y: np.ndarray) -> _HeldOut:
    predicted = predict_all(open_fitted(file).predictor, held_out.structures, ("forces",)).forces
    errors = predicted - held_out.forces
    known = np.linalg.norm(np.nan_to_num(errors), axis=1) > NO_ERROR_EV_PER_A
    kinds = held_out.config_type[held_out.structures.frame_of_atom].astype(str)
    return _HeldOut((y[known] ** 2).sum(axis=1), errors[known], kinds[known])


def _law(found: _HeldOut, directions: int) -> tuple[float, float]:
    """Factor and power that make the errors likeliest, as normal with the standard deviation u."""
    log_d = 0.5 * np.log(found.squares / directions)
    square = (found.errors**2).mean(axis=1)

    def cost(law: np.ndarray) -> tuple[float, np.ndarray]:
        log_u = law[0] + law[1] * log_d
        ratio = square * np.exp(-2 * log_u)
        slope = 1 - ratio
        return float((log_u + 0.5 * ratio).mean()), np.array([slope.mean(), (slope * log_d).mean()])

    start = np.array([0.5 * np.log(square.mean()), 0.0])
    best = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=[(None, None), (0.0, 2.0)]).x
    return float(np.exp(best[0])), float(best[1])


def _entry(made: Uncertainty, found: _HeldOut, held_out: Dataset) -> dict[str, Any]:
    u = made.of(found.squares)
    kinds, counts = np.unique(found.kinds, return_counts=True)
    shown = [str(kind) for kind, count in zip(kinds, counts, strict=True) if count >= LEAST_OF_TYPE]
    threshold = made.factor * UNUSUAL**made.power
    return {
        "threshold_eV_per_A": threshold,
        "calibration": {
            "data": held_out.fingerprint(), "level_of_theory": held_out.level_of_theory, "frames": len(held_out),
            "below_threshold": float((u <= threshold).mean()), **quality(u, found.errors),
            "by_config_type": {kind: quality(u[found.kinds == kind], found.errors[found.kinds == kind])
                               for kind in shown},
        },
    }  # fmt: skip


def quality(u: np.ndarray, errors: np.ndarray) -> dict[str, float]:
    """How well u (n,) tells errors of forces (n, 3), both in eV/Å: rank correlation with |ΔF|, and coverage."""
    inside = np.abs(errors) / u[:, None]
    rank = spearmanr(u, np.linalg.norm(errors, axis=1)).statistic if np.ptp(u) else 0.0
    return {
        "atoms": len(u), "rank_correlation": float(rank), "coverage_68": float((inside < 1).mean()),
        "coverage_95": float((inside < TWO_SIGMA).mean()),
    }  # fmt: skip


def _say(entry: dict[str, Any], say: Callable[[str], None]) -> None:
    found = entry["calibration"]
    say(
        f"uncertainty, on {found['frames']} held-out frames: rank correlation with the error of the force "
        f"{found['rank_correlation']:.2f}; {100 * found['coverage_68']:.0f} % of the errors within it (68 % expected), "
        f"{100 * found['coverage_95']:.0f} % within 1.96 times it (95 %); "
        f"{100 * (1 - found['below_threshold']):.0f} % of the atoms above the threshold of "
        f"{entry['threshold_eV_per_A']:.3f} eV/Å"
    )


def calibrate(file: Path, training: Dataset, validation: Dataset, say: Callable[[str], None]) -> None:
    """The uncertainty of a model that has just been fitted; where the frames are too few, says so and adds none."""
    try:
        add_uncertainty(file, training, validation, say)
    except DataError as problem:
        say(f"the model gets no uncertainty: {problem}")
