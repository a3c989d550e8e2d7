"""The atom, dimers, trimers and clusters, to be labelled with spin."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ru_calc.sample.kind import COMPRESSED_A, Case, Draw, Kind, rattled
from ru_calc.sample.packings import pushed_apart

DIMER_A, TRIMER_A = (1.7, 5.0), (2.0, 3.4)
ANGLES_DEG = (60, 90, 120, 180)
BOND_A, CONTACT_A = 2.45, 2.9
SHAPES = {
    4: [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)],
    6: [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)],
    8: [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)],
}


def boxed(positions_A: np.ndarray, vacuum_A: float) -> Atoms:
    """Atoms in a rectangular cell that keeps images `vacuum_A` apart along each side, periodic."""
    atoms = Atoms(f"Ru{len(positions_A)}", positions=positions_A, pbc=True)
    atoms.center(vacuum=vacuum_A / 2)
    return atoms


def _atom(_: None, draw: Draw) -> Atoms:
    """In a cell of unequal sides, whose symmetry does not force degenerate states; a larger one each time."""
    atoms = boxed(np.zeros((1, 3)), draw.vacuum_A + draw.turn)
    atoms.set_cell(atoms.cell.array * np.array([1.0, 1.03, 1.07]))
    atoms.center()
    return atoms


def _dimer(_: None, draw: Draw) -> Atoms:
    d = draw.along(*DIMER_A)
    atoms = boxed(np.array([(0, 0, 0), (d, 0, 0)]), draw.vacuum_A)
    atoms.info["d"] = round(d, 4)
    return atoms


def _trimer(angle_deg: int, draw: Draw) -> Atoms:
    d, angle = draw.along(*TRIMER_A), np.radians(angle_deg)
    atoms = boxed(d * np.array([(1, 0, 0), (0, 0, 0), (np.cos(angle), np.sin(angle), 0)]), draw.vacuum_A)
    atoms.info |= {"d": round(d, 4), "t": angle_deg}
    return atoms


def _cluster(n_atoms: int, draw: Draw) -> Atoms:
    """Every other one a regular shape of that many atoms, if there is one; otherwise grown atom by atom."""
    if n_atoms in SHAPES and draw.turn % 2 == 0:
        corners = np.array(SHAPES[n_atoms], dtype=float)
        positions = corners * BOND_A / np.linalg.norm(corners[0] - corners[1:], axis=1).min()
    else:
        positions = _grown(n_atoms, draw)
    positions *= draw.between(0.92, 1.1)
    atoms = rattled(boxed(positions, draw.vacuum_A), draw.of((0.03, 0.1, 0.2)), draw)
    atoms.center(vacuum=draw.vacuum_A / 2)
    return atoms


def _grown(n_atoms: int, draw: Draw) -> np.ndarray:
    """(n_atoms, 3) a cluster to which each atom was added where it touches many others."""
    cluster = Atoms("Ru", positions=[(0, 0, 0)])
    while len(cluster) < n_atoms:
        directions = draw.rng.normal(size=(20, 3))
        places = cluster.positions[draw.rng.integers(len(cluster), size=20)]
        places = places + BOND_A * directions / np.linalg.norm(directions, axis=1)[:, None]
        distances = np.linalg.norm(places[:, None] - cluster.positions, axis=2)
        contacts = (distances < CONTACT_A).sum(axis=1) - 10 * (distances < 0.8 * BOND_A).sum(axis=1)
        cluster += Atoms("Ru", positions=[places[int(contacts.argmax())]])
    return pushed_apart(cluster, 0.97 * BOND_A).positions


MOLECULES = (
    Kind("isolated_atom", "the atom; from the second on in ever larger cells", 1, (Case(1),), _atom, "cluster"),
    Kind("dimer_pol", "dimer, 1.7–5 Å", 12, (Case(2),), _dimer, "cluster", COMPRESSED_A, scan=True),
    Kind("trimer_pol", "trimer, 2.0–3.4 Å, 60–180°", 16, tuple(Case(3, a) for a in ANGLES_DEG), _trimer, "cluster",
         scan=True),
    Kind("cluster_pol", "compact clusters, rattled", 16, tuple(Case(n, n) for n in (4, 5, 6, 7, 8, 10)), _cluster,
         "cluster"),
)  # fmt: skip
