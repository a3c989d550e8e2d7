"""Crystals along a lattice plane: oriented cells, slabs, slips, and stackings of close-packed layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import ase.build
import numpy as np
from ase import Atoms

from ru_calc.errors import SettingsError
from ru_calc.structures.lattices import hexagonal_cell, phase_named

SITES = {"A": (0.0, 0.0), "B": (1 / 3, 2 / 3), "C": (2 / 3, 1 / 3)}
SAME_HEIGHT_A = 1e-4


def close_packed(sequence: str, a_A: float, spacing_A: float) -> Atoms:
    """Close-packed layers of one atom each, stacked along z and periodic in three directions.

    Args:
        sequence: the layers from below, of A, B and C; hcp is AB, fcc is ABC.
        a_A, spacing_A: distance of atoms in a layer, and of layers, in Å.

    Raises:
        SettingsError: another letter, or no layer.
    """
    if not sequence or set(sequence) - SITES.keys():
        raise SettingsError(f"the stacking sequence is {sequence!r}; it must be one or more of the letters A, B, C")
    cell = hexagonal_cell(a_A, len(sequence) * spacing_A)
    positions = np.array([(*SITES[layer], 0.0) for layer in sequence]) @ cell
    positions[:, 2] = np.arange(len(sequence)) * spacing_A
    return Atoms(f"Ru{len(sequence)}", positions=positions, cell=cell, pbc=True)


def plane_of(phase: str, indices: Sequence[int]) -> tuple[int, int, int]:
    """Miller indices with respect to the primitive cell of a phase.

    Args:
        indices: of the cube for a cubic phase; h, k and l of (h k i l) for a hexagonal one, whose cell is primitive.

    Raises:
        SettingsError: an unknown phase, or all indices are zero.
    """
    found = phase_named(phase)
    of_cell = np.array(indices) if found.hexagonal else 2 * np.array(found.cell) @ np.array(indices)
    whole = [round(float(index)) for index in of_cell]
    if not any(whole):
        raise SettingsError(f"the Miller indices are {tuple(indices)}; one of them must differ from zero")
    h, k, l = (index // math.gcd(*whole) for index in whole)  # noqa: E741
    return h, k, l


def oriented(crystal: Atoms, plane: Sequence[int]) -> Atoms:
    """The same crystal in a cell of the same volume whose first two vectors lie in a lattice plane.

    The first vector is along x, the plane is xy, and all vectors are as short as can be.  The widest gap between atomic
    layers lies at the bottom of the cell.

    Args:
        plane: Miller indices with respect to the cell of `crystal`, without a common divisor.
    """
    first, second, third = _lattice_basis(crystal.cell.array, np.array(plane))
    atoms = ase.build.make_supercell(crystal, np.array([first, second, third]))
    standard, _ = atoms.cell.standard_form()
    atoms.set_cell(standard, scale_atoms=True)
    scaled = atoms.get_scaled_positions(wrap=True)
    heights = np.sort(scaled[:, 2])
    gaps = np.round(np.diff(heights, append=heights[0] + 1.0), 6)
    widest = int(gaps.argmax())
    scaled[:, 2] = (scaled[:, 2] - heights[widest] - gaps[widest] / 2) % 1.0
    atoms.set_scaled_positions(scaled)
    return atoms[np.argsort(np.round(scaled[:, 2], 6), kind="stable")]


def _lattice_basis(cell: np.ndarray, plane: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integer vectors: two that span the plane, and one that leads to the next plane."""
    reach = 1 + int(np.abs(plane).max())
    grid = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))
    grid = grid[np.argsort(np.round(np.linalg.norm(grid @ cell, axis=1), 6), kind="stable")][1:]
    within = grid[grid @ plane == 0]
    first = within[0]
    second = next(v for v in within if (np.cross(first, v) == plane).all())
    return first, second, grid[grid @ plane == 1][0]


def layers_of(atoms: Atoms) -> list[np.ndarray]:
    """Indices of the atoms of each layer along z, from below."""
    order = np.argsort(atoms.positions[:, 2], kind="stable")
    steps = np.diff(atoms.positions[order, 2]) > SAME_HEIGHT_A
    return np.split(order, np.flatnonzero(steps) + 1)


def plane_slab(
    crystal: Atoms, plane: Sequence[int], layers: int, repeat: tuple[int, int] = (1, 1), vacuum_A: float = 12.0
) -> Atoms:
    """A bulk-terminated slab of so many atomic layers, its normal along z, periodic in three directions.

    Args:
        plane: see `oriented`.
        layers: atoms at one height are one layer.
        repeat: cells along the two vectors in the plane.
        vacuum_A: between the outermost layer and its image, half on either side.
    """
    cell = oriented(crystal, plane)
    cells = math.ceil(layers / len(layers_of(cell)))
    thick = cell.repeat((*repeat, cells))
    slab = thick[np.concatenate(layers_of(thick)[:layers])]
    slab.positions[:, 2] += vacuum_A / 2 - slab.positions[:, 2].min()
    slab.set_cell([*slab.cell.array[:2], (0, 0, np.ptp(slab.positions[:, 2]) + vacuum_A)])
    slab.wrap(eps=1e-6)
    return slab


def slipped(atoms: Atoms, shift_A: np.ndarray) -> Atoms:
    """The crystal above the top of the cell moved by `shift_A` (3,) in Å against the one below.

    Only the third lattice vector changes: a periodic cell with one fault in it, or, with a shift along the normal, with
    one gap.
    """
    moved = atoms.copy()
    moved.set_cell(atoms.cell.array + np.array([np.zeros(3), np.zeros(3), shift_A]))
    return moved
