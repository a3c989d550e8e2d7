"""Distances, neighbours and the model's predictions of each frame, in one pass over the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.modelfiles.open import open_model
from ru_calc.predictor import Predictor, batches
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import find_pairs

RULER = "default"
BONDED_A = 3.6
WIDTH_A = 0.3
BATCH_ATOMS = 1000


@dataclass(frozen=True)
class Survey:
    """What is measured of each of f frames with n atoms in all.

    Attributes:
        nearest_A: (f,) shortest distance in Å; infinite where no two atoms are within the model's cutoff, as below.
        median_A: (f,) median over the atoms of the distance to the nearest neighbour.
        farthest_A: (f,) the largest such distance.
        coordination: (f,) mean number of neighbours within 3.6 Å.
        radial: (f, 12) smoothed counts of pairs per atom against distance: equal for equal structures, however they
            are turned, shifted or numbered.
        energy, forces, stress: predictions in eV, eV/Å and eV/Å³.
    """

    nearest_A: np.ndarray
    median_A: np.ndarray
    farthest_A: np.ndarray
    coordination: np.ndarray
    radial: np.ndarray
    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray

    @staticmethod
    def joined(parts: Sequence[Survey]) -> Survey:
        """The frames of all parts, in order."""
        return Survey(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Survey)))


def survey(structures: Structures, model: str = RULER) -> Survey:
    """Measures all frames."""
    predictor = open_model(model).predictor
    every = batches(structures.counts, BATCH_ATOMS)
    return Survey.joined([_survey(structures.select(frames), predictor) for frames in every])


def _survey(structures: Structures, predictor: Predictor) -> Survey:
    pairs = find_pairs(structures, predictor.cutoff_A)
    lengths = np.linalg.norm(pairs.vectors(structures), axis=1)
    found = predictor.predict(structures, pairs, ("energy", "forces", "stress"))
    bonds = np.bincount(pairs.frames, lengths < BONDED_A, minlength=len(structures))
    return Survey(
        *nearest_of_atoms(structures, lengths, pairs.first, pairs.second), 2.0 * bonds / structures.counts,
        _radial(structures, pairs.frames, lengths, predictor.cutoff_A), found.energy, found.forces, found.stress,
    )  # fmt: skip


def nearest_of_atoms(
    structures: Structures, lengths: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smallest, median and largest distance to the nearest neighbour in each frame, in Å."""
    nearest = np.full(structures.n_atoms, np.inf)
    np.minimum.at(nearest, first, lengths)
    np.minimum.at(nearest, second, lengths)
    frame = structures.frame_of_atom
    order = np.lexsort((nearest, frame))
    ends = structures.offsets
    ordered = nearest[order]
    return ordered[ends[:-1]], ordered[(ends[:-1] + ends[1:] - 1) // 2], ordered[ends[1:] - 1]


def _radial(structures: Structures, frames: np.ndarray, lengths: np.ndarray, cutoff_A: float) -> np.ndarray:
    centres = np.linspace(1.6, 5.2, 12)
    weights = 0.5 * (1 + np.cos(np.pi * lengths / cutoff_A))
    bumps = np.exp(-(((lengths[:, None] - centres) / WIDTH_A) ** 2)) * weights[:, None]
    sums = [np.bincount(frames, bumps[:, k], minlength=len(structures)) for k in range(len(centres))]
    return np.stack(sums, axis=1) / structures.counts[:, None]


def sample(dataset: Dataset, frames: int, atoms: int) -> np.ndarray:
    """Indices of at most so many frames with at most so many atoms, evenly over all types; at least one frame."""
    order = np.argsort(dataset.config_type, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(frames, len(order))).astype(int))]
    counts = dataset.structures.counts[chosen]
    by_size = np.argsort(counts, kind="stable")
    fits = np.cumsum(counts[by_size]) <= atoms
    fits[0] = True
    return np.sort(chosen[by_size[fits]])
