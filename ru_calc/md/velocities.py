"""Initial velocities, degrees of freedom, and the temperature."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.md.velocitydistribution import thermalize_momenta

from ru_calc.units import BOLTZMANN_EV_PER_K

# Text files keep eight decimals of the momenta, so sums over atoms carry noise of this relative size.
NOISE = 1e-6


def draw_momenta(atoms: Atoms, temperature_K: float, rng: np.random.Generator, ensemble: str) -> None:
    """Gives atoms Maxwell–Boltzmann momenta of exactly `temperature_K`, without drift or (if not periodic) rotation.

    The temperature is that over the ensemble's `degrees_of_freedom`.  Fixed atoms stay fixed, and the drift then stays.
    """
    thermalize_momenta(atoms, temperature_K, rng=rng)
    drawn = atoms.get_kinetic_energy()
    if not atoms.constraints:
        momenta, masses = atoms.get_momenta(), atoms.get_masses()[:, None]
        momenta -= masses * momenta.sum(axis=0) / masses.sum()
        if not atoms.pbc.any():
            momenta -= masses * np.cross(_rotation(atoms, momenta), atoms.positions - atoms.get_center_of_mass())
        atoms.set_momenta(momenta)
    kinetic = atoms.get_kinetic_energy()
    if kinetic <= NOISE * drawn:  # a lone atom only had drift
        atoms.set_momenta(np.zeros((len(atoms), 3)))
        return
    wanted = 0.5 * degrees_of_freedom(atoms, ensemble) * BOLTZMANN_EV_PER_K * temperature_K
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(wanted / kinetic))


def degrees_of_freedom(atoms: Atoms, ensemble: str) -> int:
    """Number of degrees of freedom that share the kinetic energy.

    With Langevin forces, which also act on the centre of mass, it is 3N.  Every other integrator conserves the total
    momentum and, without periodicity, the angular momentum; where these are zero, they do not count.
    """
    if atoms.constraints:
        return int(atoms.get_number_of_degrees_of_freedom())
    if ensemble == "nvt-langevin":
        return 3 * len(atoms)
    momenta = atoms.get_momenta()
    if np.abs(momenta.sum(axis=0)).max() > NOISE * np.abs(momenta).sum():
        return 3 * len(atoms)
    rotations = 0
    if not atoms.pbc.any():
        arms = atoms.positions - atoms.get_center_of_mass()
        spin = np.abs(np.cross(arms, momenta).sum(axis=0)).max()
        if spin <= NOISE * (np.linalg.norm(arms, axis=1) * np.linalg.norm(momenta, axis=1)).sum():
            rotations = int(np.linalg.matrix_rank(_inertia(atoms), tol=1e-6)) if len(atoms) > 1 else 0
    return 3 * len(atoms) - 3 - rotations


def temperature_K(kinetic_eV: float, dof: int) -> float:
    """Temperature 2 E_kin / (dof k_B) in K; 0 without degrees of freedom."""
    return 2 * kinetic_eV / (dof * BOLTZMANN_EV_PER_K) if dof else 0.0


def _inertia(atoms: Atoms) -> np.ndarray:
    arms, masses = atoms.positions - atoms.get_center_of_mass(), atoms.get_masses()
    spread = np.einsum("i,ia,ib->ab", masses, arms, arms)
    return np.trace(spread) * np.eye(3) - spread


def _rotation(atoms: Atoms, momenta: np.ndarray) -> np.ndarray:
    """Angular velocity (3,) of the rigid rotation with the same angular momentum."""
    spin = np.cross(atoms.positions - atoms.get_center_of_mass(), momenta).sum(axis=0)
    return np.linalg.pinv(_inertia(atoms), rcond=1e-9, hermitian=True) @ spin
