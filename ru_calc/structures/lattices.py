"""Perfect crystals of ruthenium's phases, by lattice constants or by volume per atom and c/a."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ru_calc.errors import SettingsError


@dataclass(frozen=True)
class Phase:
    """A crystal structure without free internal coordinates.

    Attributes:
        scaled: fractional positions of the atoms.
        hexagonal: the cell is hexagonal, with c/a free; otherwise it is `cell` times a length.
        cell: lattice vectors (rows) of a cubic phase, in units of that length.
        c_over_a: starting value of a hexagonal phase.
        volume_ratio: starting value of the equilibrium volume per atom over that of hcp (all-electron PBE for Ru;
            Bosoni et al., Nat. Rev. Phys. 6, 45 (2024) for fcc, bcc, sc, diamond).
    """

    scaled: tuple[tuple[float, float, float], ...]
    hexagonal: bool = False
    cell: tuple[tuple[float, float, float], ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    c_over_a: float = 1.0
    volume_ratio: float = 1.0


THIRD, TWO_THIRDS = 1 / 3, 2 / 3
FCC_CELL = ((0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))
A15_CHAINS = (
    ((0.25, 0, 0.5), (0.75, 0, 0.5)),
    ((0.5, 0.25, 0), (0.5, 0.75, 0)),
    ((0, 0.5, 0.25), (0, 0.5, 0.75)),
)
PHASES = {
    "hcp": Phase(((0, 0, 0), (THIRD, TWO_THIRDS, 0.5)), True, c_over_a=1.58),
    "dhcp": Phase(
        ((0, 0, 0), (THIRD, TWO_THIRDS, 0.25), (0, 0, 0.5), (TWO_THIRDS, THIRD, 0.75)), True, c_over_a=2 * 1.6
    ),
    "fcc": Phase(((0, 0, 0),), cell=FCC_CELL, volume_ratio=1.005),
    "bcc": Phase(((0, 0, 0),), cell=((-0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.5, 0.5, -0.5)), volume_ratio=1.034),
    "a15": Phase(((0, 0, 0), (0.5, 0.5, 0.5)) + sum(A15_CHAINS, ()), volume_ratio=1.03),
    "omega": Phase(
        ((0, 0, 0), (THIRD, TWO_THIRDS, 0.5), (TWO_THIRDS, THIRD, 0.5)), True, c_over_a=0.61, volume_ratio=1.04
    ),
    "sc": Phase(((0, 0, 0),), volume_ratio=1.151),
    "diamond": Phase(((0, 0, 0), (0.25, 0.25, 0.25)), cell=FCC_CELL, volume_ratio=1.475),
}


def hexagonal_cell(a_A: float, c_A: float) -> np.ndarray:
    """Lattice vectors (3, 3) in Å: a along x, the second at 120° in the xy plane, c along z."""
    return np.array([[a_A, 0, 0], [-a_A / 2, a_A * np.sqrt(3) / 2, 0], [0, 0, c_A]])


def crystal(name: str, cell: np.ndarray) -> Atoms:
    """The atoms of a phase in its primitive cell (A15: the cubic cell of eight atoms), given as (3, 3) in Å.

    Raises:
        SettingsError: an unknown phase.
    """
    scaled = phase_named(name).scaled
    return Atoms(f"Ru{len(scaled)}", scaled_positions=scaled, cell=cell, pbc=True)


def hcp_crystal(a_A: float, c_A: float) -> Atoms:
    """The two-atom cell of hcp, c along z."""
    return crystal("hcp", hexagonal_cell(a_A, c_A))


def phase_crystal(name: str, volume_A3: float, c_over_a: float | None = None) -> Atoms:
    """The primitive cell of a phase (A15: the cubic cell of eight atoms).

    Args:
        name: one of `PHASES`.
        volume_A3: volume per atom in Å³.
        c_over_a: of hcp, dhcp (about 3.2) or omega (about 0.6); None takes the usual value.

    Raises:
        SettingsError: an unknown phase, or c/a for a cubic one.
    """
    phase = phase_named(name)
    if c_over_a is not None and not phase.hexagonal:
        raise SettingsError(f"c/a = {c_over_a} was given for {name}, which is cubic: leave it out")
    cell = hexagonal_cell(1.0, c_over_a or phase.c_over_a) if phase.hexagonal else np.array(phase.cell, dtype=float)
    cell *= (volume_A3 * len(phase.scaled) / abs(np.linalg.det(cell))) ** (1 / 3)
    return crystal(name, cell)


def phase_named(name: str) -> Phase:
    """The entry of `PHASES`.

    Raises:
        SettingsError: there is no such phase.
    """
    if name not in PHASES:
        raise SettingsError(f"unknown phase {name!r}: choose one of {', '.join(PHASES)}")
    return PHASES[name]
