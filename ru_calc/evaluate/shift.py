"""Energy zeros: two levels of theory, or two codes, may count energies from different ones."""

from __future__ import annotations

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.errors import DataError
from ru_calc.structures.neighbors import find_pairs

SHIFTS = ("none", "mean", "isolated")
ALONE_A = 7.0


def energy_shift(kind: str, dataset: Dataset, energy: np.ndarray) -> float:
    """What is to be added to predicted energies, in eV per atom.

    Args:
        kind: `none`; `mean`, the constant that makes the mean error of the energy per atom zero, and its root mean
            square smallest; or `isolated`, the one that makes the energy of an isolated atom right.
        energy: (f,) predicted, eV.

    Raises:
        DataError: no frame to take the shift from.
    """
    if kind == "none":
        return 0.0
    error = (dataset.energy - energy) / dataset.structures.counts
    usable = np.isfinite(error)
    if kind == "isolated":
        usable &= isolated_frames(dataset)
    if not usable.any():
        needed = f"of one atom alone within {ALONE_A} Å " if kind == "isolated" else ""
        raise DataError(f"--shift is {kind}, but no frame {needed}has both a labelled and a predicted energy")
    return float(error[usable].mean())


def isolated_frames(dataset: Dataset) -> np.ndarray:
    """(f,) whether a frame is one atom that has no other, and no image of itself, within 7 Å."""
    alone = dataset.structures.counts == 1
    crowded = np.unique(find_pairs(dataset.structures.select(np.flatnonzero(alone)), ALONE_A).frames)
    alone[np.flatnonzero(alone)[crowded]] = False
    return alone
