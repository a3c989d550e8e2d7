"""Random structures by kind, and random changes of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.build import bulk

Draw = np.random.Generator
FLATTEST_A = 0.7  # height of a cell: the sum over images is long enough


def heights_A(cell: np.ndarray) -> np.ndarray:
    return 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)


def lattice(draw: Draw, least_A: float = 2.2, most_A: float = 7.0) -> np.ndarray:
    """A cell of random lengths and angles."""
    while True:
        rows = draw.normal(size=(3, 3))
        cell = rows / np.linalg.norm(rows, axis=1)[:, None] * draw.uniform(least_A, most_A, size=(3, 1))
        if heights_A(cell).min() > FLATTEST_A:
            return cell


def filled(draw: Draw, cell: np.ndarray, volume_A3: float = 14.0, most: int = 200) -> Atoms:
    """Atoms at random in a cell, no two of them closer than 1.3 Å as far as that is easy."""
    count = int(np.clip(abs(np.linalg.det(cell)) / volume_A3, 1, most))
    atoms = Atoms(cell=cell, pbc=True)
    for _ in range(count):
        for _ in range(20):
            trial = atoms + Atoms("Ru", [draw.random(3) @ cell])
            if len(atoms) == 0 or trial.get_distances(-1, range(len(atoms)), mic=True).min() > 1.3:
                break
        atoms = trial
    atoms.set_cell(cell)
    atoms.pbc = True
    return atoms


def crystal(draw: Draw, most: int = 60) -> Atoms:
    """A strained, rattled crystal with vacancies."""
    name = draw.choice(["hcp", "fcc", "bcc", "sc"])
    sizes = {"hcp": {"a": 2.72, "c": 4.29}, "fcc": {"a": 3.82}, "bcc": {"a": 3.06}, "sc": {"a": 2.53}}[name]
    atoms = bulk("Ru", name, **sizes)
    atoms = atoms * tuple(int(n) for n in draw.integers(1, 4, size=3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + draw.normal(scale=0.05, size=(3, 3))), scale_atoms=True)
    atoms.positions += draw.normal(scale=draw.choice([0.0, 0.1, 0.3]), size=(len(atoms), 3))
    return atoms[draw.permutation(len(atoms))[: max(1, min(most, len(atoms) - draw.integers(0, 3)))]]


def opened(draw: Draw, atoms: Atoms, free: int) -> Atoms:
    """Not periodic along so many directions, whose vectors are zero, long or anything."""
    axes = draw.permutation(3)[:free]
    atoms.pbc[axes] = False
    for axis in axes:
        cell = atoms.cell.array
        cell[axis] = draw.choice([0.0, 1.0, 30.0]) * draw.normal(size=3)
        atoms.set_cell(cell)
    return atoms


def skewed(draw: Draw) -> Atoms:
    atoms = filled(draw, lattice(draw))
    for _ in range(draw.integers(1, 4)):
        one, other = draw.permutation(3)[:2]
        new = atoms.cell.array
        new[one] += draw.integers(-3, 4) * new[other]
        atoms.set_cell(new)
    return atoms


def gas_and_crystal(draw: Draw) -> Atoms:
    atoms = opened(draw, crystal(draw, 30), int(draw.integers(1, 4)))
    far = draw.normal(scale=10.0 ** draw.uniform(1, 4), size=(draw.integers(1, 12), 3))
    return atoms + Atoms(f"Ru{len(far)}", far)


def overlapping(draw: Draw) -> Atoms:
    atoms = crystal(draw, 20)
    place, by_A = draw.integers(len(atoms)), draw.choice([0.0, 1e-12, 1e-3, 0.05, 0.2, 0.5, 0.9])
    direction = draw.normal(size=3)
    return atoms + Atoms("Ru", [atoms.positions[place] + by_A * direction / np.linalg.norm(direction)])


def voids(draw: Draw) -> Atoms:
    """Clusters in a huge cell."""
    size = 10.0 ** draw.uniform(1.5, 4)
    parts = [crystal(draw, 8) for _ in range(draw.integers(1, 4))]
    atoms = Atoms(cell=lattice(draw, 0.5 * size, size), pbc=draw.random(3) < 0.7)
    for part in parts:
        atoms += Atoms(f"Ru{len(part)}", part.positions + draw.random(3) @ atoms.cell.array)
    return atoms


def far_away(draw: Draw) -> Atoms:
    atoms = opened(draw, crystal(draw, 30), int(draw.integers(0, 4)))
    atoms.positions += draw.normal(scale=10.0 ** draw.uniform(2, 6), size=3)
    return atoms


def images(draw: Draw) -> Atoms:
    """Each atom in some image of the cell."""
    atoms = opened(draw, crystal(draw, 40), int(draw.integers(0, 2)))
    jumps = draw.integers(-20, 21, size=(len(atoms), 3)) * atoms.pbc
    atoms.positions += jumps @ atoms.cell.array
    return atoms


KINDS: dict[str, Callable[[Draw], Atoms]] = {
    "crystal": crystal,
    "random lattice": lambda draw: filled(draw, lattice(draw)),
    "small cell": lambda draw: filled(draw, lattice(draw, 1.8, 3.5)),
    "skewed cell": skewed,
    "slab": lambda draw: opened(draw, crystal(draw), 1),
    "wire": lambda draw: opened(draw, crystal(draw), 2),
    "cluster": lambda draw: opened(draw, crystal(draw), 3),
    "liquid": lambda draw: filled(draw, lattice(draw, 6.0, 14.0), draw.uniform(10, 25)),
    "gas and crystal": gas_and_crystal,
    "overlapping": overlapping,
    "voids": voids,
    "far away": far_away,
    "images": images,
}


# Changes, each from one set of atoms to the next


def moved(draw: Draw, atoms: Atoms) -> None:
    atoms.positions += draw.normal(scale=draw.choice([0.0, 1e-3, 0.03, 0.3]), size=(len(atoms), 3))


def strained(draw: Draw, atoms: Atoms) -> None:
    strain = np.eye(3) + draw.normal(scale=draw.choice([1e-4, 0.01, 0.05]), size=(3, 3))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=False)
    if draw.random() < 0.7:
        atoms.positions = atoms.positions @ strain


def wrapped(draw: Draw, atoms: Atoms) -> None:
    if atoms.cell.rank == 3:
        atoms.wrap()


def jumped(draw: Draw, atoms: Atoms) -> None:
    atoms.positions += draw.integers(-3, 4, size=(len(atoms), 3)) * atoms.pbc @ atoms.cell.array


def grown(draw: Draw, atoms: Atoms) -> None:
    place = atoms.positions[draw.integers(len(atoms))] + draw.normal(scale=2.5, size=3)
    atoms.extend(Atoms("Ru", [place]))


def shrunk(draw: Draw, atoms: Atoms) -> None:
    if len(atoms) > 1:
        del atoms[int(draw.integers(len(atoms)))]


def cut(draw: Draw, atoms: Atoms) -> None:
    atoms.pbc[draw.integers(3)] = False


def mixed(draw: Draw, atoms: Atoms) -> None:
    """The same atoms in another order."""
    atoms.positions = atoms.positions[draw.permutation(len(atoms))]


CHANGES = (moved, moved, strained, wrapped, jumped, grown, shrunk, cut, mixed)
