"""Initial velocities, and how many degrees of freedom they spread over."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.md.velocitydistribution import thermalize_momenta

from ru_calc.units import BOLTZMANN_EV_PER_K

# Momenta are kept to eight decimals in text files; sums over atoms carry that much noise.
NOISE = 1e-6


def draw_momenta(atoms: Atoms, temperature_K: float, rng: np.random.Generator, dof_of: str) -> None:
    """Maxwell–Boltzmann momenta at exactly `temperature_K`, without drift and, if nothing is periodic, rotation.

    Args:
        atoms: receives the momenta; fixed atoms stay fixed (and then a drift is left in).
        dof_of: the ensemble whose degrees of freedom the temperature refers to; see `degrees_of_freedom`.
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
    if kinetic <= NOISE * drawn:  # a lone atom: drift was all it had
        atoms.set_momenta(np.zeros((len(atoms), 3)))
        return
    wanted = 0.5 * degrees_of_freedom(atoms, dof_of) * BOLTZMANN_EV_PER_K * temperature_K
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(wanted / kinetic))


def degrees_of_freedom(atoms: Atoms, ensemble: str) -> int:
    """Degrees of freedom among which kinetic energy is shared.

    Langevin forces act on the centre of mass too: 3N.  Every other integrator conserves total momentum and, if
    nothing is periodic, angular momentum: what rests now will rest, and does not count.
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


def _inertia(atoms: Atoms) -> np.ndarray:
    arms, masses = atoms.positions - atoms.get_center_of_mass(), atoms.get_masses()
    spread = np.einsum("i,ia,ib->ab", masses, arms, arms)
    return np.trace(spread) * np.eye(3) - spread


def _rotation(atoms: Atoms, momenta: np.ndarray) -> np.ndarray:
    """Angular velocity (3,) of the rigid rotation that carries the angular momentum."""
    spin = np.cross(atoms.positions - atoms.get_center_of_mass(), momenta).sum(axis=0)
    return np.linalg.pinv(_inertia(atoms), rcond=1e-9, hermitian=True) @ spin
