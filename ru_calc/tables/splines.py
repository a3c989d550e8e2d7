"""Uniform quintic B-splines: how functions of the distance are tabulated, and how well.

A table of n intervals over 0 … cutoff has n + 5 rows of coefficients; on interval i the value is Σ_k b_k(t) C_(i+k),
k = 0 … 5, with the six B-splines that are not zero there (C. de Boor, A Practical Guide to Splines, 1978).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.interpolate import BSpline, make_interp_spline

from ru_calc.errors import SettingsError

DEGREE = 5
COARSEST, FINEST = 64, 4096
MARGIN = 24  # intervals beyond both ends, so that the ends of the spline lie outside the table

RadialFunction = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class RadialGrid:
    """Uniform quintic B-splines over 0 … cutoff, under the envelope.

    Attributes:
        cutoff_A, switch_A: range, and the width of its last part over which the envelope falls to zero.
        intervals: of the grid; a table has `rows` rows of coefficients.
    """

    cutoff_A: float
    switch_A: float
    intervals: int

    @property
    def rows(self) -> int:
        """Number of coefficients of one function."""
        return self.intervals + DEGREE


def spline_nodes(cutoff_A: float, intervals: int) -> np.ndarray:
    """Distances in Å at which a function is interpolated: the knots, and `MARGIN` more beyond both ends."""
    return cutoff_A / intervals * np.arange(-MARGIN, intervals + MARGIN + 1)


@cache
def interpolation_matrix(intervals: int) -> np.ndarray:
    """(intervals + 5, nodes) that makes coefficients of values at `spline_nodes`; the step does not matter."""
    nodes = spline_nodes(float(intervals), intervals)
    spline = make_interp_spline(nodes, np.eye(len(nodes)), k=DEGREE)
    # Away from the ends the knots are the nodes, and coefficient i belongs to the knots i … i + 6.
    first = int(np.argmin(np.abs(spline.t))) - DEGREE
    return spline.c[first : first + intervals + DEGREE]


def spline_coefficients(function: RadialFunction, cutoff_A: float, intervals: int) -> np.ndarray:
    """(intervals + 5, width) coefficients of the spline that equals `function` at the knots of 0 … cutoff.

    Args:
        function: (p, width) values from (p,) distances in Å; analytic, also somewhat below 0 and beyond the cutoff.
    """
    return interpolation_matrix(intervals) @ function(spline_nodes(cutoff_A, intervals))


def spline_values(
    coefficients: np.ndarray, cutoff_A: float, distances_A: np.ndarray, derivative: int = 0
) -> np.ndarray:
    """(p, width) values, or derivatives by the distance, of a table; by SciPy, to check the evaluation elsewhere."""
    intervals = len(coefficients) - DEGREE
    knots = cutoff_A / intervals * np.arange(-DEGREE, intervals + DEGREE + 1)
    return BSpline(knots, coefficients, DEGREE)(distances_A, nu=derivative)


def spline_error(function: RadialFunction, coefficients: np.ndarray, cutoff_A: float, samples: int = 4) -> np.ndarray:
    """(2,) largest error of value and slope between the knots, each over the largest value and slope.

    The exact slope is Im f(r + ih) / h (J. N. Lyness and C. B. Moler, SIAM J. Numer. Anal. 4, 202 (1967)).
    """
    intervals, tiny = len(coefficients) - DEGREE, 1e-30
    fractions = (np.arange(samples) + 0.5) / samples
    r = cutoff_A / intervals * (np.arange(intervals)[:, None] + fractions).ravel()
    exact = function(r + 1j * tiny)
    errors = []
    for derivative, truth in enumerate((exact.real, exact.imag / tiny)):
        found = spline_values(coefficients, cutoff_A, r, derivative)
        errors.append(np.abs(found - truth).max() / max(np.abs(truth).max(), 1e-300))
    return np.array(errors)


def refine(functions: Sequence[RadialFunction], cutoff_A: float, bound: tuple[float, float]) -> int:
    """The fewest intervals, a power of two, with which every `spline_error` is within `bound`, for value and slope.

    Raises:
        SettingsError: not even the finest table is within it.
    """
    intervals = COARSEST
    while intervals <= FINEST:
        errors = [spline_error(f, spline_coefficients(f, cutoff_A, intervals), cutoff_A) for f in functions]
        if all((error <= bound).all() for error in errors):
            return intervals
        intervals *= 2
    raise SettingsError(
        f"the radial functions of this model need more than {FINEST} intervals for errors below {bound[0]:g} (value) "
        f"and {bound[1]:g} (slope); use a wider bound, or the reference path"
    )
