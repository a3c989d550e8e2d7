"""The search for pairs in one frame, with scipy's k-d tree: its cost follows the atoms, not the space between them.

A crystal is searched as a cluster: its atoms, and beside them the images that lie within reach of the box around them.
Since (j, i, −S) is the same pair as (i, j, S), only images of one half of space are needed, those by translations that
sort after zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase.geometry import minkowski_reduce
from scipy.spatial import KDTree

from ru_calc.errors import DataError

Found = tuple[np.ndarray, np.ndarray, np.ndarray]

# As many pairs per atom as there are where this many atoms fill each Å³, but for a few atoms MOST_OF_FEW.
CROWDED_PER_A3, MOST_OF_FEW = 0.5, 2_000_000
USUAL_PER_A3 = 0.074
MANY_CELLS = 2**30
SKEWED = 0.5
PIECE = 50_000  # atoms that are searched at a time; Ctrl-C is heard between the pieces
MARGIN = 1e-9
HASH = np.array([0x2545F4914F6CDD1D, 0x1B873593CC9E2D51, 0x5851F42D4C957F2D])  # odd; products wrap around


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


def pairs_of_frame(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff_A: float) -> Found:
    """Every unordered pair of one frame closer than `cutoff_A` (Å), once and in no particular order.

    Args:
        positions: (n, 3) in Å, finite.
        cell: (3, 3) in Å; its periodic vectors are independent.
        pbc: (3,) bool.

    Returns:
        First and second atom, (n_pairs,) int64, and shifts of the second, (n_pairs, 3) int32.

    Raises:
        DataError: the atoms are so dense that there would be too many pairs, or too many cells away.
        MemoryError: there is too little memory.
    """
    full, whole = _compact(complete_cell(cell, pbc), np.asarray(pbc, dtype=bool))
    # Wrap the atoms first: far from the origin distances lose digits.
    fractions = positions @ np.linalg.inv(full)
    home = np.floor(fractions) * pbc
    if np.abs(home).max(initial=0.0) * np.abs(whole).sum() > MANY_CELLS:
        atom = int(np.abs(home).max(axis=1).argmax())
        raise DataError(
            f"position of atom {atom} is {positions[atom]} Å, more than {MANY_CELLS:.0e} lattice vectors away; wrap "
            "the atoms into the cell"
        )
    home = home.astype(np.int64)
    cloud = _Cloud.of(positions - home @ full, full, np.asarray(pbc, dtype=bool), cutoff_A)
    i, j, shifts = (np.concatenate(part) for part in zip(*cloud.pieces(), strict=True))
    if home.any():
        shifts = shifts - home[j] + home[i]
    return i, j, (shifts @ whole).astype(np.int32)


def _compact(cell: np.ndarray, pbc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same lattice in vectors that are about as short as can be, and these as whole multiples of those given."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    if (heights > SKEWED * np.linalg.norm(cell, axis=1))[pbc].all():
        return cell, np.eye(3, dtype=np.int64)
    try:
        _, whole = minkowski_reduce(cell, pbc)
    except RuntimeError as problem:
        raise DataError(
            f"the cell {cell.tolist()} Å is too skewed; describe the lattice by shorter vectors"
        ) from problem
    return whole @ cell, whole.astype(np.int64)


@dataclass(frozen=True)
class _Cloud:
    """Atoms of a frame and images of them.

    Attributes:
        points: (n, 3) in Å.
        images: (m, 3) within reach of the atoms.
        atoms: (m,) of which atom each image is.
        shifts: (m, 3) by which lattice vectors it is moved.
        cutoff_A: range of the pairs.
    """

    points: np.ndarray
    images: np.ndarray
    atoms: np.ndarray
    shifts: np.ndarray
    cutoff_A: float

    @classmethod
    def of(cls, points: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff_A: float) -> _Cloud:
        """Of atoms wrapped into a compact cell."""
        inverse = np.linalg.inv(cell)
        fractions = points @ inverse
        reach = cutoff_A * np.linalg.norm(inverse, axis=0) + MARGIN
        low, high = fractions.min(axis=0) - reach, fractions.max(axis=0) + reach
        most = np.where(pbc, np.floor(high - fractions.min(axis=0)), 0).astype(np.int64)
        count, limit = len(points) * math.prod(int(2 * n + 1) for n in most) // 2, _most_pairs(len(points), cutoff_A)
        if count > limit:
            raise DataError(
                f"{_crowd(len(points), cell, pbc)} would have about {count:.1e} images within {cutoff_A:g} Å (limit "
                f"{limit:.1e}); check the cell and its unit, Å"
            )
        shifts = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1).reshape(-1, 3)
        shifts = shifts[len(shifts) // 2 + 1 :]
        near = np.ones((len(points), len(shifts)), dtype=bool)
        for axis in np.flatnonzero(pbc):
            moved = fractions[:, axis, None] + np.arange(-most[axis], most[axis] + 1)
            near &= ((moved >= low[axis]) & (moved <= high[axis]))[:, shifts[:, axis] + most[axis]]
        atoms, which = np.nonzero(near)
        images = points[atoms] + (shifts @ cell)[which]
        cloud = cls(points, images, atoms, shifts[which], cutoff_A)
        cloud.check_density()
        return cloud

    def check_density(self) -> None:
        """Refuses a cloud with too many pairs, of which there are about 2 for each point in the same cube."""
        n, limit = len(self.points), _most_pairs(len(self.points), self.cutoff_A)
        if n * (n + len(self.images)) <= limit:
            return
        cubes = np.floor(np.concatenate([self.points, self.images]) / self.cutoff_A).astype(np.int64) @ HASH
        _, first, cube, counts = np.unique(cubes, return_index=True, return_inverse=True, return_counts=True)
        pairs = 2.0 * float(counts[cube[:n]].sum())
        if pairs > limit:
            place, most = int(first[counts.argmax()]), int(counts.max())
            atom = place if place < n else int(self.atoms[place - n])
            raise DataError(
                f"there would be about {pairs:.1e} pairs within {self.cutoff_A:g} Å among {n} atoms (limit "
                f"{limit:.1e}): {most} atoms and images lie in a cube of {self.cutoff_A:g} Å around atom {atom}, "
                f"{most / self.cutoff_A**3:.2g} per Å³ (ruthenium: {USUAL_PER_A3}); check positions, cell and their "
                "unit, Å"
            )

    def pieces(self) -> Iterator[Found]:
        """The pairs, a piece of the atoms after another."""
        n, range_A = len(self.points), self.cutoff_A
        for start in range(0, n, PIECE):
            end = min(start + PIECE, n)
            tree = KDTree(self.points[start:end], compact_nodes=False, balanced_tree=False)
            within = tree.query_pairs(range_A, output_type="ndarray") + start
            yield within[:, 0], within[:, 1], np.zeros((len(within), 3), dtype=np.int64)
            others = np.concatenate([self.points[end:], self.images])
            if len(others):
                beside = KDTree(others, compact_nodes=False, balanced_tree=False)
                found = tree.sparse_distance_matrix(beside, range_A, output_type="ndarray")
                i, k = found["i"] + start, found["j"]
                yield i, *self._atom_and_shift(k, end)

    def _atom_and_shift(self, k: np.ndarray, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Of points, counted through the atoms from `end` on and then the images."""
        rest = len(self.points) - end
        atoms = np.concatenate([np.arange(end, len(self.points)), self.atoms])
        shifts = np.concatenate([np.zeros((rest, 3), dtype=np.int64), self.shifts])
        return atoms[k], shifts[k]


def _most_pairs(atoms: int, cutoff_A: float) -> int:
    return max(MOST_OF_FEW, int(atoms * 0.5 * CROWDED_PER_A3 * 4 / 3 * math.pi * cutoff_A**3))


def _crowd(atoms: int, cell: np.ndarray, pbc: np.ndarray) -> str:
    """Atoms and cell in words."""
    lengths = ", ".join(f"{length:.3g}" for length in np.linalg.norm(cell[pbc], axis=1))
    density = f", {atoms / abs(np.linalg.det(cell)):.2g} per Å³ (ruthenium: {USUAL_PER_A3})" if pbc.all() else ""
    return f"{atoms} atoms in a cell of {lengths} Å{density}"
