"""Structures in LAMMPS's frame: a cell with its first vector along x and its second in the plane xy, and a box."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.lammps.coordinatetransform import Prism
from ase.geometry import complete_cell

from ru_calc.errors import DataError
from ru_calc.files import write_text

MARGIN_A = 6.0  # of the box beyond the outermost atoms, where nothing is periodic; LAMMPS refuses tiny boxes
NO_TILT = 1e-14  # of a cell's edges: what rotation leaves of a right angle
BOUNDARIES = {True: "p", False: "m"}  # periodic, or as wide as is written and as the atoms need


@dataclass(frozen=True)
class Box:
    """A structure in LAMMPS's frame.

    Attributes:
        rotation: (3, 3) R; a row vector v becomes v R, and a tensor t becomes Rᵀ t R.
        cell: (3, 3) in Å, lower triangular, with tilts of at most half an edge.
        low: (3,) in Å, where the box begins.
        boundary: such as `p p s`.
    """

    rotation: np.ndarray
    cell: np.ndarray
    low: np.ndarray
    boundary: str

    @property
    def tilted(self) -> bool:
        """Whether an angle is not right."""
        return bool(np.tril(self.cell, -1).any())


def box_of(atoms: Atoms) -> Box:
    """The box around a structure; axes that are not periodic stand at right angles to the others.

    Raises:
        DataError: an element other than ruthenium, or no atoms.
    """
    others = sorted(set(atoms.get_chemical_symbols()) - {"Ru"})
    if others or not len(atoms):
        has = f"atoms of {', '.join(others)}" if others else "no atoms"
        raise DataError(f"the structure has {has}; the potential is for ruthenium alone")
    cell = complete_cell(atoms.cell.array * atoms.pbc[:, None])
    prism = Prism(cell, atoms.pbc, reduce_cell=True)
    inside = atoms.positions @ prism.rot_mat
    low, high = inside.min(axis=0) - MARGIN_A, inside.max(axis=0) + MARGIN_A
    made = np.where(np.abs(prism.cell) < NO_TILT * np.abs(prism.cell).max(), 0.0, prism.cell)
    for axis in np.flatnonzero(~atoms.pbc):
        made[axis] = 0.0
        made[axis, axis] = high[axis] - low[axis]
    boundary = " ".join(BOUNDARIES[bool(periodic)] for periodic in atoms.pbc)
    return Box(prism.rot_mat, made, np.where(atoms.pbc, 0.0, low), boundary)


def write_data(path: str | Path, atoms: Atoms, box: Box, tilted: bool = False) -> None:
    """Writes atoms in their order, with velocities if they have some, for `read_data` in units metal.

    Args:
        tilted: writes tilts also where they are zero, so that they can change.

    Raises:
        OutputError: the file cannot be written.
    """
    edges, tilts = np.diag(box.cell), box.cell[(1, 2, 2), (0, 0, 1)]
    lines = ["ruthenium, written by ru-calc", "", f"{len(atoms)} atoms", "1 atom types", ""]
    lines += [f"{low:.17g} {low + edge:.17g} {x}lo {x}hi" for x, low, edge in zip("xyz", box.low, edges, strict=True)]
    if box.tilted or tilted:
        lines.append(" ".join(f"{tilt:.17g}" for tilt in tilts) + " xy xz yz")
    lines += ["", "Masses", "", f"1 {atoms.get_masses()[0]:.17g}", "", "Atoms # atomic", ""]
    lines += [f"{k} 1 {_row(position)}" for k, position in enumerate(atoms.positions @ box.rotation, 1)]
    if atoms.has("momenta"):
        velocities = atoms.get_velocities() @ box.rotation * (1000 * units.fs)  # Å/ps
        lines += ["", "Velocities", "", *(f"{k} {_row(velocity)}" for k, velocity in enumerate(velocities, 1))]
    write_text(path, "\n".join([*lines, ""]))


def _row(vector: np.ndarray) -> str:
    return " ".join(f"{x:.17g}" for x in vector)
