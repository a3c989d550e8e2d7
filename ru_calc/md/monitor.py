"""Checks at every step that the frame is still physical."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ru_calc.errors import DataError
from ru_calc.md.settings import MDSettings
from ru_calc.md.velocities import temperature_K
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import VerletList

# An NPT cell that has grown or shrunk by this factor has exploded or collapsed.
VOLUME_FACTOR = 4.0


class Monitor:
    """Says why a frame is unphysical, from the conserved quantity and the volume at step 0."""

    def __init__(self, settings: MDSettings, start_eV: float, volume_A3: float) -> None:
        self.settings, self.start_eV, self.volume_A3 = settings, start_eV, volume_A3
        self.neighbors = VerletList(settings.min_distance_A)

    def cause(self, atoms: Atoms, energy_eV: float, forces: np.ndarray, reservoir_eV: float) -> str | None:
        """Why a frame with this potential and reservoir energy and forces (n, 3) in eV/Å is unphysical, or None."""
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
        limit = self.neighbors.cutoff_A
        try:
            followed, _ = self.neighbors.update(Structures.from_atoms(atoms, check=False))
        except DataError as problem:
            return str(problem)
        pair = self.neighbors.closer_than(followed, limit)
        return f"{pair} (limit {limit} Å)" if pair else None

    def _runaway(self, atoms: Atoms, energy_eV: float, reservoir_eV: float) -> str | None:
        kinetic, limits = atoms.get_kinetic_energy(), self.settings
        # Over all 3N: a bond that forms releases electronvolts into few degrees of freedom, which is no runaway.
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
