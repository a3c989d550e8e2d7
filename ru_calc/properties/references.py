"""Reference values, and the accuracy that a model must reach at its level of theory."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

LEVELS = ("teacher", "GPAW", "PBE", "experiment")
# What the level of theory of a data set must contain for its models to be judged by the values of a level.
STATED_AS = {
    "teacher": (r"\bnequix-omat-1\b",),
    "GPAW": (r"\bGPAW\b", r"(?<![\w.])PBE\b", r"\b400 eV\b"),
}


@dataclass(frozen=True)
class ReferenceValue:
    """A published or computed value of a property.

    Attributes:
        symbol: of the property.
        level: `teacher` (the model that made the distilled labels), `GPAW` (our own DFT), `PBE` (of other codes) or
            `experiment`.
        value, unit: the number and its unit.
        kind: computed, measured, derived or estimate.
        source: where it was published.
        confidence: high, medium or low.
        how: read, recalled or derived.
        note: conditions and doubts.
    """

    symbol: str
    level: str
    value: float
    unit: str
    kind: str
    source: str
    confidence: str
    how: str
    note: str = ""


@dataclass(frozen=True)
class Target:
    """Accuracy that a model must reach; one of the four is set.

    Attributes:
        relative: largest relative deviation from the reference value.
        absolute: largest deviation from it, in the unit of the property.
        least, most: bounds on the value itself.
    """

    relative: float | None = None
    absolute: float | None = None
    least: float | None = None
    most: float | None = None

    def deviation(self, value: float, expected: float | None) -> float | None:
        """Deviation in units of the tolerance (1 is just allowed); None without a reference value."""
        if self.least is not None:
            return 0.0 if value > self.least else float("inf")
        if self.most is not None:
            return 0.0 if value < self.most else float("inf")
        if expected is None:
            return None
        allowed = self.absolute if self.absolute is not None else (self.relative or 0.0) * abs(expected)
        return abs(value - expected) / allowed

    def __str__(self) -> str:
        if self.least is not None:
            return f"> {self.least:g}"
        if self.most is not None:
            return f"< {self.most:g}"
        return f"±{self.absolute:g}" if self.absolute is not None else f"±{100 * (self.relative or 0):g} %"


TARGETS = {
    "teacher": {
        "a": Target(relative=0.002),
        "c": Target(relative=0.002),
        "C11": Target(relative=0.05),
        "C33": Target(relative=0.05),
        "C12": Target(relative=0.10),
        "C13": Target(relative=0.10),
        "C44": Target(relative=0.10),
        "E2g": Target(relative=0.04),
        "B1g": Target(relative=0.07),
        "fcc-hcp": Target(absolute=6.0),
        "bcc-hcp": Target(absolute=25.0),
        "hcp margin": Target(least=0.0),
        "E_vac": Target(absolute=0.1),
        "gamma_0001": Target(relative=0.03),
        "d12": Target(absolute=1.0),
        "nu_min": Target(least=-0.05),
    },
    "GPAW": {
        "a": Target(relative=0.003),
        "c": Target(relative=0.003),
        "C11": Target(relative=0.05),
        "C33": Target(relative=0.05),
        "C12": Target(relative=0.08),
        "C13": Target(relative=0.08),
        "C44": Target(relative=0.05),
        "E2g": Target(relative=0.03),
        "B1g": Target(relative=0.03),
        "fcc-hcp": Target(absolute=8.0),
        "bcc-hcp": Target(absolute=25.0),
        "hcp margin": Target(least=0.0),
        "E_vac_unrelaxed": Target(absolute=0.1),
        "gamma_0001": Target(relative=0.06),
        "d12": Target(absolute=1.0),
        "D_barrier": Target(most=0.1),
        "nu_min": Target(least=-0.05),
    },
}


def level_of(level_of_theory: str) -> str | None:
    """The level whose values and targets are for models of a level of theory, as data sets and models state it.

    None if there is none: such a model is only shown beside reference values.
    """
    found = (name for name, marks in STATED_AS.items() if all(re.search(mark, level_of_theory) for mark in marks))
    return next(found, None)


@cache
def reference_values() -> tuple[ReferenceValue, ...]:
    """All values of the table `ru_calc/properties/reference_values.json`."""
    text = files("ru_calc.properties").joinpath("reference_values.json").read_text(encoding="utf-8")
    return tuple(ReferenceValue(**row) for row in json.loads(text))


def reference(symbol: str, level: str) -> ReferenceValue | None:
    """The reference value of a property at a level, or None."""
    return next((row for row in reference_values() if (row.symbol, row.level) == (symbol, level)), None)


def reference_value(symbol: str, level: str = "experiment") -> float:
    """The number of a reference value that is known to exist.

    Raises:
        KeyError: there is none.
    """
    found = reference(symbol, level)
    if found is None:
        raise KeyError(f"there is no {level} value of {symbol}")
    return found.value
