"""The structures on which a model is checked: crystal, small skewed cell, slab, liquid and cluster."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk

from ru_calc.sample.packings import pushed_apart
from ru_calc.structures.build import HCP_A_A, HCP_C_A, build_structure

RATTLE_A = 0.1  # as at some 600 K
LIQUID_A3_PER_ATOM, LIQUID_NEAREST_A = 15.5, 2.2


def rattled(atoms: Atoms, seed: int = 1, by_A: float = RATTLE_A) -> Atoms:
    """The same atoms, displaced at random."""
    atoms = atoms.copy()
    atoms.positions += np.random.default_rng(seed).normal(scale=by_A, size=(len(atoms), 3))
    return atoms


def crystal(n_atoms: int) -> Atoms:
    """Rattled hcp of at least so many atoms."""
    atoms = bulk("Ru", "hcp", a=HCP_A_A, c=HCP_C_A)
    while len(atoms) < n_atoms:
        repeat = [1, 1, 1]
        repeat[int(atoms.cell.lengths().argmin())] = 2
        atoms = atoms * repeat
    return rattled(atoms)


def standard_structures() -> dict[str, Atoms]:
    """By name, always the same."""
    sheared = crystal(16)
    strain = np.eye(3) + [[0.01, 0.02, 0.0], [0.0, -0.02, 0.01], [0.0, 0.0, 0.03]]
    sheared.set_cell(sheared.cell.array @ strain, scale_atoms=True)
    small = bulk("Ru", "fcc", a=3.8)
    small.set_cell(small.cell.array + np.array([[0, 0, 0], [3, 0, 0], [-2, 4, 0]]) @ small.cell.array)
    return {
        "crystal": sheared,
        "small cell": rattled(small * (1, 1, 2)),
        "slab": rattled(build_structure("slab", repeat=(2, 2, 1), layers=5)),
        "liquid": _liquid(),
        "cluster": rattled(build_structure("sphere", n_atoms=13)),
    }


def _liquid() -> Atoms:
    """A random packing: no order, and distances as in the melt."""
    atoms, rng = (
        Atoms("Ru32", cell=(32 * LIQUID_A3_PER_ATOM) ** (1 / 3) * np.eye(3), pbc=True),
        np.random.default_rng(2),
    )
    atoms.set_scaled_positions(rng.random((32, 3)))
    return pushed_apart(atoms, LIQUID_NEAREST_A)
