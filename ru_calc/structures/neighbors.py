"""Neighbour lists: every unordered pair of atoms within the cutoff once, with the periodic images counted exactly.

A pair (i, j, S) stands for r_ij = r_j − r_i + S·cell.  Pairs are listed once (a *half* list): (j, i, −S) is the same
pair.  An atom may be its own neighbour through an image; that pair, too, is listed once.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from ru_calc.errors import DataError
from ru_calc.structures import Structures

_LOADED: dict[str, Any] = {}


@dataclass(frozen=True)
class NeighborPairs:
    """Half list over all frames of a `Structures`.

    Attributes:
        first, second: (n_pairs,) indices of the two atoms, int64, counted through all frames.
        shifts: (n_pairs, 3) integer multiples S of the lattice vectors, int32.
        frames: (n_pairs,) index of the frame.
    """

    first: np.ndarray
    second: np.ndarray
    shifts: np.ndarray
    frames: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def vectors(self, structures: Structures) -> np.ndarray:
        """(n_pairs, 3) r_j − r_i + S·cell in Å."""
        if len(structures) == 1:
            images = self.shifts @ structures.cells[0]
        else:
            images = np.einsum("pi,pij->pj", self.shifts.astype(float), structures.cells[self.frames])
        return structures.positions[self.second] - structures.positions[self.first] + images

    def within(self, structures: Structures, cutoff_A: float) -> NeighborPairs:
        """The pairs that are now closer than `cutoff_A`."""
        near = (self.vectors(structures) ** 2).sum(axis=1) < cutoff_A**2
        return NeighborPairs(self.first[near], self.second[near], self.shifts[near], self.frames[near])


def complete_cell(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """The cell (3, 3) with every non-periodic lattice vector replaced by a unit vector normal to the others.

    The normals turn smoothly with the periodic vectors, so that two completed cells can be compared.
    """
    cell = np.array(cell, dtype=float)
    periodic, free = np.flatnonzero(pbc), np.flatnonzero(~np.asarray(pbc, dtype=bool))
    if len(periodic) == 0:
        return np.eye(3)
    if len(periodic) == 2:
        normal = np.cross(*cell[periodic])
        cell[free] = normal / np.linalg.norm(normal)
    if len(periodic) == 1:
        axis = cell[periodic[0]]
        normal = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
        other = np.cross(axis, normal)
        cell[free] = normal / np.linalg.norm(normal), other / np.linalg.norm(other)
    return cell


def find_pairs(structures: Structures, cutoff_A: float) -> NeighborPairs:
    """Every unordered pair closer than `cutoff_A` (Å), in every frame.

    Positions may lie anywhere, also outside the cell; cells may be skewed, smaller than the cutoff, or periodic in
    some directions only.  The order of the pairs depends on the structures alone: first ≤ second, sorted by frame,
    first, second and shift, so that sums over them are reproducible to the last bit.

    Raises:
        DataError: a position is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(structures.positions).all(axis=1))
    if len(bad):
        raise DataError(f"position of atom {bad[0]} is {structures.positions[bad[0]]}; it must be finite")
    finder = _vesin().NeighborList(cutoff=float(cutoff_A), full_list=False)
    parts, offsets = [], structures.offsets
    for k in range(len(structures)):
        positions = structures.positions[offsets[k] : offsets[k + 1]]
        i, j, shifts = _pairs_of_frame(finder, positions, structures.cells[k], structures.pbc[k])
        parts.append((i + offsets[k], j + offsets[k], shifts, np.full(len(i), k, dtype=np.int64)))
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return NeighborPairs(empty, empty, np.zeros((0, 3), dtype=np.int32), empty)
    return NeighborPairs(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _vesin() -> Any:
    """vesin, without torch: it loads torch where that is installed, only to accept its tensors too."""
    if "vesin" in sys.modules or "torch" in sys.modules:
        return import_module("vesin")
    if "vesin" not in _LOADED:
        sys.modules["torch"] = None  # type: ignore[assignment]  # makes `import torch` fail
        try:
            _LOADED["vesin"] = import_module("vesin")
        finally:
            del sys.modules["torch"]
            for name in [name for name in sys.modules if name.partition(".")[0] == "vesin"]:
                del sys.modules[name]  # whoever imports it later gets it whole
    return _LOADED["vesin"]


def _pairs_of_frame(
    finder: Any, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if len(positions) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 3), dtype=np.int32)
    full = complete_cell(cell, pbc)
    # Inside the cell first: far from the origin the search would lose digits or time.
    fractions = positions @ np.linalg.inv(full)
    home = np.floor(fractions).astype(np.int32) * np.asarray(pbc, dtype=np.int32)
    points, box = _without_voids(positions - home @ full, full, pbc, finder.cutoff)
    found = finder.compute(points=points, box=box, periodic=[bool(p) for p in pbc], quantities="ijS", copy=False)
    i, j, shifts = _in_order(found[0].astype(np.int64), found[1].astype(np.int64), found[2].astype(np.int32))
    return i, j, shifts - home[j] + home[i] if home.any() else shifts


def _without_voids(
    points: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff_A: float
) -> tuple[np.ndarray, np.ndarray]:
    """Points and cell in which no empty layer is much wider than the cutoff; the neighbours are the same.

    The search takes time, and at last fails, for empty space: an atom that has left a slab may be 10⁵ Å away.
    """
    cell, inverse = cell.copy(), np.linalg.inv(cell)
    moves = np.zeros_like(points)
    for axis in range(3):
        height = 1.0 / np.linalg.norm(inverse[:, axis])
        coordinate = (points @ inverse[:, axis]) * height
        order = np.argsort(coordinate)
        gaps = np.diff(coordinate[order])
        outer = height - (coordinate[order[-1]] - coordinate[order[0]]) if pbc[axis] else 0.0
        excess = np.maximum(np.append(gaps, outer) - 1.5 * cutoff_A, 0.0) / height
        if excess.sum() * height > 10.0 * cutoff_A:
            moves[order[1:]] -= np.cumsum(excess[:-1])[:, None] * cell[axis]
            if pbc[axis]:
                cell[axis] *= 1.0 - excess.sum()
    return points + moves, cell


def _in_order(i: np.ndarray, j: np.ndarray, shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same pairs, each in the direction i < j, or i = j with its first non-zero shift positive, sorted."""
    turned, own = i > j, np.flatnonzero(i == j)
    turned[own] = np.sign(shifts[own]) @ np.array([9, 3, 1]) < 0
    first, second = np.where(turned, j, i), np.where(turned, i, j)
    shifts = np.where(turned[:, None], -shifts, shifts)
    order = np.argsort(_sort_keys(first, second, shifts))
    return first[order], second[order], shifts[order]


def _sort_keys(first: np.ndarray, second: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """(n_pairs,) numbers, no two alike, that rise with first, then second, then shift."""
    if len(first) == 0:
        return first
    low = shifts.min(axis=0)
    spans = [int(first.max()) + 1, int(second.max()) + 1, *(int(n) + 1 for n in shifts.max(axis=0) - low)]
    kind = np.int64 if math.prod(spans) < 2**63 else object  # object: Python's integers, of any size
    key = first.astype(kind)
    for part, span in zip((second, *(shifts - low).T), spans[1:], strict=True):
        key = key * span + part
    return key


class ClosePair(NamedTuple):
    """Two atoms and their distance; one atom twice where its own image is meant."""

    first: int
    second: int
    distance_A: float

    def __str__(self) -> str:
        if self.first == self.second:
            return f"atom {self.first} and its own image are {self.distance_A:.3f} Å apart"
        return f"atoms {self.first} and {self.second} are {self.distance_A:.3f} Å apart"


def closest_pair(atoms: Atoms, reach_A: float) -> ClosePair | None:
    """The closest two atoms, or None where no two are closer than `reach_A`; atoms of any element."""
    count = np.array([len(atoms)], dtype=np.int64)
    structures = Structures(atoms.get_positions(), atoms.cell.array[None], atoms.pbc[None], count)
    pairs = find_pairs(structures, reach_A)
    if len(pairs) == 0:
        return None
    distances = np.linalg.norm(pairs.vectors(structures), axis=1)
    k = int(distances.argmin())
    return ClosePair(int(pairs.first[k]), int(pairs.second[k]), float(distances[k]))


class VerletList:
    """A neighbour list of one frame that is rebuilt only when it might miss a pair.

    All pairs within `cutoff_A + skin_A` are kept.  With F the map of the cell since the last rebuild and u_i what an
    atom moved beyond it, a pair that was left out is now at least σ_min(F)·(cutoff + skin) − |u_i| − |u_j| apart;
    while that is no less than the cutoff, the list is exact, whatever cell and atoms do.  Atoms that were wrapped
    into another image are followed.

    Args:
        cutoff_A: interaction range in Å.
        skin_A: extra range in Å; 0 rebuilds at every call.
    """

    def __init__(self, cutoff_A: float, skin_A: float = 1.0) -> None:
        self.cutoff_A, self.skin_A = float(cutoff_A), float(skin_A)
        self.rebuilds = self.calls = 0
        self._built: Structures | None = None
        self._pairs: NeighborPairs | None = None

    def update(self, structures: Structures) -> tuple[Structures, NeighborPairs]:
        """The atoms (one frame) and pairs of them that hold every pair within the cutoff, and some beyond.

        The atoms come back where they have moved to since the rebuild, in other images perhaps than they were given
        in; the pairs are the same object until a rebuild.
        """
        self.calls += 1
        followed = self._followed(structures)
        if followed is None:
            self.rebuilds += 1
            self._built = followed = structures
            self._pairs = None  # not two lists at once
            self._pairs = find_pairs(structures, self.cutoff_A + self.skin_A)
        assert self._pairs is not None
        return followed, self._pairs

    def _followed(self, structures: Structures) -> Structures | None:
        """The atoms without the wraps since the rebuild, or None where the list may be incomplete."""
        old = self._built
        if old is None or old.n_atoms != structures.n_atoms or not np.array_equal(old.pbc, structures.pbc):
            return None
        if np.array_equal(old.cells, structures.cells):
            stretch, carried = 1.0, old.positions
        else:
            deformation = np.linalg.solve(*(complete_cell(s.cells[0], s.pbc[0]) for s in (old, structures)))
            stretch, carried = np.linalg.svd(deformation, compute_uv=False)[-1], old.positions @ deformation
        reach = stretch * (self.cutoff_A + self.skin_A) - self.cutoff_A
        moved = structures.positions - carried
        squares = np.einsum("ia,ia->i", moved, moved)
        if 4.0 * squares.max() < reach * reach * (reach > 0):
            return structures
        return self._unwrapped(structures, moved, reach)

    def _unwrapped(self, structures: Structures, moved: np.ndarray, reach_A: float) -> Structures | None:
        cell, pbc = complete_cell(structures.cells[0], structures.pbc[0]), structures.pbc[0]
        wraps = np.rint(moved @ np.linalg.inv(cell)) * pbc
        farthest = np.sort(np.linalg.norm(moved - wraps @ cell, axis=1))
        if farthest[-2:].sum() >= reach_A:
            return None
        return replace(structures, positions=structures.positions - wraps @ cell) if wraps.any() else structures
