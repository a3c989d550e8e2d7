"""Is this frame still physics?  Every step is asked."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ru_calc.md.settings import MDSettings
from ru_calc.structures.neighbors import ClosePair, closest_pair
from ru_calc.units import BOLTZMANN_EV_PER_K

# An NPT cell that grew or shrank by this factor has exploded or collapsed.
VOLUME_FACTOR = 4.0


class OverlapCheck:
    """Finds two atoms closer than `min_distance_A`, and searches only when there may be some.

    After a search that found no pair within `min_distance_A + skin_A`, none can have come closer than
    `min_distance_A` while σ_min(F)·(min_distance + skin) − 2 max|u| stays above it, F being the map of the cell and
    u what an atom moved beyond it.
    """

    def __init__(self, min_distance_A: float, skin_A: float = 1.0) -> None:
        self.min_distance_A, self.reach_A = min_distance_A, min_distance_A + skin_A
        self.searches = 0
        self._clear: tuple[np.ndarray, np.ndarray] | None = None

    def closest(self, atoms: Atoms) -> ClosePair | None:
        """The closest pair if it is closer than allowed."""
        if len(atoms) == 0 or self._surely_apart(atoms):
            return None
        self.searches += 1
        pair = closest_pair(atoms, self.reach_A)
        self._clear = None if pair else (atoms.get_positions(), atoms.cell.array.copy())
        return pair if pair and pair.distance_A < self.min_distance_A else None

    def _surely_apart(self, atoms: Atoms) -> bool:
        if self._clear is None:
            return False
        (positions, cell), stretch = self._clear, 1.0
        if not np.array_equal(cell, atoms.cell.array):
            deformation = np.linalg.solve(cell, atoms.cell.array)
            positions = positions @ deformation
            stretch = np.linalg.svd(deformation, compute_uv=False)[-1]
        moved = np.sqrt(((atoms.positions - positions) ** 2).sum(axis=1).max())
        return bool(stretch * self.reach_A - 2 * moved > self.min_distance_A)


class Monitor:
    """Names the cause when a frame is unphysical.

    Args:
        settings: hold the limits.
        start_eV: conserved quantity at step 0.
        volume_A3: at step 0.
    """

    def __init__(self, settings: MDSettings, start_eV: float, volume_A3: float) -> None:
        self.settings, self.start_eV, self.volume_A3 = settings, start_eV, volume_A3
        self.overlap = OverlapCheck(settings.min_distance_A)

    def cause(self, atoms: Atoms, energy_eV: float, forces: np.ndarray, reservoir_eV: float) -> str | None:
        """Why the frame is unphysical, or None.

        Args:
            energy_eV: potential energy.
            forces: (n, 3) eV/Å.
            reservoir_eV: energy in thermostats and barostats.
        """
        return (
            self._not_finite(atoms, energy_eV, forces)
            or self._too_close(atoms)
            or self._runaway(atoms, energy_eV, reservoir_eV)
        )

    def _not_finite(self, atoms: Atoms, energy_eV: float, forces: np.ndarray) -> str | None:
        if not np.isfinite(energy_eV):
            return f"the potential energy is {energy_eV} eV"
        for name, unit, values in (
            ("position", "Å", atoms.positions),
            ("force", "eV/Å", forces),
            ("momentum", "(eV u)^1/2", atoms.get_momenta()),
        ):
            if not np.isfinite(values).all():
                k = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
                return f"the {name} of atom {k} is {values[k]} {unit}"
        return None

    def _too_close(self, atoms: Atoms) -> str | None:
        pair = self.overlap.closest(atoms)
        return f"{pair} (limit {self.settings.min_distance_A} Å)" if pair else None

    def _runaway(self, atoms: Atoms, energy_eV: float, reservoir_eV: float) -> str | None:
        kinetic, limits = atoms.get_kinetic_energy(), self.settings
        # Over all 3N: the single free degree of a bond that forms takes up electronvolts and is no runaway.
        temperature = temperature_K(kinetic, 3 * len(atoms))
        if temperature > limits.hottest_K:
            return f"the temperature ran away to {temperature:.0f} K (limit {limits.hottest_K:.0f} K)"
        drift = (energy_eV + kinetic + reservoir_eV - self.start_eV) / len(atoms)
        if abs(drift) > limits.max_drift_eV_per_atom:
            return (
                f"the conserved quantity ran away by {drift:+.3f} eV/atom (limit {limits.max_drift_eV_per_atom} "
                "eV/atom); a smaller time step may help"
            )
        if limits.constant_pressure:
            ratio = atoms.get_volume() / self.volume_A3
            if not 1 / VOLUME_FACTOR < ratio < VOLUME_FACTOR:
                return (
                    f"the cell volume is {ratio:.2f} times what it was (limits 1/{VOLUME_FACTOR:g}, {VOLUME_FACTOR:g})"
                )
        return None


def temperature_K(kinetic_eV: float, dof: int) -> float:
    """2 K / (dof k_B); 0 without degrees of freedom."""
    return 2 * kinetic_eV / (dof * BOLTZMANN_EV_PER_K) if dof else 0.0
