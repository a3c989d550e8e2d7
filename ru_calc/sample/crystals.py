"""Perfect, strained and rattled crystals."""

from __future__ import annotations

from collections.abc import Callable

import ase.build
import numpy as np
from ase import Atoms

from ru_calc.sample.kind import COMPRESSED_A, HCP_VOLUME_A3, Case, Draw, Kind, rattled, scaled_to, strained
from ru_calc.structures.lattices import PHASES, phase_crystal

VOLUMES = (0.6, 1.8)
C_OVER_A, TETRAGONAL = (1.3, 1.9), (0.85, 1.65)
AMPLITUDES_A = (0.03, 0.06, 0.1, 0.15, 0.2, 0.25)
CUBE_OF_FCC, CUBE_OF_BCC = ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), ((0, 1, 1), (1, 0, 1), (1, 1, 0))
OBLIQUE = (((2, 0, 0), (1, 2, 0), (0, 1, 1)), ((2, 1, 0), (0, 2, 1), (0, 0, 1)), ((1, 1, 0), (-1, 1, 1), (1, -1, 1)))
Matrix = tuple[tuple[int, int, int], ...]


def phase(name: str, ratio: float = 1.0) -> Atoms:
    """The primitive cell of a phase at `ratio` times its usual volume."""
    return phase_crystal(name, HCP_VOLUME_A3 * PHASES[name].volume_ratio * ratio)


def supercell(name: str, matrix: Matrix | tuple[int, int, int]) -> Atoms:
    """A phase repeated, or in the cell that the rows of a 3 × 3 matrix give."""
    rows = np.diag(matrix) if np.ndim(matrix) == 1 else np.array(matrix)
    return ase.build.make_supercell(phase(name), rows)


def _volume_scan(name: str, draw: Draw) -> Atoms:
    length = draw.along(*(volume ** (1 / 3) for volume in VOLUMES))
    return scaled_to(phase(name), length**3)


def _c_over_a(ratio: float, draw: Draw) -> Atoms:
    c_over_a = draw.along(*C_OVER_A)
    atoms = phase_crystal("hcp", HCP_VOLUME_A3 * ratio, c_over_a)
    atoms.info |= {"ca": round(c_over_a, 4), "v": ratio}
    return atoms


def _bain(_: None, draw: Draw) -> Atoms:
    """Body-centred tetragonal: c/a = 1 is bcc, √2 is fcc."""
    c_over_a = draw.along(*TETRAGONAL)
    volume_A3 = 2 * HCP_VOLUME_A3 * 1.02
    a = (volume_A3 / c_over_a) ** (1 / 3)
    atoms = Atoms("Ru2", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=(a, a, c_over_a * a), pbc=True)
    atoms.info["ca"] = round(c_over_a, 4)
    return atoms


def _strain(name: str, draw: Draw) -> Atoms:
    return strained(phase(name, draw.between(0.9, 1.15)), draw.of((0.02, 0.04, 0.07)), draw)


def _rattle(low: float, high: float) -> Callable[[tuple[str, Matrix], Draw], Atoms]:
    def make(what: tuple[str, Matrix], draw: Draw) -> Atoms:
        atoms = strained(supercell(*what), 0.02, draw)
        return rattled(scaled_to(atoms, draw.between(low, high)), draw.of(AMPLITUDES_A), draw)

    return make


def _displaced(length_A: float, draw: Draw) -> Atoms:
    atoms = supercell("hcp", (2, 2, 1))
    direction = draw.rng.normal(size=3)
    atoms.positions[0] += length_A * direction / np.linalg.norm(direction)
    atoms.info["amp"] = length_A
    return atoms


def _rattle_kind(size: str, name: str, count: int, *matrices: Matrix | tuple[int, int, int]) -> Kind:
    cases = tuple(Case(len(supercell(name, matrix)), (name, matrix)) for matrix in matrices)
    cells = "oblique cells" if size.endswith("o") else "cells"
    makes = f"{name}, atoms displaced by 0.03–0.25 Å in strained {cells}"
    return Kind(f"{name}_rattle{size}", makes, count, cases, _rattle(0.9, 1.15))


def _bent(name: str, makes: str, ratios: tuple[float, float], nearest_A: float | None) -> Kind:
    return Kind(name, makes, 10, (Case(8, ("hcp", (2, 2, 1))),), _rattle(*ratios), nearest_A=nearest_A)


CRYSTALS = (
    *(
        Kind(f"eos_{name}", f"{name} at 0.6–1.8 times its volume", 11, (Case(len(PHASES[name].scaled), name),),
             _volume_scan, nearest_A=COMPRESSED_A, scan=True)
        for name in PHASES
    ),
    Kind("hcp_ca", "hcp, c/a 1.3–1.9 at three volumes", 21, tuple(Case(2, v) for v in (0.85, 1.0, 1.15)), _c_over_a,
         scan=True),
    Kind("bain", "body-centred tetragonal, c/a 0.85–1.65, through bcc and fcc", 9, (Case(2),), _bain, scan=True),
    Kind("hcp_strain2", "hcp under random strain", 12, (Case(2, "hcp"),), _strain),
    Kind("fcc_strain", "fcc under random strain", 6, (Case(1, "fcc"),), _strain),
    Kind("bcc_strain", "bcc under random strain", 6, (Case(1, "bcc"),), _strain),
    _rattle_kind("4", "hcp", 12, (2, 1, 1), (1, 1, 2)),
    _rattle_kind("8", "hcp", 18, (2, 2, 1), (2, 1, 2)),
    _rattle_kind("8o", "hcp", 12, *OBLIQUE),
    _rattle_kind("12", "hcp", 12, (3, 2, 1)),
    _rattle_kind("16", "hcp", 12, (2, 2, 2)),
    _rattle_kind("4", "fcc", 12, CUBE_OF_FCC),
    _rattle_kind("8", "fcc", 12, (2, 2, 2)),
    _rattle_kind("4o", "fcc", 6, *OBLIQUE),
    _rattle_kind("4", "bcc", 6, (*CUBE_OF_BCC[:2], (2, 2, 0))),
    _rattle_kind("8", "bcc", 6, (2, 2, 2)),
    _rattle_kind("4o", "bcc", 6, *OBLIQUE),
    _rattle_kind("4", "dhcp", 6, (1, 1, 1)),
    _rattle_kind("8", "a15", 6, (1, 1, 1)),
    _rattle_kind("6", "omega", 6, (1, 1, 2)),
    _rattle_kind("8", "sc", 6, (2, 2, 2)),
    _bent("hcp_compressed8", "rattled hcp at 0.6–0.9 times its volume", (0.6, 0.9), COMPRESSED_A),
    _bent("hcp_expanded8", "rattled hcp at 1.15–1.8 times its volume", (1.15, 1.8), None),
    Kind("hcp_disp8", "hcp, one atom displaced by 0.05–0.4 Å", 6, tuple(Case(8, d) for d in (0.05, 0.2, 0.4)),
         _displaced),
)  # fmt: skip
