"""Vacancies, and the basal (0001) surface of hcp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ru_calc.errors import SettingsError
from ru_calc.properties.bulk import HcpLattice
from ru_calc.properties.energies import energy_of, relaxed_positions
from ru_calc.structures.lattices import hcp_crystal
from ru_calc.structures.planes import close_packed
from ru_calc.units import EV_PER_A2_IN_J_PER_M2

VACANCY_CELL_A = (2.724, 4.297)  # a and c of the DFT frames perfect36 and vacancy35


@dataclass(frozen=True)
class Vacancy:
    """Formation energies of one vacancy, with and without relaxation, and the number of sites in the supercell."""

    relaxed_eV: float
    unrelaxed_eV: float
    sites: int


def vacancy_formation(
    crystal: Atoms, calculator: Calculator, repeats: tuple[int, int, int], fmax_eV_per_A: float = 0.01
) -> Vacancy:
    """E_f = E(N − 1) − (N − 1)/N E(N) in a periodic supercell of N sites at constant volume.

    `crystal` is the relaxed cell of a crystal with equivalent sites, `repeats` makes it the supercell.

    Raises:
        SettingsError: the supercell has only one site.
        UnphysicalError: the positions do not relax.
    """
    defect, share = _with_vacancy(crystal * repeats, calculator)
    unrelaxed = energy_of(defect, calculator)
    relaxed = float(relaxed_positions(defect, calculator, fmax_eV_per_A).get_potential_energy())
    return Vacancy(relaxed - share, unrelaxed - share, len(defect) + 1)


def _with_vacancy(perfect: Atoms, calculator: Calculator) -> tuple[Atoms, float]:
    """A supercell of N sites without its middle atom, and (N − 1)/N of its energy with it in eV."""
    sites = len(perfect)
    if sites < 2:
        raise SettingsError(f"a supercell of {sites} site is empty once its atom is removed: give larger repeats")
    share = (sites - 1) / sites * energy_of(perfect, calculator)
    defect = perfect.copy()
    del defect[int(np.argmin(np.linalg.norm(defect.positions - defect.cell.sum(axis=0) / 2, axis=1)))]
    return defect, share


def hcp_vacancy(hcp: HcpLattice, calculator: Calculator, repeats: tuple[int, int, int] = (4, 4, 3)) -> Vacancy:
    """The vacancy in hcp, by default in a supercell of 96 sites.

    Raises:
        UnphysicalError: the positions do not relax.
    """
    return vacancy_formation(hcp.atoms(), calculator, repeats)


def unrelaxed_vacancy_eV(calculator: Calculator) -> float:
    """Formation energy in eV of a vacancy in the 36 sites for which it was computed by DFT, in the same cell."""
    defect, share = _with_vacancy(hcp_crystal(*VACANCY_CELL_A) * (3, 3, 2), calculator)
    return energy_of(defect, calculator) - share


@dataclass(frozen=True)
class BasalSurface:
    """The (0001) surface.

    Attributes:
        gamma_J_per_m2, gamma_unrelaxed_J_per_m2: surface energy with and without relaxation.
        spacings_percent: changes of the interlayer spacings d12, d23, … relative to c/2 in %, from the surface to
            the middle; negative is inward.
        layers: number of layers in the slab.
        atoms: the relaxed slab, one atom per layer, z upwards.
    """

    gamma_J_per_m2: float
    gamma_unrelaxed_J_per_m2: float
    spacings_percent: np.ndarray
    layers: int
    atoms: Atoms

    @property
    def d12_percent(self) -> float:
        return float(self.spacings_percent[0])

    @property
    def d23_percent(self) -> float:
        return float(self.spacings_percent[1])


def basal_slab(hcp: HcpLattice, layers: int = 12, vacuum_A: float = 15.0) -> Atoms:
    """A bulk-terminated (0001) slab, one atom per layer, periodic in x and y, with `vacuum_A` above and below.

    Raises:
        SettingsError: fewer than five layers, with no bulk between the surfaces.
    """
    if layers < 5:
        raise SettingsError(f"a slab of {layers} layers has no bulk between its surfaces: give 5 or more")
    slab = close_packed(("AB" * layers)[:layers], hcp.a_A, hcp.c_A / 2)
    slab.pbc = (True, True, False)
    slab.center(vacuum=vacuum_A, axis=2)
    return slab


def basal_surface(
    hcp: HcpLattice, calculator: Calculator, layers: int = 12, fmax_eV_per_A: float = 0.002
) -> BasalSurface:
    """γ = (E_slab − N E_bulk)/2A and the interlayer spacings of a slab with two equal free surfaces.

    The lattice keeps its a; nine to twelve layers are converged for short-ranged models.

    Raises:
        SettingsError: fewer than five layers.
        UnphysicalError: the slab does not relax.
    """
    slab = basal_slab(hcp, layers)
    area = float(np.linalg.norm(np.cross(slab.cell[0], slab.cell[1])))
    unrelaxed = energy_of(slab, calculator)
    relaxed = relaxed_positions(slab, calculator, fmax_eV_per_A)

    def gamma(energy: float) -> float:
        return (energy - layers * hcp.energy_eV) / (2 * area) * EV_PER_A2_IN_J_PER_M2

    return BasalSurface(
        gamma(float(relaxed.get_potential_energy())),
        gamma(unrelaxed),
        layer_spacings_percent(relaxed.positions[:, 2], hcp.c_A / 2)[: layers // 2],
        layers,
        relaxed,
    )


def layer_spacings_percent(heights_A: np.ndarray, bulk_spacing_A: float) -> np.ndarray:
    """(layers − 1,) changes of the interlayer spacings relative to the bulk in %, from the top down."""
    top_down = np.sort(np.asarray(heights_A))[::-1]
    return 100 * (-np.diff(top_down) / bulk_spacing_A - 1)
