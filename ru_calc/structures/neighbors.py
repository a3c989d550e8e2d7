"""Neighbour lists: every unordered pair of atoms within the cutoff, exact for any cell and boundary.

A pair (i, j, S) stands for r_ij = r_j − r_i + S·cell.  Lists are half lists: a pair appears once, since (j, i, −S) is
the same pair.  Images of an atom that it has as neighbours also appear once, as (i, i, S) or (i, i, −S).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ru_calc.errors import DataError
from ru_calc.structures import Structures
from ru_calc.structures.cell_list import CellList


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

    The normals turn smoothly with the periodic vectors, so two completed cells can be compared.
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

    Atoms may lie outside the cell; cells may be skewed, smaller than the cutoff, or periodic in some directions only.
    The order depends on the structures alone (first ≤ second, sorted by frame, first, second and shift), so sums over
    the pairs are reproducible to the last bit.

    Raises:
        DataError: a position is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(structures.positions).all(axis=1))
    if len(bad):
        raise DataError(f"position of atom {bad[0]} is {structures.positions[bad[0]]}; it must be finite")
    finder = CellList(cutoff_A)
    parts, offsets = [], structures.offsets
    for k in range(len(structures)):
        positions = structures.positions[offsets[k] : offsets[k + 1]]
        i, j, shifts = _pairs_of_frame(finder, positions, structures.cells[k], structures.pbc[k])
        parts.append((i + offsets[k], j + offsets[k], shifts, np.full(len(i), k, dtype=np.int64)))
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return NeighborPairs(empty, empty, np.zeros((0, 3), dtype=np.int32), empty)
    return NeighborPairs(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _pairs_of_frame(
    finder: CellList, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if len(positions) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 3), dtype=np.int32)
    full = complete_cell(cell, pbc)
    # Wrap the atoms first: far from the origin the search is slow and loses digits.
    fractions = positions @ np.linalg.inv(full)
    home = np.floor(fractions).astype(np.int32) * np.asarray(pbc, dtype=np.int32)
    points, box = _without_voids(positions - home @ full, full, pbc, finder.cutoff_A)
    i, j, shifts = _in_order(*finder.pairs(points, box, pbc))
    return i, j, shifts - home[j] + home[i] if home.any() else shifts


def _without_voids(
    points: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff_A: float
) -> tuple[np.ndarray, np.ndarray]:
    """Points and cell with wide empty layers cut down to about the cutoff; the neighbours are the same.

    The cell list covers empty space too, and slows down and finally fails where an atom has drifted 10⁵ Å from a slab.
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
    """The same pairs sorted, each with i < j, or with i = j and its first non-zero shift positive."""
    turned, own = i > j, np.flatnonzero(i == j)
    turned[own] = np.sign(shifts[own]) @ np.array([9, 3, 1]) < 0
    first, second = np.where(turned, j, i), np.where(turned, i, j)
    shifts = np.where(turned[:, None], -shifts, shifts)
    order = np.argsort(_sort_keys(first, second, shifts))
    return first[order], second[order], shifts[order]


def _sort_keys(first: np.ndarray, second: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """(n_pairs,) distinct integers that sort the pairs by first, then second, then shift."""
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
    """Two atoms and their distance; the same atom twice if it is close to its own image."""

    first: int
    second: int
    distance_A: float

    def __str__(self) -> str:
        if self.first == self.second:
            return f"atom {self.first} and its own image are {self.distance_A:.3f} Å apart"
        return f"atoms {self.first} and {self.second} are {self.distance_A:.3f} Å apart"


def closest_of(structures: Structures, pairs: NeighborPairs) -> ClosePair | None:
    """The closest of the pairs, or None if there are none."""
    if len(pairs) == 0:
        return None
    distances = np.linalg.norm(pairs.vectors(structures), axis=1)
    k = int(distances.argmin())
    return ClosePair(int(pairs.first[k]), int(pairs.second[k]), float(distances[k]))


class VerletList:
    """A neighbour list of one frame that is rebuilt only when it might miss a pair.

    The list holds all pairs within `cutoff_A + skin_A`.  Let F map the cell at the last rebuild to the present one, and
    u_i be the displacement of an atom beyond that map.  A pair that is not listed is then at least
    σ_min(F)·(cutoff + skin) − |u_i| − |u_j| apart, σ_min being the smallest singular value.  While this is no less than
    the cutoff for the two largest |u|, the list is complete, whatever cell and atoms do.  Atoms that have been wrapped
    into another image since the rebuild are followed.

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
        """The atoms (one frame) and a list of all pairs within the cutoff, and some beyond.

        Atoms that were wrapped since the rebuild come back unwrapped, to match the shifts of the pairs.  The pairs are
        the same object until the next rebuild.
        """
        self.calls += 1
        followed = self._followed(structures)
        if followed is None:
            self.rebuilds += 1
            self._built = followed = structures
            self._pairs = None  # frees the old list before the new one is made
            self._pairs = find_pairs(structures, self.cutoff_A + self.skin_A)
        assert self._pairs is not None
        return followed, self._pairs

    def _followed(self, structures: Structures) -> Structures | None:
        """The atoms, unwrapped since the rebuild; None if the list may be incomplete."""
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
