"""Initial velocities, degrees of freedom, and the temperature."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
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
        momenta = _without_drift(atoms, atoms.get_momenta())
        atoms.set_momenta(momenta if atoms.pbc.any() else _without_rotation(atoms, momenta))
    kinetic = atoms.get_kinetic_energy()
    if kinetic <= NOISE * drawn:  # a lone atom only had drift
        atoms.set_momenta(np.zeros((len(atoms), 3)))
        return
    wanted = 0.5 * degrees_of_freedom(atoms, ensemble) * BOLTZMANN_EV_PER_K * temperature_K
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(wanted / kinetic))


def remove_drift(atoms: Atoms) -> str | None:
    """Ends the motion of the centre of mass and, without periodicity, the rotation; says what was there, or None.

    A thermostat would take both for heat and cool all else.  Atoms with constraints are left as they are, since what
    moves beside fixed atoms does not drift.  Where nothing else moves, all momenta are then zero.
    """
    if atoms.constraints:
        return None
    at_first, total, found = atoms.get_momenta(), atoms.get_kinetic_energy(), []
    momenta = at_first
    if _drifts(momenta):
        momenta = _without_drift(atoms, momenta)
        speed = np.linalg.norm(at_first.sum(axis=0)) / atoms.get_masses().sum() * 1000 * units.fs
        found.append(f"a drift of {speed:.3g} Å/ps")
    if not atoms.pbc.any() and _turns(atoms, momenta):
        momenta = _without_rotation(atoms, momenta)
        found.append("a rotation")
    if not found:
        return None
    atoms.set_momenta(momenta)
    lost = total - atoms.get_kinetic_energy()
    if lost > (1 - NOISE) * total:
        atoms.set_momenta(np.zeros_like(momenta))
    kelvin = temperature_K(lost, 3 * len(atoms))
    return (
        f"the velocities of the atoms had {' and '.join(found)} ({kelvin:.3g} K of the temperature), which is removed"
    )


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
    if _drifts(momenta):
        return 3 * len(atoms)
    rotations = 0
    if len(atoms) > 1 and not atoms.pbc.any() and not _turns(atoms, momenta):
        rotations = int(np.linalg.matrix_rank(_inertia(atoms), tol=1e-6))
    return 3 * len(atoms) - 3 - rotations


def temperature_K(kinetic_eV: float, dof: int) -> float:
    """Temperature 2 E_kin / (dof k_B) in K; 0 without degrees of freedom."""
    return 2 * kinetic_eV / (dof * BOLTZMANN_EV_PER_K) if dof else 0.0


def _drifts(momenta: np.ndarray) -> bool:
    return bool(np.abs(momenta.sum(axis=0)).max() > NOISE * np.abs(momenta).sum())


def _turns(atoms: Atoms, momenta: np.ndarray) -> bool:
    arms = atoms.positions - atoms.get_center_of_mass()
    spin = np.abs(np.cross(arms, momenta).sum(axis=0)).max()
    return bool(spin > NOISE * (np.linalg.norm(arms, axis=1) * np.linalg.norm(momenta, axis=1)).sum())


def _without_drift(atoms: Atoms, momenta: np.ndarray) -> np.ndarray:
    masses = atoms.get_masses()[:, None]
    return momenta - masses * momenta.sum(axis=0) / masses.sum()


def _without_rotation(atoms: Atoms, momenta: np.ndarray) -> np.ndarray:
    arms = atoms.positions - atoms.get_center_of_mass()
    return momenta - atoms.get_masses()[:, None] * np.cross(_rotation(atoms, momenta), arms)


def _inertia(atoms: Atoms) -> np.ndarray:
    arms, masses = atoms.positions - atoms.get_center_of_mass(), atoms.get_masses()
    spread = np.einsum("i,ia,ib->ab", masses, arms, arms)
    return np.trace(spread) * np.eye(3) - spread


def _rotation(atoms: Atoms, momenta: np.ndarray) -> np.ndarray:
    """Angular velocity (3,) of the rigid rotation with the same angular momentum."""
    spin = np.cross(atoms.positions - atoms.get_center_of_mass(), momenta).sum(axis=0)
    return np.linalg.pinv(_inertia(atoms), rcond=1e-9, hermitian=True) @ spin
