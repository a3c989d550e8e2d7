"""`Structures`: frames of atoms as flat arrays, the form that everything else works on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ru_calc.errors import DataError
from ru_calc.units import RUTHENIUM

FARTHEST_A = 1e8
RANK_TOL = 1e-6  # Å, least singular value of lattice vectors that are independent
FLATTEST_A3 = 1e-6
DENSEST_PER_A3 = 10.0  # ruthenium has 0.074


@dataclass(frozen=True)
class Structures:
    """Frames of atoms, concatenated.

    Attributes:
        positions: (n_atoms, 3) in Å, float64, as given: neither wrapped nor centred.
        cells: (n_frames, 3, 3) in Å, rows are the lattice vectors; a row may be zero where `pbc` is False.
        pbc: (n_frames, 3) bool.
        counts: (n_frames,) atoms of each frame.
    """

    positions: np.ndarray
    cells: np.ndarray
    pbc: np.ndarray
    counts: np.ndarray

    @classmethod
    def from_atoms(cls, frames: Atoms | Sequence[Atoms], check: bool = True) -> Structures:
        """Structures of one or more `ase.Atoms`.

        Args:
            frames: one frame or several.
            check: refuse what `check_atoms` refuses; False takes atoms of any element.

        Raises:
            DataError: see `check_atoms`.
        """
        frames = [frames] if isinstance(frames, Atoms) else list(frames)
        for k, atoms in enumerate(frames if check else []):
            check_atoms(atoms, f"frame {k}: " if len(frames) > 1 else "")
        return cls(
            positions=np.concatenate([a.get_positions() for a in frames]) if frames else np.zeros((0, 3)),
            cells=np.array([a.cell.array for a in frames], dtype=float).reshape(-1, 3, 3),
            pbc=np.array([a.pbc for a in frames], dtype=bool).reshape(-1, 3),
            counts=np.array([len(a) for a in frames], dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def n_atoms(self) -> int:
        return len(self.positions)

    @property
    def offsets(self) -> np.ndarray:
        """(n_frames + 1,) index of each frame's first atom, and the total."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    @property
    def frame_of_atom(self) -> np.ndarray:
        """(n_atoms,) index of the frame that each atom belongs to."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def volumes(self) -> np.ndarray:
        """(n_frames,) cell volumes in Å³; NaN where a frame lacks three independent lattice vectors."""
        volumes = np.abs(np.linalg.det(self.cells))
        return np.where(volumes > FLATTEST_A3, volumes, np.nan)

    def frame(self, k: int) -> Structures:
        """Frame `k` alone."""
        return self.select([k])

    def select(self, indices: Sequence[int] | np.ndarray) -> Structures:
        """The frames with the given indices, in that order."""
        indices = np.asarray(indices, dtype=np.int64)
        return Structures(
            self.positions[self.atoms_of(indices)], self.cells[indices], self.pbc[indices], self.counts[indices]
        )

    @staticmethod
    def joined(parts: Sequence[Structures]) -> Structures:
        """The frames of all parts, in order."""
        names = ("positions", "cells", "pbc", "counts")
        return Structures(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def atoms_of(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Indices of the atoms of the given frames, frame after frame."""
        offsets = self.offsets
        parts = [np.arange(offsets[k], offsets[k + 1]) for k in np.asarray(indices, dtype=np.int64)]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def as_structures(frames: Structures | Atoms | Sequence[Atoms]) -> Structures:
    """`frames` as `Structures`; raises what `Structures.from_atoms` raises."""
    return frames if isinstance(frames, Structures) else Structures.from_atoms(frames)


def has_volume(atoms: Atoms) -> bool:
    """Whether the atoms fill space: periodic in three directions, with three independent lattice vectors."""
    return bool(atoms.pbc.all()) and atoms.cell.rank == 3


def widest_gaps_A(atoms: Atoms) -> np.ndarray:
    """(3,) thickness in Å of the widest empty layer across each lattice vector.

    Entry k is measured along the normal to the other two vectors.  The cell is taken as periodic in all three
    directions; its vectors must be independent.
    """
    planes = np.sort(atoms.get_scaled_positions(wrap=True), axis=0)
    gaps = np.diff(planes, axis=0, append=planes[:1] + 1.0).max(axis=0)
    return gaps / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)


def check_atoms(atoms: Atoms, where: str = "") -> None:
    """Refuses atoms that a ruthenium potential cannot describe.

    Args:
        atoms: one frame.
        where: put in front of the message.

    Raises:
        DataError: an atom is not ruthenium, a position is not finite or beyond 10⁸ Å, the cell is neither, its
            periodic vectors are zero or linearly dependent, or it holds more than 10 atoms per Å³.
    """
    foreign = np.flatnonzero(atoms.numbers != RUTHENIUM)
    if len(foreign):
        number = int(atoms.numbers[foreign[0]])
        symbol = chemical_symbols[number] if 0 <= number < len(chemical_symbols) else f"of atomic number {number}"
        raise DataError(
            f"{where}atom {foreign[0]} is {symbol}; this potential is for ruthenium only: remove other elements"
        )
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(bad):
        raise DataError(f"{where}position of atom {bad[0]} is {atoms.positions[bad[0]]}; it must be finite")
    far = np.flatnonzero((np.abs(atoms.positions) > FARTHEST_A).any(axis=1))
    if len(far):
        raise DataError(
            f"{where}position of atom {far[0]} is {atoms.positions[far[0]]} Å; beyond {FARTHEST_A:g} Å distances lose "
            "their digits: move the atoms to the origin, or remove those that have flown away"
        )
    _check_cell(atoms, where)


def check_structures(structures: Structures, where: Callable[[int], str]) -> None:
    """Refuses frames that `check_atoms` refuses; `where` gives what is put in front of the message, by frame.

    Raises:
        DataError: see `check_atoms`.
    """
    # All frames at once, as 4000 `Atoms` take half a second.
    near = (np.abs(structures.positions) <= FARTHEST_A).all(axis=1)
    suspect = np.bincount(structures.frame_of_atom, ~near, minlength=len(structures)) > 0
    suspect |= ~(np.abs(structures.cells) <= FARTHEST_A).all(axis=(1, 2))
    periodic = np.where(structures.pbc[:, :, None] & ~suspect[:, None, None], structures.cells, 0.0)
    suspect |= np.linalg.matrix_rank(periodic, tol=RANK_TOL) < structures.pbc.sum(axis=1)
    suspect |= structures.pbc.all(axis=1) & (structures.counts > DENSEST_PER_A3 * np.abs(np.linalg.det(periodic)))
    for k in np.flatnonzero(suspect).tolist():
        alone = structures.frame(k)
        symbols = np.full(alone.n_atoms, RUTHENIUM)
        check_atoms(Atoms(symbols, alone.positions, cell=alone.cells[0], pbc=alone.pbc[0]), where(k))


def _check_cell(atoms: Atoms, where: str) -> None:
    cell = atoms.cell.array
    if not np.isfinite(cell).all():
        raise DataError(f"{where}the cell is {cell.tolist()}; it must be finite")
    long = np.flatnonzero((np.abs(cell) > FARTHEST_A).any(axis=1))
    if len(long):
        raise DataError(
            f"{where}lattice vector {long[0]} is {cell[long[0]]} Å, longer than {FARTHEST_A:g} Å; check the cell and "
            "its unit, Å"
        )
    periodic, volume = cell[atoms.pbc], abs(np.linalg.det(cell))
    # The smallest singular value is at least the volume over the square of the norm, which takes less time.
    if volume <= RANK_TOL * (cell**2).sum() and np.linalg.matrix_rank(periodic, tol=RANK_TOL) < len(periodic):
        raise DataError(
            f"{where}the periodic lattice vectors {periodic.tolist()} are zero or linearly dependent; set a cell "
            "with atoms.set_cell(...), or atoms.pbc = False"
        )
    if atoms.pbc.all() and len(atoms) > DENSEST_PER_A3 * volume:
        raise DataError(
            f"{where}{len(atoms)} atoms in a cell of {volume:.3g} Å³ are {len(atoms) / volume:.3g} per Å³ (limit "
            f"{DENSEST_PER_A3:g}; ruthenium has 0.074); check the cell {cell.tolist()} and its unit, Å"
        )
