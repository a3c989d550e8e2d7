"""Vacancies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ru_calc.errors import SettingsError
from ru_calc.properties.bulk import HcpLattice
from ru_calc.properties.relaxing import energy_of, relaxed_positions


@dataclass(frozen=True)
class Vacancy:
    """Formation energies of one vacancy in eV.

    Attributes:
        relaxed_eV, unrelaxed_eV: with and without relaxation of the positions.
        sites: number of sites in the periodic supercell.
    """

    relaxed_eV: float
    unrelaxed_eV: float
    sites: int


def vacancy_formation(
    crystal: Atoms,
    calculator: Calculator,
    repeats: tuple[int, int, int],
    fmax_eV_per_A: float = 0.01,
) -> Vacancy:
    """E_f = E(N − 1) − (N − 1)/N E(N) in a periodic supercell of N sites at constant volume.

    Args:
        crystal: the relaxed cell of a crystal with equivalent sites.
        calculator: any ASE calculator.
        repeats: of that cell.
        fmax_eV_per_A: longest force after relaxation.

    Raises:
        SettingsError: the supercell has only one site.
        UnphysicalError: the positions do not relax.
    """
    perfect = crystal * repeats
    sites = len(perfect)
    if sites < 2:
        raise SettingsError(f"a supercell of {sites} site is empty once its atom is removed: give larger repeats")
    share = (sites - 1) / sites * energy_of(perfect, calculator)
    defect = perfect.copy()
    del defect[int(np.argmin(np.linalg.norm(defect.positions - defect.cell.sum(axis=0) / 2, axis=1)))]
    unrelaxed = energy_of(defect, calculator)
    relaxed = float(relaxed_positions(defect, calculator, fmax_eV_per_A).get_potential_energy())
    return Vacancy(relaxed - share, unrelaxed - share, sites)


def hcp_vacancy(hcp: HcpLattice, calculator: Calculator, repeats: tuple[int, int, int] = (4, 4, 3)) -> Vacancy:
    """The vacancy in hcp, by default in a supercell of 96 sites.

    Raises:
        UnphysicalError: the positions do not relax.
    """
    return vacancy_formation(hcp.atoms(), calculator, repeats)
