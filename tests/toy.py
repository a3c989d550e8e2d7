"""Cheap calculators for tests of whatever takes any ASE calculator."""

from __future__ import annotations

import os
import signal

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

DEPTH_EV, STEEPNESS_PER_A, BOND_A, CUTOFF_A = 2.0, 1.6, 2.9, 3.7


class PairPotential(Calculator):
    """A Morse pair potential times (1 − r²/r_c²)³ between nearest images: for cells wider than 2 r_c or none."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")
    cutoff_A, engine, has_uncertainty = CUTOFF_A, "toy", False  # as `RuCalculator` has them

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def order(self, distances: np.ndarray, system_changes: list[str]) -> np.ndarray:
        """The order in which pairs are summed."""
        return np.arange(len(distances))

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.asked += list(properties)
        positions, cell = self.atoms.positions, self.atoms.cell.array
        first, second = np.triu_indices(len(positions), 1)
        vectors = positions[second] - positions[first]
        if self.atoms.pbc.any():
            vectors -= (np.rint(vectors @ np.linalg.inv(cell)) * self.atoms.pbc) @ cell
        r = np.linalg.norm(vectors, axis=1)
        order = self.order(r, system_changes)
        first, second, vectors, r = first[order], second[order], vectors[order], r[order]
        bond, fade = np.exp(-STEEPNESS_PER_A * (r - BOND_A)), np.clip(1 - (r / CUTOFF_A) ** 2, 0, None)
        energy = DEPTH_EV * (bond**2 - 2 * bond)
        slope = -2 * STEEPNESS_PER_A * DEPTH_EV * (bond**2 - bond) * fade**3 - 6 * r / CUTOFF_A**2 * fade**2 * energy
        pull = (slope / r)[:, None] * vectors
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, first, pull)
        np.add.at(forces, second, -pull)
        total = float((energy * fade**3).sum())
        self.results = {"energy": total, "free_energy": total, "forces": forces}
        if self.atoms.cell.rank == 3:
            virial = np.einsum("pa,pb->ab", vectors, pull) / self.atoms.get_volume()
            self.results["stress"] = virial.flat[[0, 4, 8, 5, 2, 1]]


class RememberingPotential(PairPotential):
    """Sums in the order of the distances at its first call, until ASE's `reset` makes it forget."""

    remembered = None

    def order(self, distances, system_changes):
        if self.remembered is None or "numbers" in system_changes:
            self.remembered = np.argsort(distances, kind="stable")
        return self.remembered


class Stopping(PairPotential):
    """Presses Ctrl-C during its n-th call."""

    def __init__(self, at_call):
        super().__init__()
        self.left = at_call

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


class FreeFlight(Calculator):
    """No forces: an ideal gas.  `spoil(call, results)` may change what a call gives."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")
    cutoff_A, engine, has_uncertainty = CUTOFF_A, "toy", False

    def __init__(self, spoil=None) -> None:
        super().__init__()
        self.spoil, self.calls = spoil, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        forces, stress = np.zeros((len(self.atoms), 3)), np.zeros(6)
        self.results = {"energy": 0.0, "free_energy": 0.0, "forces": forces, "stress": stress}
        if self.spoil is not None:
            self.spoil(self.calls, self.results)


class UnsurePotential(PairPotential):
    """Its uncertainty is a tenth of the force, which grows as atoms leave their places."""

    has_uncertainty = True
    uncertainty_threshold_eV_per_A = 0.1

    def __init__(self) -> None:
        super().__init__()
        self.looked = 0

    def uncertainty(self, atoms):
        self.looked += 1
        return 0.1 * np.linalg.norm(self.get_forces(atoms), axis=1)
