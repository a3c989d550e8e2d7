"""Random packings, and pushing atoms apart that are too close."""

from __future__ import annotations

import math

import numpy as np
from ase import Atoms

from ru_calc.sample.kind import HCP_VOLUME_A3, Case, Draw, Kind, strained
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import find_pairs

DENSITIES = (0.8, 0.9, 1.0, 1.1, 1.25, 1.5)
# Spheres of this diameter fill half of the space, which random ones do without jamming.
FILLED = 0.5
LONGEST_BOND_A = 2.4


def pushed_apart(atoms: Atoms, nearest_A: float, rounds: int = 200) -> Atoms:
    """Moves atoms in place until no two are closer than `nearest_A`, or `rounds` are over.

    In each round the two atoms of every close pair move away from each other by half of what is missing.
    """
    for _ in range(rounds):
        structures = Structures.from_atoms(atoms)
        pairs = find_pairs(structures, nearest_A)
        if not len(pairs):
            break
        vectors = pairs.vectors(structures)
        lengths = np.linalg.norm(vectors, axis=1)[:, None]
        # A little more than is missing: the last bit would take for ever.
        steps = 0.5 * (1.02 * nearest_A - lengths) * vectors / np.maximum(lengths, 1e-3)
        np.add.at(atoms.positions, pairs.second, steps)
        np.subtract.at(atoms.positions, pairs.first, steps)
    return atoms


def _packing(n_atoms: int, draw: Draw) -> Atoms:
    ratio = draw.of(DENSITIES) * draw.between(0.97, 1.03)
    volume_A3 = ratio * HCP_VOLUME_A3
    cell = (n_atoms * volume_A3) ** (1 / 3) * np.eye(3)
    atoms = strained(Atoms(f"Ru{n_atoms}", cell=cell, pbc=True), 0.08, draw)
    atoms.set_cell(atoms.cell.array * (n_atoms * volume_A3 / atoms.get_volume()) ** (1 / 3))
    atoms.set_scaled_positions(draw.rng.random((n_atoms, 3)))
    diameter_A = (6 * FILLED * volume_A3 / math.pi) ** (1 / 3)
    pushed_apart(atoms, min(diameter_A, LONGEST_BOND_A))
    atoms.wrap()
    atoms.info["v"] = round(ratio, 4)
    return atoms


PACKINGS = tuple(
    Kind(f"random{n}", "random packing at 0.8–1.5 times the volume of hcp", 12, (Case(n, n),), _packing)
    for n in (4, 8, 12, 16)
)
