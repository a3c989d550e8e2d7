"""Energies, and positions relaxed in a fixed cell."""

from __future__ import annotations

from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS

from ru_calc.errors import UnphysicalError


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
