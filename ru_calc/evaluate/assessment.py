"""From predictions to errors: choice of frames, energy shift, table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.errors import DataError
from ru_calc.evaluate.metrics import QUANTITIES, Comparison, error_table
from ru_calc.evaluate.predictions import Failure, Predictions
from ru_calc.evaluate.shift import energy_shift


@dataclass(frozen=True)
class Evaluation:
    """Labels, predictions and errors.

    Attributes:
        dataset: the frames that were evaluated.
        comparison: their labels and predictions.
        frames: (f,) their indices in the original data set.
        splits: split name → indices within `dataset`.
        rows: the table; see `ru_calc.evaluate.metrics.error_table`.
        failures: labels without a prediction; `frame` is the index in the original data set.
        shift: `none`, `mean` or `isolated`.
        shift_eV_per_atom: what was added to the predicted energies.
        about: facts about predictor and data, for the report.
    """

    dataset: Dataset
    comparison: Comparison
    frames: np.ndarray
    splits: dict[str, np.ndarray]
    rows: list[dict[str, Any]]
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
        shift: see `ru_calc.evaluate.shift`.

    Raises:
        DataError: nothing could be predicted, or no frame can give the shift.
    """
    frames, places = chosen_frames(dataset, splits)
    part = dataset if len(frames) == len(dataset) else dataset.select(frames)
    if not any(np.isfinite(getattr(predictions, name)).any() for name in QUANTITIES):
        why = predictions.failures[0].reason if predictions.failures else "no frame has a label"
        raise DataError(f"nothing could be compared in any of the {len(part)} frames ({why})")
    added = energy_shift(shift, part, predictions.energy)
    comparison = Comparison(
        part, predictions.energy + added * part.structures.counts, predictions.forces, predictions.stress
    )
    failures = [Failure(int(frames[f.frame]), f.quantity, f.reason) for f in predictions.failures]
    rows = error_table(comparison, places)
    return Evaluation(part, comparison, frames, places, rows, failures, shift, added, about or {})
