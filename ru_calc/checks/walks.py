"""Random walks of atoms and cell, for what must not depend on the past."""

from __future__ import annotations

import numpy as np
from ase import Atoms


def constant_pressure_walk(
    atoms: Atoms, steps: int, kick_A: float = 0.03, seed: int = 0, jumps: bool = True
) -> list[Atoms]:
    """Random displacements, strains that do not cancel, and now and then a jump by a lattice vector."""
    rng, walk, atoms = np.random.default_rng(seed), [], atoms.copy()
    drift = rng.normal(scale=1e-3, size=(3, 3))
    for step in range(steps):
        strain = np.eye(3) + drift + rng.normal(scale=1e-3, size=(3, 3))
        atoms.set_cell(atoms.cell.array @ strain)
        atoms.positions = atoms.positions @ strain + rng.normal(scale=kick_A, size=(len(atoms), 3))
        if jumps and step % 3 == 0:
            atoms.positions += rng.integers(-2, 3, size=(len(atoms), 3)) * atoms.pbc @ atoms.cell.array
        walk.append(atoms.copy())
    return walk
