"""Stackings of close-packed layers, slips across basal, prismatic and pyramidal planes, and decohesion."""

from __future__ import annotations

import math

import numpy as np
from ase import Atoms

from ru_calc.sample.crystals import phase
from ru_calc.sample.frames import closest
from ru_calc.sample.kind import HCP_VOLUME_A3, Case, Draw, Kind, rattled
from ru_calc.structures.build import HCP_A_A
from ru_calc.structures.planes import close_packed, oriented, plane_of, slipped

PLANES = {"0001": (0, 0, 1), "10-10": (1, 0, 0), "11-20": (1, 1, 0), "10-11": (1, 0, 1), "11-22": (1, 1, 2)}
# Cells along the normal that DFT affords and that keep a fault from its image by 7 Å and more.
CELLS = {"0001": 3, "10-10": 3, "11-20": 5, "10-11": 4, "11-22": 6}
# Where atoms ride over each other the crystal opens, in such steps, until they are this far apart.
RIDING_A, OPENING_A = 2.3, np.array([0, 0, 0.05])
SEPARATIONS_A = (0.2, 6.0)
NEXT = {"A": "BC", "B": "CA", "C": "AB"}


def cell_in_plane(name: str, cells: int) -> Atoms:
    """The hcp crystal so many cells high above one of `PLANES`."""
    return oriented(phase("hcp"), plane_of("hcp", PLANES[name])).repeat((1, 1, cells))


def partial_A(atoms: Atoms) -> np.ndarray:
    """(3,) shortest in-plane vector in Å from the top layer of a basal cell to the layer above, 1/3 <1-100>.

    It slips AB|AB to AB|CA, the intrinsic fault I2.
    """
    step = atoms.positions[0] + atoms.cell[2] - atoms.positions[-1]
    images = [step + i * atoms.cell[0] + j * atoms.cell[1] for i in range(-2, 3) for j in range(-2, 3)]
    return min(images, key=lambda v: round(float(np.hypot(v[0], v[1])), 6)) * (1, 1, 0)


def _slip(what: tuple[str, str], draw: Draw) -> Atoms:
    plane, direction = what
    atoms = cell_in_plane(plane, CELLS[plane])
    first, second = atoms.cell.array[:2]
    if direction == "any":
        t, u = draw.rng.random(2)
        slip, more_A = t * first + u * second, draw.between(0.0, 0.3)
    else:
        t, more_A = draw.along(0.0, 1.0) if direction == "partial" else draw.along(0.1, 0.5), 0.0
        slip = t * {"partial": partial_A(atoms), "first": first, "second": second, "both": first + second}[direction]
    faulted = _opened(slipped(atoms, slip), more_A)
    faulted.info |= {"t": round(float(t), 4), "site": direction}
    return faulted


def _opened(faulted: Atoms, more_A: float) -> Atoms:
    """The fault opened until no atoms are closer than `RIDING_A`, and by `more_A`."""
    while (pair := closest(faulted)) is not None and pair.distance_A < RIDING_A:
        faulted = slipped(faulted, OPENING_A)
    return slipped(faulted, np.array([0, 0, more_A]))


def _stacking(n_layers: int, draw: Draw) -> Atoms:
    """A random sequence without equal neighbours, also across the boundary of the cell."""
    while True:
        sequence = "A"
        while len(sequence) < n_layers:
            sequence += NEXT[sequence[-1]][int(draw.rng.integers(2))]
        if sequence[-1] != "A":
            break
    a_A = HCP_A_A * draw.between(0.98, 1.02)
    atoms = close_packed(sequence, a_A, HCP_VOLUME_A3 / (a_A**2 * math.sqrt(3) / 2) * draw.between(0.98, 1.02))
    atoms.info["seq"] = sequence
    return atoms


def _decohesion(what: tuple[str, int], draw: Draw) -> Atoms:
    plane, cells = what
    atoms = cell_in_plane(plane, cells)
    gap_A = SEPARATIONS_A[0] * (SEPARATIONS_A[1] / SEPARATIONS_A[0]) ** draw.along(0.0, 1.0)
    opened = rattled(slipped(atoms, np.array([0, 0, gap_A])), 0.03, draw)
    opened.info |= {"facet": plane, "d": round(gap_A, 4)}
    return opened


def _slips(name: str, plane: str, count: int, *directions: str) -> Kind:
    cases = tuple(Case(2 * CELLS[plane], (plane, direction)) for direction in directions)
    makes = f"slip across ({plane}) of hcp: {', '.join(directions)}"
    return Kind(name, makes, count, cases, _slip, scan=True)


FAULTS = (
    Kind("stacking", "random stacking of close-packed layers", 12, tuple(Case(n, n) for n in (5, 6, 7, 8, 9, 10)),
         _stacking),
    _slips("gsf_basal", "0001", 18, "partial", "first", "any"),
    _slips("gsf_prism", "10-10", 12, "first", "second", "any"),
    _slips("gsf_prism2", "11-20", 9, "first", "second", "any"),
    _slips("gsf_pyramidal", "10-11", 12, "first", "second", "both", "any"),
    _slips("gsf_pyramidal2", "11-22", 9, "first", "second", "any"),
    Kind("decohesion", "hcp opened across (0001), (10-10), (11-20) and (10-11) by 0.2–6 Å", 24,
         tuple(Case(2 * n, (plane, n)) for plane, n in (("0001", 3), ("10-10", 3), ("11-20", 3), ("10-11", 4))),
         _decohesion, scan=True),
)  # fmt: skip
