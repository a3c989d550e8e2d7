"""Energy in dynamics at constant volume, by velocity Verlet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import thermalize_momenta

from ru_calc.checks.invariance import Evaluate
from ru_calc.checks.tolerance import Figure

TEMPERATURE_K, TIMESTEP_FS, STEPS = 300.0, 2.0, 250
# The temperature then changes by less than 4 K per ns: ΔE / 3 k_B.
DRIFT_EV_PER_ATOM_PER_PS = 1e-6


@dataclass(frozen=True)
class Trajectory:
    """Frames after each step, the first included.

    Attributes:
        times_ps: (s,) times.
        energies: (s,) kinetic and potential energy in eV.
        forces, velocities: (s, n, 3) in eV/Å and ASE's unit.
        masses: (n, 1) in u.
    """

    times_ps: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    velocities: np.ndarray
    masses: np.ndarray

    @property
    def shadow_energies(self) -> np.ndarray:
        """(s − 2,) energies in eV without the oscillation that velocity Verlet adds, up to its fourth order.

        H + Δt² (vᵀ V″ v / 12 − Fᵀ m⁻¹ F / 24), with V″ v = −dF/dt; see E. Hairer, C. Lubich and G. Wanner, Geometric
        Numerical Integration (2006), IX.
        """
        step = (self.times_ps[1] - self.times_ps[0]) * 1000 * units.fs
        rate = (self.forces[2:] - self.forces[:-2]) / (2 * step)
        stiff = -(self.velocities[1:-1] * rate).sum(axis=(1, 2))
        squares = (self.forces[1:-1] ** 2 / self.masses).sum(axis=(1, 2))
        return self.energies[1:-1] + step**2 * (stiff / 12 - squares / 24)


def verlet(evaluate: Evaluate, atoms: Atoms, timestep_fs: float = TIMESTEP_FS, steps: int = STEPS) -> Trajectory:
    """Velocity Verlet from velocities of 300 K, always the same."""
    moved, step = atoms.copy(), timestep_fs * units.fs
    thermalize_momenta(moved, TEMPERATURE_K, rng=np.random.default_rng(5))
    velocities, masses = moved.get_velocities(), moved.get_masses()[:, None]
    now, rows = evaluate(moved), []
    for k in range(steps + 1):
        kinetic = 0.5 * float((masses * velocities**2).sum())
        rows.append((k * timestep_fs / 1000, float(now.energy[0]) + kinetic, now.forces, velocities))
        half = velocities + 0.5 * step * now.forces / masses
        moved.positions += step * half
        now = evaluate(moved)
        velocities = half + 0.5 * step * now.forces / masses
    times_ps, energies, forces, speeds = (np.array(column) for column in zip(*rows, strict=True))
    return Trajectory(times_ps, energies, forces, speeds, masses)


def drift(evaluate: Evaluate, atoms: Atoms) -> Figure:
    """Slope of energy against time, without the error of the integrator: what forces that are no slopes leave."""
    run = verlet(evaluate, atoms)
    found = np.polyfit(run.times_ps[1:-1], run.shadow_energies, 1)[0] / len(atoms)
    return Figure(abs(float(found)), DRIFT_EV_PER_ATOM_PER_PS, "eV/atom/ps", "drift")
