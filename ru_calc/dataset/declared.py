"""Units that a file states for its columns: honoured, or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ru_calc.dataset.columns import DECLARED, label_of, split_family
from ru_calc.dataset.label_units import DIMENSIONS, PLAIN, Unit, unit_of
from ru_calc.dataset.reading import Reading
from ru_calc.errors import DataError, SettingsError

LENGTHS = re.compile(r"^(length|distance|pos(itions?)?|coord(inate)?s?|cells?|lattice|box|edges|r)$", re.I)
PLAIN_STYLES = {"metal", "ase"}


class UnitsOfFrame:
    """The units of a frame's columns, from what it states and what is given.

    Raises:
        DataError: a unit is unknown, or contradicts the one that is given.
    """

    def __init__(self, info: Mapping[str, Any], reading: Reading, where: str = "") -> None:
        self.reading, self.where = reading, where
        self.declared = {} if not info else self._declared(info)

    def of(self, quantity: str, column: str = "") -> Unit | None:
        """The unit of a quantity, for labels of a column; None if nobody states one."""
        given = getattr(self.reading, f"{quantity}_unit")
        stated = self.declared.get(column.lower(), self.declared.get(quantity))
        try:
            found = None if stated is None else unit_of(quantity, stated)
        except SettingsError as problem:
            raise DataError(f"{self.where}it states a unit that is not known: {problem}") from None
        if given is None:
            return found
        asked = unit_of(quantity, given)
        if found is not None and abs(found.factor / asked.factor - 1) > 1e-6:
            raise DataError(
                f"{self.where}it states that its {quantity} is in {stated}, but --{quantity}-unit is {given}; "
                f"leave out --{quantity}-unit, or correct the file"
            )
        return asked

    def factors(self, labels: Mapping[str, str]) -> dict[str, float]:
        """Factors to eV and Å of these labels, given as label: column, and of length.

        Raises:
            DataError: see the class; or energy or length are in other units, and a label's unit is not stated.
        """
        found = {label: self.of(label, column) for label, column in labels.items()}
        length, energy = self.of("length"), self.of("energy", labels.get("energy", ""))
        other = next((unit for unit in (energy, length) if unit and abs(unit.factor - 1) > 1e-9), None)
        for label, unit in found.items():
            if unit is None and other is not None:
                raise DataError(
                    f"{self.where}one unit is {other.text}, but that of its {label} ({labels[label]}) is not stated; "
                    f"give --{label}-unit, e.g. {PLAIN[label]}"
                )
        factors = {label: unit.factor if unit else 1.0 for label, unit in found.items()}
        return factors | {"length": length.factor if length else 1.0}

    def _declared(self, info: Mapping[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in info.items():
            match = DECLARED.match(name)
            if match and match[1]:
                found |= _declaration(match[1], value)
            elif match and isinstance(value, Mapping):
                for stem, unit in value.items():
                    found |= _declaration(str(stem), unit)
            elif match:
                self._refuse_other_styles(name, str(value))
        return found

    def _refuse_other_styles(self, name: str, text: str) -> None:
        """A single statement of all units is taken if it says eV and Å."""
        given = any(getattr(self.reading, f"{quantity}_unit") for quantity in DIMENSIONS)
        parts = [part.strip() for part in re.split(r"[,;]", text) if part.strip()]
        if given or all(part.lower() in PLAIN_STYLES or _is_plain(part) for part in parts):
            return
        raise DataError(
            f"{self.where}it states {name}={text}, which is not eV and Å; give the units of its labels, "
            "--energy-unit, --forces-unit, --length-unit and so on"
        )


def _declaration(stem: str, value: Any) -> dict[str, str]:
    """What the statement of a unit is about: a quantity, or one column of a family."""
    text = value.decode() if isinstance(value, bytes) else str(value)
    if LENGTHS.match(stem):
        return {"length": text}
    known = label_of(stem)
    if known:
        return {stem.lower() if split_family(stem)[0] else known[0]: text}
    return {}


def _is_plain(text: str) -> bool:
    for quantity in DIMENSIONS:
        try:
            if abs(unit_of(quantity, text).factor - 1) < 1e-9:
                return True
        except SettingsError:
            continue
    return False
