"""Which phase is lowest in energy, volume by volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.calculators.calculator import Calculator

from ru_calc.properties.bulk import HcpLattice, energy_at_volume

CLOSE_PHASES = ("hcp", "dhcp", "fcc", "bcc", "a15")


@dataclass(frozen=True)
class PhaseOrder:
    """Energies of several phases on one grid of volumes.

    Attributes:
        volumes_A3: (k,) volumes per atom.
        energies_eV: phase → (k,) energies per atom, c/a relaxed.
    """

    volumes_A3: np.ndarray
    energies_eV: dict[str, np.ndarray]

    def margin_eV(self, lowest: str = "hcp") -> float:
        """Smallest energy of another phase above `lowest`, in eV per atom; negative if one is lower."""
        others = [self.energies_eV[name] - self.energies_eV[lowest] for name in self.energies_eV if name != lowest]
        return float(np.min(others))


def phase_order(
    calculator: Calculator,
    hcp: HcpLattice,
    phases: tuple[str, ...] = CLOSE_PHASES,
    span: float = 0.10,
    points: int = 11,
) -> PhaseOrder:
    """Energies of phases on one grid of volumes around that of hcp, with c/a relaxed.

    Args:
        calculator: any ASE calculator.
        hcp: the relaxed hcp lattice.
        phases: names in `PHASES`.
        span: largest relative change of volume.
        points: number of volumes.

    Raises:
        UnphysicalError: a phase has no best c/a.
        SettingsError: an unknown phase.
    """
    volumes = hcp.volume_A3 * np.linspace(1 - span, 1 + span, points)
    energies = {name: np.array([energy_at_volume(name, v, calculator, hcp.symbol) for v in volumes]) for name in phases}
    return PhaseOrder(volumes, energies)
