"""What must not change: each function evaluates atoms in two ways, which must agree.

They return what was found and what was expected.  An `Evaluate` turns atoms into a `Prediction`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from ru_calc.predictor import Prediction
from ru_calc.units import from_voigt, to_voigt

Evaluate = Callable[[Atoms], Prediction]
Two = tuple[Prediction, Prediction]

FAR_A = 2.0**17  # a power of two keeps the digits of positions that are rounded to 2⁻³⁰ Å
NEAR_A = (0.7, -1.3, 2.9)


def supercell(evaluate: Evaluate, atoms: Atoms, repeat: tuple[int, ...] = (2, 1, 3)) -> Two:
    """A supercell has the same energies, forces and stress."""
    cells = int(np.prod(repeat))
    one = evaluate(atoms)
    tiled = Prediction(cells * one.energy, np.tile(one.energies, cells), np.tile(one.forces, (cells, 1)), one.stress)
    return evaluate(atoms * repeat), tiled


def fragments(evaluate: Evaluate, one: Atoms, other: Atoms, gap_A: float = 30.0) -> Two:
    """Two fragments that do not touch have the energies and forces of each alone."""
    moved = other.copy()
    moved.positions += one.positions.max(axis=0) - other.positions.min(axis=0) + gap_A
    both, a, b = evaluate(one + moved), evaluate(one), evaluate(other)
    energies, forces = (np.concatenate([getattr(part, name) for part in (a, b)]) for name in ("energies", "forces"))
    return (
        Prediction(both.energy, both.energies, both.forces),
        Prediction(a.energy + b.energy, energies, forces),
    )


def rotation(evaluate: Evaluate, atoms: Atoms) -> Two:
    """Energies do not change when everything is turned and mirrored; forces and stress turn along."""
    turn = -Rotation.from_rotvec([0.7, -0.4, 1.1]).as_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn)
    turned.positions = atoms.positions @ turn
    before, after = evaluate(atoms), evaluate(turned)
    stress = None if before.stress is None else to_voigt(turn.T @ from_voigt(before.stress) @ turn)
    return after, Prediction(before.energy, before.energies, before.forces @ turn, stress)


def permutation(evaluate: Evaluate, atoms: Atoms) -> Two:
    """The order of the atoms does not matter."""
    order = np.random.default_rng(3).permutation(len(atoms))
    before, after = evaluate(atoms), evaluate(atoms[order])
    return after, Prediction(before.energy, before.energies[order], before.forces[order], before.stress)


def translation(evaluate: Evaluate, atoms: Atoms, by_A: tuple[float, float, float] = NEAR_A) -> Two:
    """Atoms may stand elsewhere, far from the origin too."""
    here = atoms.copy()
    here.positions = np.round(here.positions * 2.0**30) / 2.0**30
    there = here.copy()
    there.positions += by_A
    return evaluate(there), evaluate(here)


def far_away(evaluate: Evaluate, atoms: Atoms) -> Two:
    """Atoms may stand 10⁵ Å from the origin."""
    return translation(evaluate, atoms, (FAR_A, -FAR_A, FAR_A))


def unwrapped(evaluate: Evaluate, atoms: Atoms) -> Two:
    """Atoms may jump by lattice vectors along periodic directions."""
    jumps = np.random.default_rng(4).integers(-3, 4, size=(len(atoms), 3)) * atoms.pbc
    moved = atoms.copy()
    moved.positions += jumps @ atoms.cell.array
    return evaluate(moved), evaluate(atoms)
