"""Positions and cells in another unit than Å, told by the distance of neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.doctor.findings import Finding
from ru_calc.doctor.survey import BONDED_A, nearest_of_atoms
from ru_calc.doctor.units import LENGTHS_A
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import find_pairs

WIDE_A = (1.6, 3.5)  # where the nearest neighbour of most atoms is, also in hot, pressed and stretched matter
BONDS_A = (2.0, 3.3)  # the same, without the extremes
NARROW_A = (2.3, 2.9)  # the same, without strongly strained crystals
DENSEST = 1.0  # atoms per Å³, 14 times what the metal has
APART_A = 2.5  # what an atom takes
TWICE = "A, converted from bohr"
SCALES = {**LENGTHS_A, TWICE: 1 / LENGTHS_A["bohr"]}
MOST, SOME = 0.8, 0.1  # shares of the frames


def density(structures: Structures) -> np.ndarray:
    """(f,) upper estimate of the atoms per Å³, from the cell or from the box around the atoms."""
    ends = structures.offsets
    low, high = (
        np.stack([function.reduceat(structures.positions[:, axis], ends[:-1]) for axis in range(3)], axis=1)
        for function in (np.minimum, np.maximum)
    )
    around = np.prod(high - low + APART_A, axis=1)
    volumes = np.where(structures.pbc.all(axis=1), structures.volumes, np.inf)
    return structures.counts / np.fmin(around, volumes)


def scaled(structures: Structures, factor: float) -> Structures:
    """Cells and positions times a factor."""
    return replace(structures, positions=structures.positions * factor, cells=structures.cells * factor)


def looks_bonded(structures: Structures, bonds_A: tuple[float, float] = BONDS_A) -> np.ndarray:
    """(f,) whether most atoms have their nearest neighbour where ruthenium has it, and at least three of them."""
    found = np.zeros(len(structures), dtype=bool)
    frames = np.flatnonzero(density(structures) < DENSEST)
    part = structures.select(frames)
    pairs = find_pairs(part, BONDED_A)
    lengths = np.linalg.norm(pairs.vectors(part), axis=1)
    median = nearest_of_atoms(part, lengths, pairs.first, pairs.second)[1]
    bonds = 2.0 * np.bincount(pairs.frames, minlength=len(part)) / part.counts
    found[frames] = (median > bonds_A[0]) & (median < bonds_A[1]) & (bonds >= 3)
    return found


def check_lengths(dataset: Dataset, frames: np.ndarray) -> tuple[list[Finding], float, bool]:
    """Whether lengths are in another unit.

    Args:
        frames: indices of the frames to look at.

    Returns:
        Findings; the factor that brings lengths to Å; whether the frames can be told by their distances at all.
    """
    structures = dataset.structures.select(frames)
    right = looks_bonded(structures, WIDE_A)
    others = np.flatnonzero(~right)
    if len(others) <= SOME * len(frames):
        return [], 1.0, True
    rest = structures.select(others)
    known = bool(right.any())
    for unit, size_A in SCALES.items():
        as_unit = scaled(rest, size_A)
        bonded = looks_bonded(as_unit)
        known |= bool(bonded.any())
        if bonded.sum() > MOST * (right.sum() + bonded.sum()):
            return [_finding(unit, size_A, dataset, frames[others[bonded]], len(frames))], size_A, True
        bonded &= looks_bonded(as_unit, NARROW_A)
        if bonded.sum() > max(SOME * (right.sum() + bonded.sum()), 2):
            return [_finding(unit, size_A, dataset, frames[others[bonded]], len(frames))], 1.0, True
    return [], 1.0, known


def _finding(unit: str, size_A: float, dataset: Dataset, frames: np.ndarray, looked: int) -> Finding:
    part = dataset.structures.select(frames)
    bonds = find_pairs(scaled(part, size_A), BONDED_A)
    lengths = np.linalg.norm(bonds.vectors(scaled(part, size_A)), axis=1)
    nearest = float(np.median(nearest_of_atoms(part, lengths, bonds.first, bonds.second)[1])) / size_A
    text = f"neighbours are {nearest:.2f} Å apart, where ruthenium has 2.3 to 2.9 Å: positions and cell are in {unit}"
    mend = "leave out --length-unit" if unit == TWICE else f"convert with --length-unit {unit}"
    everywhere = len(frames) == looked
    named = range(len(dataset)) if everywhere else frames.tolist()
    return Finding("error", "length-unit", text, tuple(named), mend, nearest)
