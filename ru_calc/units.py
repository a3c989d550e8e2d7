"""Units and sign conventions.

Energies are in eV, lengths in Å, forces in eV/Å, stresses in eV/Å³, masses in u, temperatures in K.  Times are in fs
in every public argument and result (ASE's own time unit is used only inside its integrators).  GPa appears only in
printed or plotted numbers, and under names that end in GPa.

Stress is σ = (1/V) ∂E/∂ε with ε the symmetric strain that maps r to r(1 + ε): tension is positive, pressure is
−tr σ / 3.  Voigt order is ASE's: xx yy zz yz xz xy.  A pair vector is r_ij = r_j − r_i + S·cell.
"""

import numpy as np

EV_PER_A3_IN_GPA = 160.21766208
EV_PER_A2_IN_J_PER_M2 = 16.021766208
SQRT_EV_PER_U_A2_IN_THZ = 15.633302
BOLTZMANN_EV_PER_K = 8.617330337217213e-05
COULOMB_EV_A = 14.399645478  # e² / 4πε₀
BOHR_A = 0.529177210903
RUTHENIUM = 44

VOIGT_ROWS = np.array([0, 1, 2, 1, 0, 0])
VOIGT_COLUMNS = np.array([0, 1, 2, 2, 2, 1])


def to_voigt(matrix: np.ndarray) -> np.ndarray:
    """Symmetric matrices (..., 3, 3) in Voigt order (..., 6); the two halves are averaged."""
    matrix = np.asarray(matrix, dtype=float)
    symmetric = 0.5 * (matrix + np.swapaxes(matrix, -1, -2))
    return symmetric[..., VOIGT_ROWS, VOIGT_COLUMNS]


def from_voigt(vector: np.ndarray) -> np.ndarray:
    """The symmetric matrices (..., 3, 3) of vectors (..., 6) in Voigt order."""
    vector = np.asarray(vector, dtype=float)
    matrix = np.zeros((*vector.shape[:-1], 3, 3))
    matrix[..., VOIGT_ROWS, VOIGT_COLUMNS] = vector
    matrix[..., VOIGT_COLUMNS, VOIGT_ROWS] = vector
    return matrix


def in_gpa(stress: np.ndarray | float) -> np.ndarray | float:
    """Stress or modulus in GPa from eV/Å³."""
    return np.asarray(stress) * EV_PER_A3_IN_GPA if np.ndim(stress) else stress * EV_PER_A3_IN_GPA
