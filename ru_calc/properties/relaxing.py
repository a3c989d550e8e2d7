"""Relaxation of positions in a fixed cell, with a limit on the steps."""

from __future__ import annotations

from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS

from ru_calc.errors import UnphysicalError


def relaxed_positions(
    atoms: Atoms, calculator: Calculator, fmax_eV_per_A: float = 0.005, max_steps: int = 200
) -> Atoms:
    """A copy of `atoms` with the calculator and every force component vector below `fmax_eV_per_A`, cell unchanged.

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
            f"{fmax_eV_per_A} wanted; give a larger fmax_eV_per_A or max_steps"
        )
    return atoms
