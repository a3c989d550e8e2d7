"""A pair potential between nearest neighbours only, for which lattice properties are known in closed form."""

from __future__ import annotations

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from ru_calc.structures import Structures
from ru_calc.structures.neighbors import find_pairs
from ru_calc.units import to_voigt

BOND_A, DEPTH_EV, STEEPNESS_PER_A = 2.7, 1.1, 1.85
# φ'' at the minimum of a Morse potential, eV/Å².
SPRING = 2 * DEPTH_EV * STEEPNESS_PER_A**2
FADE_A, CUTOFF_A = 3.24, 3.6


class NearestNeighbours(Calculator):
    """A Morse potential that fades between the first and the second shell of close packing."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        structures = Structures.from_atoms(self.atoms)
        pairs = find_pairs(structures, CUTOFF_A)
        vectors = pairs.vectors(structures)
        r = np.linalg.norm(vectors, axis=1)
        bond = np.exp(-STEEPNESS_PER_A * (r - BOND_A))
        energy, slope = DEPTH_EV * (bond**2 - 2 * bond), -2 * STEEPNESS_PER_A * DEPTH_EV * (bond**2 - bond)
        u = np.clip((r - FADE_A) / (CUTOFF_A - FADE_A), 0, 1)
        fade, fade_slope = 1 - u**3 * (10 - 15 * u + 6 * u**2), -30 * u**2 * (1 - u) ** 2 / (CUTOFF_A - FADE_A)
        pull = ((slope * fade + energy * fade_slope) / r)[:, None] * vectors
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, pairs.first, pull)
        np.add.at(forces, pairs.second, -pull)
        total = float((energy * fade).sum())
        self.results = {"energy": total, "free_energy": total, "forces": forces}
        if self.atoms.cell.rank == 3:
            self.results["stress"] = to_voigt(np.einsum("pa,pb->ab", vectors, pull) / self.atoms.get_volume())
