"""What makes a frame acceptable, how it is named, and whether another file has it already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ru_calc.sample.kind import HCP_VOLUME_A3
from ru_calc.structures import Structures, widest_gaps_A
from ru_calc.structures.identity import geometry_hash
from ru_calc.structures.neighbors import ClosePair, closest_of, find_pairs

SEEN_A = 6.0
LEAST_VACUUM_A = 10.0
# Volume per atom over that of hcp; the upper limit is for frames without vacuum.
DENSITY_LIMITS = (0.4, 3.0)
NEAR_COPY_A = 0.01
DIGITS = 8


def closest(atoms: Atoms) -> ClosePair | None:
    """The two closest atoms; None if no two are within 6 Å."""
    structures = Structures.from_atoms(atoms)
    return closest_of(structures, find_pairs(structures, SEEN_A))


def objection(atoms: Atoms, boundary: str, nearest_A: float) -> str | None:
    """Why a frame is not worth a calculation, or None.

    Args:
        boundary: `bulk`, `slab` or `cluster`.
        nearest_A: limit of the nearest distance.
    """
    ratio = atoms.get_volume() / len(atoms) / HCP_VOLUME_A3
    low, high = DENSITY_LIMITS
    if ratio < low or (boundary == "bulk" and ratio > high):
        return f"its volume per atom is {ratio:.2f} times that of hcp (limits {low}, {high})"
    axes = {"bulk": "", "slab": "c", "cluster": "abc"}[boundary]
    for axis, gap in zip("abc", widest_gaps_A(atoms), strict=True):
        if axis in axes and gap < LEAST_VACUUM_A:
            return f"its vacuum along lattice vector {axis} is {gap:.1f} Å (at least {LEAST_VACUUM_A:g} Å)"
    pair = closest(atoms)
    if pair is not None and pair.distance_A < nearest_A:
        return f"{pair} (at least {nearest_A:g} Å)"
    return None


def finished(atoms: Atoms, name: str, boundary: str, group: str | None = None) -> Atoms:
    """A frame with its names: `config_type`, `kind`, `spin`, `uid`, `group_id`, and the nearest distance `dmin` in Å.

    Positions and cell are rounded as extended XYZ keeps them, so that a frame read again has the same uid.

    Args:
        group: shared by frames that a split must keep together; None makes the frame a group of its own.
    """
    cell, positions = np.round(atoms.cell.array, DIGITS) + 0.0, np.round(atoms.positions, DIGITS) + 0.0
    frame = Atoms(numbers=atoms.numbers, positions=positions, cell=cell, pbc=True)
    uid = f"{name}_{geometry_hash(frame)}"
    pair = closest(frame)
    names = {"config_type": name, "kind": boundary, "spin": int(boundary == "cluster"), "uid": uid}
    names["group_id"] = group or uid
    frame.info = names | {key: value for key, value in atoms.info.items() if key not in names}
    if pair is not None:
        frame.info["dmin"] = round(pair.distance_A, 3)
    return frame


def same_within(one: Atoms, other: Atoms, limit_A: float = NEAR_COPY_A) -> bool:
    """Whether cells and atoms, in their order, agree within `limit_A`, shifts of the whole and of images apart."""
    if len(one) != len(other) or np.abs(one.cell.array - other.cell.array).max() > limit_A:
        return False
    cell = one.cell.array
    moved = one.positions - other.positions
    moved -= moved[0]
    moved -= np.rint(moved @ np.linalg.inv(cell)) @ cell
    return bool(np.abs(moved).max() <= limit_A)


class Known:
    """Frames that are there already."""

    def __init__(self, frames: Sequence[Atoms] = ()) -> None:
        self._by_size: dict[int, list[Atoms]] = {}
        for atoms in frames:
            self.add(atoms)

    def add(self, atoms: Atoms) -> None:
        if atoms.cell.rank == 3:
            self._by_size.setdefault(len(atoms), []).append(atoms)

    def has(self, atoms: Atoms) -> bool:
        """Whether one of them is the same or a near-copy; see `same_within`."""
        return any(same_within(atoms, known) for known in self._by_size.get(len(atoms), []))
