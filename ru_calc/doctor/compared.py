"""Labels against a model's predictions, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.doctor.survey import Survey
from ru_calc.doctor.units import Mistake
from ru_calc.units import EV_PER_A3_IN_GPA

LIKE = 0.8  # least cosine between label and prediction
# Stresses are judged by the virial per atom: 0.17 eV is 2 GPa in the metal, and less where a cell is mostly empty.
CLEAR = {"forces": 0.2, "stress": 0.17}  # rms of the prediction from which a frame counts
SHOWN = {"forces": (1.0, "eV/Å"), "stress": (EV_PER_A3_IN_GPA, "GPa")}


@dataclass(frozen=True)
class Compared:
    """A label against its prediction in each of f frames.

    Attributes:
        frames: (f,) indices in the data set.
        label_rms, model_rms: (f,) root mean square of the components.
        cosine: (f,) of the angle between label and prediction.
        volumes: (f,) in Å³.
        per_atom: (f,) Å³ per atom for stresses, 1 for forces.
    """

    quantity: str
    frames: np.ndarray
    label_rms: np.ndarray
    model_rms: np.ndarray
    cosine: np.ndarray
    volumes: np.ndarray
    per_atom: np.ndarray

    @property
    def clear(self) -> np.ndarray:
        """(f,) whether a frame tells unit and sign."""
        return (self.model_rms * self.per_atom > CLEAR[self.quantity]) & (self.label_rms > 0)

    def off(self, mistake: Mistake) -> np.ndarray:
        """(f,) logarithm of label over prediction, were this the mistake; infinite where they are unlike."""
        ratio = self.label_rms / np.maximum(self.model_rms, 1e-12) / mistake.factors(self.volumes)
        alike = self.clear & (mistake.sign * self.cosine > LIKE)
        return np.where(alike, np.log(np.maximum(ratio, 1e-300)), np.inf)

    def among(self, chosen: np.ndarray) -> Compared:
        arrays = (self.frames, self.label_rms, self.model_rms, self.cosine, self.volumes, self.per_atom)
        return Compared(self.quantity, *(array[chosen] for array in arrays))


def compared(quantity: str, dataset: Dataset, seen: Survey) -> Compared:
    """Forces or stress of the frames that have them.

    Args:
        dataset: the frames of the survey, in its order.
    """
    label, model = getattr(dataset, quantity), getattr(seen, quantity)
    frame = dataset.structures.frame_of_atom if quantity == "forces" else np.arange(len(dataset))
    has = dataset.has(quantity) & np.isfinite(_sums(frame, model * model, len(dataset)))
    squares = [_sums(frame, product, len(dataset)) for product in (label * label, model * model, label * model)]
    number = np.bincount(frame, minlength=len(dataset)) * label.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = squares[2] / np.sqrt(squares[0] * squares[1])
    rms = np.sqrt(squares[0] / number), np.sqrt(squares[1] / number)
    volumes = dataset.structures.volumes
    per_atom = volumes / dataset.structures.counts if quantity == "stress" else np.ones(len(dataset))
    one = Compared(quantity, np.arange(len(dataset)), *rms, np.nan_to_num(cosine), volumes, per_atom)
    return one.among(np.flatnonzero(has))


def _sums(frame: np.ndarray, values: np.ndarray, frames: int) -> np.ndarray:
    return np.bincount(frame, values.sum(axis=1), minlength=frames)
