"""Two atoms that collide: the force must push them apart, and energy and force must belong together all the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk

from ru_calc.checks.invariance import Evaluate
from ru_calc.checks.tolerance import Figure
from ru_calc.predictor import Prediction

NEAREST_A, WIDEST_A, STEP_A = 0.5, 1.8, 0.0025
# A jump of the force by 0.3 eV/Å, or of its slope by some 400 eV/Å² (it is 10³ to 10⁵ there), leaves more.
WORK_BOUND_EV = 1e-4
Predict = Callable[[Sequence[Atoms]], Prediction]


def dimers(distances_A: np.ndarray) -> list[Atoms]:
    """Two atoms each, along a direction that is no axis."""
    direction = np.array([2.0, 1.0, -2.0]) / 3.0
    return [Atoms("Ru2", [[0.3, -0.2, 0.1], [0.3, -0.2, 0.1] + r * direction]) for r in distances_A]


def repulsion(predict: Predict, evaluate: Evaluate) -> Figure:
    """The weakest force in eV/Å that pushes two atoms apart: of a dimer, and of neighbours in a crystal."""
    distances = np.arange(NEAREST_A, WIDEST_A + 1e-9, 0.02)
    alone = Figure(float(_along(predict, distances)[1].min()), 0.0, "eV/Å", "repulsion", "dimer", at_least=True)
    found = []
    crystal = bulk("Ru", "hcp", a=2.726, c=4.289) * (3, 3, 2)
    bond = crystal.positions[1] - crystal.positions[0]
    bond /= np.linalg.norm(bond)
    for r in np.arange(NEAREST_A, WIDEST_A + 1e-9, 0.1):
        crystal.positions[1] = crystal.positions[0] + r * bond
        found.append(float(evaluate(crystal).forces[1] @ bond))
    inside = Figure(float(np.min(found)), 0.0, "eV/Å", "repulsion", "crystal", at_least=True)
    return min((alone, inside), key=lambda figure: figure.value if figure.value == figure.value else -np.inf)


def roughness(predict: Predict) -> Figure:
    """Energy differences of a dimer against the work of the force, by Simpson's rule over steps of 0.0025 Å."""
    distances = np.arange(2 * round((WIDEST_A - NEAREST_A) / STEP_A) + 1) * STEP_A / 2 + NEAREST_A
    energies, forces = _along(predict, distances)
    work = STEP_A / 6 * (forces[:-2:2] + 4 * forces[1:-1:2] + forces[2::2])
    errors = np.abs(np.diff(energies[::2]) + work)
    return Figure(float(errors.max()), WORK_BOUND_EV, "eV", "energy minus work", "dimer")


def _along(predict: Predict, distances_A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies in eV, and forces in eV/Å that push two atoms apart."""
    atoms = dimers(distances_A)
    found = predict(atoms)
    directions = np.array([one.positions[1] - one.positions[0] for one in atoms]) / distances_A[:, None]
    return found.energy, (found.forces[1::2] * directions).sum(axis=1)
