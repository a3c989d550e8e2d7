"""Phonons of hcp: optical modes at Γ, and with phonopy (if installed) the whole Brillouin zone."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ru_calc.errors import SettingsError
from ru_calc.properties.bulk import HcpLattice
from ru_calc.units import SQRT_EV_PER_U_A2_IN_THZ


@dataclass(frozen=True)
class GammaPhonons:
    """Optical modes of hcp at Γ; a negative number is an imaginary frequency.

    Attributes:
        E2g_THz: the basal planes slide against each other (mean of the degenerate pair).
        B1g_THz: the basal planes move against each other along c.
        E2g_splitting_THz: splitting of the degenerate pair, a numerical error.
    """

    E2g_THz: float
    B1g_THz: float
    E2g_splitting_THz: float


def gamma_phonons(hcp: HcpLattice, calculator: Calculator, displacement_A: float = 0.01) -> GammaPhonons:
    """E2g and B1g from the force constants Φ of a rigid displacement of one sublattice, ν = √(2 Φ/m) / 2π.

    With equal masses and the acoustic sum rule Φ_01 = −Φ_00, the optical eigenvalues of the dynamical matrix are those
    of 2 Φ_00/m (e.g. Ashcroft & Mermin, Solid State Physics, chapter 22).
    """
    force_constants = np.stack([_slope(hcp.atoms(), calculator, axis, displacement_A) for axis in range(3)])
    mass = hcp.atoms().get_masses()[0]
    basal = np.linalg.eigvalsh(0.5 * (force_constants[:2, :2] + force_constants[:2, :2].T))
    low, high = (_frequency(value, mass) for value in basal)
    return GammaPhonons((low + high) / 2, _frequency(force_constants[2, 2], mass), high - low)


def lowest_frequency_THz(
    hcp: HcpLattice,
    calculator: Calculator,
    supercell: tuple[int, int, int] = (4, 4, 3),
    mesh: tuple[int, int, int] = (12, 12, 8),
) -> float:
    """Lowest phonon frequency in THz on a mesh of the Brillouin zone; clearly negative if a mode is imaginary.

    Uses phonopy (A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023)).

    `supercell` repeats the two-atom cell in which one atom is displaced; `mesh` includes Γ.

    Raises:
        SettingsError: phonopy is not installed.
    """
    phonon = phonopy_of(hcp, calculator, supercell)
    phonon.run_mesh(mesh, is_gamma_center=True)
    return float(np.min(phonon.mesh.frequencies))


def require_phonopy() -> None:
    """Checks that phonopy is installed.

    Raises:
        SettingsError: phonopy is not installed.
    """
    if find_spec("phonopy") is None:
        raise SettingsError("phonons beyond Γ need phonopy: pip install phonopy")


def phonopy_of(hcp: HcpLattice, calculator: Calculator, supercell: tuple[int, int, int] = (4, 4, 3)) -> Any:
    """A `phonopy.Phonopy` with force constants, for band structures, densities of states and thermal properties.

    Raises:
        SettingsError: phonopy is not installed.
    """
    require_phonopy()
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    unit = hcp.atoms()
    cell = PhonopyAtoms(unit.get_chemical_symbols(), cell=unit.cell.array, scaled_positions=unit.get_scaled_positions())
    phonon = Phonopy(cell, supercell_matrix=np.diag(supercell))
    phonon.generate_displacements(distance=0.01, is_plusminus=True)
    displaced = phonon.supercells_with_displacements or []
    moved = [Atoms(c.symbols, cell=c.cell, scaled_positions=c.scaled_positions, pbc=True) for c in displaced]
    phonon.forces = np.array([_forces(atoms, calculator) for atoms in moved])
    phonon.produce_force_constants()
    phonon.symmetrize_force_constants()
    return phonon


def _forces(atoms: Atoms, calculator: Calculator) -> np.ndarray:
    atoms.calc = calculator
    return np.asarray(atoms.get_forces())


def _slope(atoms: Atoms, calculator: Calculator, axis: int, displacement_A: float) -> np.ndarray:
    forces = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[0, axis] += sign * displacement_A
        forces.append(_forces(moved, calculator)[0])
    return -(forces[0] - forces[1]) / (2 * displacement_A)


def _frequency(force_constant: float, mass_u: float) -> float:
    squared = 2 * force_constant / mass_u
    return float(np.sign(squared) * np.sqrt(abs(squared)) * SQRT_EV_PER_U_A2_IN_THZ)
