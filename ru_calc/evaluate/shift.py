"""Shift between the energy zeros of two levels of theory or two codes."""

from __future__ import annotations

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.errors import DataError
from ru_calc.structures.neighbors import find_pairs

SHIFTS = ("none", "mean", "isolated")
ALONE_A = 7.0


def energy_shift(kind: str, dataset: Dataset, energy: np.ndarray) -> float:
    """What to add to predicted energies, in eV per atom.

    Args:
        kind: `none`; `mean`, which makes the mean error of the energy per atom zero and its root mean square smallest;
            or `isolated`, which makes the energy of an isolated atom right.
        dataset: the labels.
        energy: (f,) predicted energies in eV.

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
    return float(error[usable].mean())


def isolated_frames(dataset: Dataset) -> np.ndarray:
    """(f,) whether a frame is a single atom without an image of itself within 7 Å."""
    alone = dataset.structures.counts == 1
    crowded = np.unique(find_pairs(dataset.structures.select(np.flatnonzero(alone)), ALONE_A).frames)
    alone[np.flatnonzero(alone)[crowded]] = False
    return alone
