"""How far two evaluations of the same atoms may differ: the one table of tolerances, and a figure with its bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ru_calc.predictor import Prediction

# eV per atom, eV/Å, eV/Å³.
# float64: positions 10⁵ Å away are rounded to 1.5e-11 Å; forces are some eV/Å and curvatures some 10 eV/Å².
# float32: terms of some 10 eV with 7 digits, in sums of a hundred.  A network loses some 2e-6 eV per atom.
# tables: their own errors, see `engine.BOUNDS`, added to the rounding that network and engine share.
# difference: of forces from energies 10⁻³ Å apart; a hundredth of it for stress, as cells have some 100 Å³.
TOLERANCE = {
    "float64": {"energy": 1e-10, "forces": 1e-9, "stress": 1e-11, "difference": 1e-6},
    "float32": {"energy": 2e-5, "forces": 2e-4, "stress": 2e-5, "difference": 1e-2},
    "float64 tables": {"energy": 1e-9, "forces": 1e-7, "stress": 1e-8},
    "float32 tables": {"energy": 6e-6, "forces": 2e-5, "stress": 2e-6},
}
UNITS = {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/Å³"}
# Of ruthenium near equilibrium; where values are larger, so is what rounding costs.
ORDINARY = {"energy": 5.0, "forces": 3.0, "stress": 1.0}


@dataclass(frozen=True)
class Figure:
    """A measured number, the bound that it must not exceed (or, where `at_least`, reach), and what it was measured on.

    Attributes:
        value, bound: in `unit`.
        of: what it is the error of, such as `forces`, or what it is.
        where: the structure.
    """

    value: float
    bound: float
    unit: str
    of: str = ""
    where: str = ""
    at_least: bool = False

    @property
    def passed(self) -> bool:
        """False also for NaN."""
        return bool(self.value >= self.bound if self.at_least else self.value <= self.bound)

    @property
    def strain(self) -> float:
        """How much of the bound is used up: above 1 where it is broken, infinite for NaN."""
        if self.value != self.value:
            return np.inf
        if self.at_least:
            return np.inf if self.value <= 0 else self.bound / self.value
        return self.value / self.bound

    def at(self, where: str) -> Figure:
        """The same, measured on a structure of this name."""
        return replace(self, where=where)


def worst(figures: Iterable[Figure]) -> Figure:
    """The one that comes closest to its bound, or breaks it furthest; there must be one."""
    return max(figures, key=lambda figure: figure.strain)


def deviations(found: Prediction, expected: Prediction, row: str, n_atoms: int | None = None) -> Iterator[Figure]:
    """How far energies, forces and stress differ, with bounds from a row of `TOLERANCE`.

    Args:
        n_atoms: over which the sums of energy are shared; those of `energies` if None.

    Raises:
        ValueError: one of the two lacks what the other has.
    """
    atoms = max(1, len(expected.energies) if n_atoms is None else n_atoms)
    pairs: tuple[tuple[str, Any, Any], ...] = (
        ("energy", found.energies, expected.energies),
        ("energy", _per_atom(found, atoms), _per_atom(expected, atoms)),
        ("forces", found.forces, expected.forces),
        ("stress", found.stress, expected.stress),
    )
    for quantity, one, other in pairs:
        if (one is None) != (other is None):
            raise ValueError(f"{quantity}: one of the two evaluations has none")
        if one is not None:
            yield _deviation(quantity, np.asarray(one), np.asarray(other), TOLERANCE[row][quantity])


def _per_atom(prediction: Prediction, atoms: int) -> Any:
    return None if prediction.energy is None else prediction.energy / atoms


def _deviation(quantity: str, one: np.ndarray, other: np.ndarray, tolerance: float) -> Figure:
    """Where both are NaN, as the stress of a cell without a volume, they agree."""
    if one.shape != other.shape:
        raise ValueError(f"{quantity}: shapes are {one.shape} and {other.shape}")
    neither = np.isnan(one) & np.isnan(other)
    error = np.abs(np.where(neither, 0.0, one - other)).max(initial=0.0)
    size = np.abs(other[np.isfinite(other)]).max(initial=ORDINARY[quantity]) / ORDINARY[quantity]
    return Figure(float(error), size * tolerance, UNITS[quantity], quantity)
