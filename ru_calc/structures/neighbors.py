"""Neighbour lists: every unordered pair of atoms within the cutoff, exact for any cell and boundary.

A pair (i, j, S) stands for r_ij = r_j − r_i + S·cell.  Lists are half lists: a pair appears once, since (j, i, −S) is
the same pair.  Images of an atom that it has as neighbours also appear once, as (i, i, S) or (i, i, −S).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ru_calc.errors import DataError
from ru_calc.structures import Structures
from ru_calc.structures.search import complete_cell, pairs_of_frame


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

    @classmethod
    def joined(cls, parts: Sequence[NeighborPairs], offsets: np.ndarray) -> NeighborPairs:
        """Lists of single frames as one list; `offsets` are those of the frames' atoms."""
        return cls(
            np.concatenate([part.first + start for part, start in zip(parts, offsets, strict=False)]),
            np.concatenate([part.second + start for part, start in zip(parts, offsets, strict=False)]),
            np.concatenate([part.shifts for part in parts]),
            np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
        )

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


def find_pairs(
    structures: Structures, cutoff_A: float, refuse: Callable[[int, str], Any] | None = None
) -> NeighborPairs:
    """Every unordered pair closer than `cutoff_A` (Å), in every frame.

    Atoms may lie outside the cell; cells may be skewed, smaller than the cutoff, or periodic in some directions only.
    The order depends on the structures alone (first ≤ second, sorted by frame, first, second and shift), so sums over
    the pairs are reproducible to the last bit.

    Args:
        structures: frames.
        cutoff_A: range in Å.
        refuse: called with each frame of which there would be too many pairs, and why; by default that is an error.

    Raises:
        DataError: a position is not finite, or atoms are so dense that there would be too many pairs.
        MemoryError: there is too little memory.
    """
    bad = np.flatnonzero(~np.isfinite(structures.positions).all(axis=1))
    if len(bad):
        raise DataError(f"position of atom {bad[0]} is {structures.positions[bad[0]]}; it must be finite")
    parts, offsets = [], structures.offsets
    for k in range(len(structures)):
        positions = structures.positions[offsets[k] : offsets[k + 1]]
        if len(positions) == 0:
            continue
        try:
            found = pairs_of_frame(positions, structures.cells[k], structures.pbc[k], cutoff_A)
        except DataError as problem:
            if refuse is None:
                raise
            refuse(k, str(problem))
            continue
        i, j, shifts = _in_order(*found)
        parts.append((i + offsets[k], j + offsets[k], shifts, np.full(len(i), k, dtype=np.int64)))
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return NeighborPairs(empty, empty, np.zeros((0, 3), dtype=np.int32), empty)
    return NeighborPairs(*(np.concatenate(part) for part in zip(*parts, strict=True)))


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


SAME_PLACE_A = 0.1  # no two atoms of anything physical are closer


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
        # No two atoms were closer at the last rebuild, and at the last update.
        self._built_least_A = self._least_A = 0.0

    def update(self, structures: Structures) -> tuple[Structures, NeighborPairs]:
        """The atoms (one frame) and a list of all pairs within the cutoff, and some beyond.

        Atoms that were wrapped since the rebuild come back unwrapped, to match the shifts of the pairs.  The pairs are
        the same object until the next rebuild.
        """
        self.calls += 1
        followed = self._followed(structures)
        if followed is None:
            self.rebuilds += 1
            self._built = self._pairs = None  # frees the old list before the new one is made
            self._pairs = find_pairs(structures, self.cutoff_A + self.skin_A)
            self._built = followed = structures
            closest = closest_of(structures, self._pairs)
            self._least_A = self._built_least_A = closest.distance_A if closest else self.cutoff_A + self.skin_A
        assert self._pairs is not None
        return followed, self._pairs

    def closer_than(self, followed: Structures, limit_A: float) -> ClosePair | None:
        """The closest pair of the atoms that `update` gave, if it is closer than `limit_A` (up to the cutoff).

        Distances are computed only where those at the last rebuild, and how far atoms have moved, leave a doubt.
        """
        pair = closest_of(followed, self._pairs) if self._pairs is not None and self._least_A < limit_A else None
        return pair if pair and pair.distance_A < limit_A else None

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
        moved = structures.positions - carried
        twice = 2.0 * math.sqrt(np.einsum("ia,ia->i", moved, moved).max())
        self._least_A = stretch * self._built_least_A - twice
        if twice < self._reach_A(stretch):
            return structures
        return self._unwrapped(structures, moved, stretch)

    def _reach_A(self, stretch: float) -> float:
        """How far two atoms together may have moved."""
        return stretch * (self.cutoff_A + self.skin_A) - self.cutoff_A

    def _unwrapped(self, structures: Structures, moved: np.ndarray, stretch: float) -> Structures | None:
        cell, pbc = complete_cell(structures.cells[0], structures.pbc[0]), structures.pbc[0]
        wraps = np.rint(moved @ np.linalg.inv(cell)) * pbc
        together = np.sort(np.linalg.norm(moved - wraps @ cell, axis=1))[-2:].sum()
        if together >= self._reach_A(stretch):
            return None
        self._least_A = stretch * self._built_least_A - together
        wraps -= np.rint(np.median(wraps, axis=0))  # what all atoms share is no change, and far away costs digits
        return replace(structures, positions=structures.positions - wraps @ cell) if wraps.any() else structures
