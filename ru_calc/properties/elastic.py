"""Elastic constants from stress against strain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ru_calc.properties.bulk import HcpLattice
from ru_calc.properties.energies import relaxed_positions
from ru_calc.units import EV_PER_A3_IN_GPA, from_voigt

# Engineering strain: the Voigt shear γ_yz is 2 ε_yz.
TENSOR_PER_VOIGT = np.array([1, 1, 1, 0.5, 0.5, 0.5])


@dataclass(frozen=True)
class HcpElasticConstants:
    """The five independent elastic constants of a hexagonal crystal, in GPa; C66 = (C11 − C12)/2."""

    C11_GPa: float
    C12_GPa: float
    C13_GPa: float
    C33_GPa: float
    C44_GPa: float

    @property
    def bulk_modulus_GPa(self) -> float:
        """Voigt average, (2(C11 + C12) + C33 + 4 C13)/9."""
        return (2 * (self.C11_GPa + self.C12_GPa) + self.C33_GPa + 4 * self.C13_GPa) / 9


def elastic_tensor(
    atoms: Atoms, calculator: Calculator, strain: float = 0.005, fmax_eV_per_A: float = 2e-4
) -> np.ndarray:
    """Elastic constants (6, 6) in GPa, C_ij = ∂σ_i/∂ε_j by central differences with positions relaxed.

    Rows and columns are in ASE's Voigt order (xx yy zz yz xz xy) with engineering shear strains.  Only a relaxed cell
    gives the constants of the unstressed crystal.

    Args:
        strain: size of the Voigt strains.
        fmax_eV_per_A: longest force after the internal relaxation; its effect on C is of the order of
            fmax / (strain × force constant).

    Raises:
        UnphysicalError: the positions do not relax.
    """
    columns = []
    for j in range(6):
        strained = (_strained(atoms, j, sign * strain) for sign in (1, -1))
        plus, minus = (relaxed_positions(cell, calculator, fmax_eV_per_A).get_stress() for cell in strained)
        columns.append((plus - minus) / (2 * strain))
    return np.stack(columns, axis=1) * EV_PER_A3_IN_GPA


def hcp_elastic_constants(
    hcp: HcpLattice, calculator: Calculator, strain: float = 0.005, fmax_eV_per_A: float = 2e-4
) -> HcpElasticConstants:
    """The five constants of hcp, averaged over tensor entries that are equal by symmetry.

    Raises:
        UnphysicalError: the positions of a strained cell do not relax.
    """
    tensor = elastic_tensor(hcp.atoms(), calculator, strain, fmax_eV_per_A)
    return HcpElasticConstants(
        C11_GPa=float(tensor[0, 0] + tensor[1, 1]) / 2,
        C12_GPa=float(tensor[0, 1] + tensor[1, 0]) / 2,
        C13_GPa=float(tensor[0, 2] + tensor[2, 0] + tensor[1, 2] + tensor[2, 1]) / 4,
        C33_GPa=float(tensor[2, 2]),
        C44_GPa=float(tensor[3, 3] + tensor[4, 4]) / 2,
    )


def _strained(atoms: Atoms, component: int, size: float) -> Atoms:
    voigt = np.zeros(6)
    voigt[component] = size
    strained = atoms.copy()
    strained.set_cell(atoms.cell.array @ (np.eye(3) + from_voigt(voigt * TENSOR_PER_VOIGT)), scale_atoms=True)
    return strained
