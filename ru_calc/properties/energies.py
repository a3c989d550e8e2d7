"""Energies, positions relaxed in a fixed cell, the free atom and the dimer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS
from scipy.optimize import minimize_scalar

from ru_calc.errors import UnphysicalError

FREE_A = 10.0  # two atoms that far apart are free in any short-ranged potential


def energy_of(atoms: Atoms, calculator: Calculator) -> float:
    """Potential energy in eV of `atoms`, which keep the calculator."""
    atoms.calc = calculator
    return float(atoms.get_potential_energy())


def relaxed_positions(
    atoms: Atoms, calculator: Calculator, fmax_eV_per_A: float = 0.005, max_steps: int = 200
) -> Atoms:
    """A copy of `atoms` with the calculator, relaxed in its cell until no force is longer than `fmax_eV_per_A`.

    Raises:
        UnphysicalError: the forces are still larger after `max_steps`.
    """
    atoms = atoms.copy()
    atoms.calc = calculator
    with BFGS(atoms, logfile=None, maxstep=0.1) as optimizer:
        converged = optimizer.run(fmax=fmax_eV_per_A, steps=max_steps)
    if not converged:
        largest = float((atoms.get_forces() ** 2).sum(axis=1).max() ** 0.5)
        raise UnphysicalError(
            f"{len(atoms)} atoms did not relax: largest force {largest:.4f} eV/Å after {max_steps} steps, "
            f"limit {fmax_eV_per_A}; give a larger fmax_eV_per_A or max_steps"
        )
    return atoms


@dataclass(frozen=True)
class Dimer:
    """The curve of two atoms.

    Attributes:
        r_e_A: bond length.
        D_e_eV: energy of two free atoms minus that of the dimer.
        barrier_eV: highest energy on the way from the minimum to two free atoms, above theirs.
    """

    r_e_A: float
    D_e_eV: float
    barrier_eV: float


def isolated_atom_energy(calculator: Calculator) -> float:
    """Energy in eV of an isolated atom."""
    return energy_of(Atoms("Ru", positions=[[0, 0, 0]]), calculator)


def dimer(calculator: Calculator, distances_A: np.ndarray | None = None) -> Dimer:
    """Bond length and well depth at the lowest minimum of the dimer curve, and the barrier behind it.

    The curve is first scanned at `distances_A` (1.6 to 4.0 Å in steps of 0.1 if None), then from the minimum to 10 Å.

    Raises:
        UnphysicalError: the curve has no minimum between the first and the last distance.
    """

    def energy(distance_A: float) -> float:
        return energy_of(Atoms("Ru2", positions=[[0, 0, 0], [0, 0, distance_A]]), calculator)

    grid = np.arange(1.6, 4.05, 0.1) if distances_A is None else np.asarray(distances_A)
    lowest = int(np.argmin([energy(r) for r in grid]))
    if lowest in (0, len(grid) - 1):
        raise UnphysicalError(f"the dimer has no minimum between {grid[0]:.1f} and {grid[-1]:.1f} Å")
    around = (grid[lowest - 1], grid[lowest + 1])
    found = minimize_scalar(energy, bounds=around, method="bounded", options={"xatol": 1e-4})
    free = 2 * isolated_atom_energy(calculator)
    outward = max(energy(r) for r in np.arange(found.x, FREE_A, 0.05))
    return Dimer(float(found.x), free - float(found.fun), outward - free)
