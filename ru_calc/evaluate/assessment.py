"""From predictions to errors: choice of frames, energy shift, table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.dataset.groups import group_of
from ru_calc.errors import DataError
from ru_calc.evaluate.metrics import QUANTITIES, Comparison, error_table
from ru_calc.evaluate.predictions import Failure, Predictions
from ru_calc.structures.neighbors import find_pairs

SHIFTS = ("none", "mean", "median", "isolated")
ALONE_A = 7.0


@dataclass(frozen=True)
class Evaluation:
    """Labels, predictions and errors.

    Attributes:
        comparison: labels and predictions of the frames that were evaluated.
        frames: (f,) their indices in the original data set.
        splits: split name → indices within the comparison.
        rows: the table; see `ru_calc.evaluate.metrics.error_table`.
        groups: the same by group of config types, see `ru_calc.dataset.groups.group_of`.
        failures: labels without a prediction; `frame` is the index in the original data set.
        shift: one of `SHIFTS`; see `energy_shift`.
        shift_eV_per_atom: what was added to the predicted energies.
        about: facts about predictor and data, for the report.
    """

    comparison: Comparison
    frames: np.ndarray
    splits: dict[str, np.ndarray]
    rows: list[dict[str, Any]]
    groups: list[dict[str, Any]]
    failures: list[Failure]
    shift: str = "none"
    shift_eV_per_atom: float = 0.0
    about: dict[str, Any] = field(default_factory=dict)


def chosen_frames(
    dataset: Dataset, splits: dict[str, np.ndarray] | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Indices of the frames to evaluate, and of each split within them.

    Raises:
        DataError: the splits are empty.
    """
    if splits is None:
        return np.arange(len(dataset)), {"all": np.arange(len(dataset))}
    frames = np.sort(np.concatenate([*splits.values()]))
    if not len(frames):
        raise DataError(f"the splits {', '.join(splits)} are empty; choose others")
    return frames, {name: np.searchsorted(frames, np.sort(part)) for name, part in splits.items()}


def assess(
    dataset: Dataset,
    predictions: Predictions,
    splits: dict[str, np.ndarray] | None = None,
    shift: str = "none",
    about: dict[str, Any] | None = None,
) -> Evaluation:
    """The errors of predictions.

    Args:
        dataset: all frames.
        predictions: of the frames that `chosen_frames` gives, in that order.
        splits: split name → indices in `dataset`.
        shift: see `energy_shift`.

    Raises:
        DataError: nothing could be predicted, or no frame can give the shift.
    """
    frames, places = chosen_frames(dataset, splits)
    part = dataset if len(frames) == len(dataset) else dataset.select(frames)
    if not any(np.isfinite(getattr(predictions, name)).any() for name in QUANTITIES):
        why = predictions.failures[0].reason if predictions.failures else "no frame has a label"
        raise DataError(f"nothing could be compared in any of the {len(part)} frames ({why})")
    added = energy_shift(shift, part, predictions.energy)
    energy = predictions.energy + added * part.structures.counts
    comparison = Comparison(part, energy, predictions.forces, predictions.stress)
    failures = [Failure(int(frames[f.frame]), f.quantity, f.reason) for f in predictions.failures]
    rows, groups = error_table(comparison, places), error_table(comparison, places, group_of)
    return Evaluation(comparison, frames, places, rows, groups, failures, shift, added, about or {})


def energy_shift(kind: str, dataset: Dataset, energy: np.ndarray) -> float:
    """What to add to predicted energies, in eV per atom.

    Args:
        kind: `none`; `mean`, which makes the mean error of the energy per atom zero and its root mean square smallest;
            `median`, which a few frames that are far off do not move; or `isolated`, which makes the energy of an
            isolated atom right.
        dataset: the labels.
        energy: (f,) predictions in eV.

    Raises:
        DataError: no frame can give the shift.
    """
    if kind == "none":
        return 0.0
    error = (dataset.energy - energy) / dataset.structures.counts
    usable = np.isfinite(error)
    if kind == "isolated":
        usable &= isolated_frames(dataset)
    if not usable.any():
        needed = f"of one atom without neighbours within {ALONE_A} Å " if kind == "isolated" else ""
        raise DataError(f"--shift is {kind}, but no frame {needed}has both a labelled and a predicted energy")
    return float(np.median(error[usable]) if kind == "median" else error[usable].mean())


def isolated_frames(dataset: Dataset) -> np.ndarray:
    """(f,) whether a frame is a single atom without an image of itself within 7 Å."""
    alone = dataset.structures.counts == 1
    crowded = np.unique(find_pairs(dataset.structures.select(np.flatnonzero(alone)), ALONE_A).frames)
    alone[np.flatnonzero(alone)[crowded]] = False
    return alone
