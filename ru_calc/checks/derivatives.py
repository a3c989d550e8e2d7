"""Slopes and curvatures of the energy by finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms

from ru_calc.checks.invariance import Evaluate
from ru_calc.checks.tolerance import ORDINARY, TOLERANCE, Figure
from ru_calc.units import VOIGT_COLUMNS, VOIGT_ROWS

# The steps below are small as some families have kinks in the third derivative (knots of their splines): the error is
# then of second order in the step.  Rounding leaves some 1e-8 eV/Å.
DIRECTIONS = 3  # of the displacements of all atoms
BOUND_EV_PER_A = TOLERANCE["float64"]["difference"]
OUTSIDE_A, OUTER_A, INNER_A = -1e-9, 1e-3, 1e-2  # from the cutoff inwards
NOISE_EV_PER_A2 = 1e-8  # of a curvature from forces that are rounded to some 1e-13 eV/Å and 1e-4 Å apart


def slope(function: Callable[[float], float], step: float) -> float:
    """Central differences of fourth order."""
    return (8 * (function(step) - function(-step)) - (function(2 * step) - function(-2 * step))) / (12 * step)


def force_error(evaluate: Evaluate, atoms: Atoms, step_A: float = 1e-4) -> Figure:
    """Forces are −∂E/∂r: all atoms are moved along random directions, by some ± the step in each coordinate.

    An error of one component of one force makes at least half of it in the figure.
    """
    forces, rng, errors = evaluate(atoms).forces, np.random.default_rng(6), []
    for _ in range(DIRECTIONS):
        direction = rng.choice([-1.0, 1.0], size=forces.shape) * rng.uniform(0.5, 1.5, size=forces.shape)

        def energy(by_A: float, direction: np.ndarray = direction) -> float:
            moved = atoms.copy()
            moved.positions += by_A * direction
            return float(evaluate(moved).energy[0])

        errors.append(abs(float((forces * direction).sum()) + slope(energy, step_A)))
    size = max(1.0, np.abs(forces).max() / ORDINARY["forces"])
    return Figure(float(np.max(errors)), size * BOUND_EV_PER_A, "eV/Å", "forces")


def stress_error(evaluate: Evaluate, atoms: Atoms, step: float = 1e-4) -> Figure:
    """Stress is (1/V) ∂E/∂ε, in the order xx yy zz yz xz xy."""
    stress, errors = evaluate(atoms).stress[0], []
    for k, (a, b) in enumerate(zip(VOIGT_ROWS, VOIGT_COLUMNS, strict=True)):
        unit = np.zeros((3, 3))
        unit[a, b] += 0.5
        unit[b, a] += 0.5

        def energy(by: float, unit: np.ndarray = unit) -> float:
            moved, strain = atoms.copy(), np.eye(3) + by * unit
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=False)
            moved.positions = atoms.positions @ strain
            return float(evaluate(moved).energy[0])

        errors.append(abs(stress[k] - slope(energy, step) / atoms.get_volume()))
    return Figure(float(np.max(errors)), 0.01 * BOUND_EV_PER_A, "eV/Å³", "stress")


def cutoff_curvature(evaluate: Evaluate, cutoff_A: float, near: Atoms) -> Figure:
    """Energy, slope and curvature of an atom that arrives at the first of `near` along x start from zero at the cutoff.

    With E ∝ (r_c − r)³ or a higher power, the curvature falls at least tenfold when the distance to the cutoff does.
    A force beyond the cutoff makes the figure infinite; no curvature within it makes it NaN.
    """

    def force(inside_A: float) -> float:
        guest = near.positions[0] - [cutoff_A - inside_A, 0.0, 0.0]
        return float(evaluate(near + Atoms("Ru", [guest])).forces[-1, 0])

    def curvature(inside_A: float) -> float:
        step = inside_A / 20
        return abs(force(inside_A + step) - force(inside_A - step)) / (2 * step)

    outer, inner = curvature(OUTER_A), curvature(INNER_A)
    if force(OUTSIDE_A) != 0.0:
        outer = np.inf
    elif inner <= NOISE_EV_PER_A2:  # there is nothing to be seen
        outer = np.nan
    return Figure(outer, 0.15 * inner + NOISE_EV_PER_A2, "eV/Å²", "curvature")
