"""The free atom and the dimer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from scipy.optimize import minimize_scalar

from ru_calc.errors import UnphysicalError
from ru_calc.properties.relaxing import energy_of


@dataclass(frozen=True)
class Dimer:
    """The dimer at its equilibrium distance.

    Attributes:
        r_e_A: bond length in Å.
        D_e_eV: energy of two free atoms minus that of the dimer, in eV.
    """

    r_e_A: float
    D_e_eV: float


def isolated_atom_energy(calculator: Calculator, symbol: str = "Ru") -> float:
    """Energy in eV of an isolated atom."""
    return energy_of(Atoms(symbol, positions=[[0, 0, 0]]), calculator)


def dimer_energy(distance_A: float, calculator: Calculator, symbol: str = "Ru") -> float:
    """Energy in eV of two isolated atoms at a distance in Å."""
    return energy_of(Atoms(f"{symbol}2", positions=[[0, 0, 0], [0, 0, distance_A]]), calculator)


def dimer(
    calculator: Calculator,
    distances_A: np.ndarray | None = None,
    symbol: str = "Ru",
) -> Dimer:
    """Bond length and well depth at the lowest minimum of the dimer curve.

    Args:
        calculator: any ASE calculator.
        distances_A: first scan of the curve in Å; None is 1.6 to 4.0 in steps of 0.1.
        symbol: chemical symbol.

    Raises:
        UnphysicalError: the curve has no minimum between the first and the last distance.
    """
    grid = np.arange(1.6, 4.05, 0.1) if distances_A is None else np.asarray(distances_A)
    energies = np.array([dimer_energy(r, calculator, symbol) for r in grid])
    lowest = int(np.argmin(energies))
    if lowest in (0, len(grid) - 1):
        raise UnphysicalError(f"the dimer has no minimum between {grid[0]:.1f} and {grid[-1]:.1f} Å")
    found = minimize_scalar(
        lambda r: dimer_energy(r, calculator, symbol),
        bounds=(grid[lowest - 1], grid[lowest + 1]),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return Dimer(float(found.x), 2 * isolated_atom_energy(calculator, symbol) - float(found.fun))
