"""Properties beside the values of the labels, our own DFT, PBE and experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ru_calc.properties.everything import Property
from ru_calc.properties.references import LEVELS, TARGETS, ReferenceValue, Target, reference
from ru_calc.reports.tables import Table, number

SHOWN_AS = {"teacher": "labels"}  # the labels are the values of the teacher
JUDGES = {"teacher": "values of the labels", "GPAW": "values of our own DFT"}
# Differences in % mean nothing for numbers near zero or with an arbitrary zero.
PLAIN_DIFFERENCE = {"%", "eV", "eV/atom"}
WORST_DEVIATION = 5.0


@dataclass(frozen=True)
class Row:
    """A property, its reference values and its target.

    Attributes:
        property: as measured.
        references: level → value, None where there is none.
        judged_by: the level whose value the property should have; None if it is not judged.
    """

    property: Property
    references: dict[str, ReferenceValue | None]
    judged_by: str | None

    @cached_property
    def target(self) -> Target | None:
        """None where there is none."""
        return TARGETS[self.judged_by].get(self.property.symbol) if self.judged_by else None

    @cached_property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        deviation = self.deviation()
        return None if deviation is None else deviation <= 1 and self.property.value is not None

    def difference(self, level: str) -> float | None:
        """Deviation from a level's value in %; of a property in %, eV or eV/atom, in that unit."""
        found, value = self.references[level], self.property.value
        if found is None or value is None:
            return None
        if self.property.unit in PLAIN_DIFFERENCE:
            return value - found.value
        return 100 * (value - found.value) / abs(found.value)

    def deviation(self) -> float | None:
        """Deviation from the target in units of the tolerance, at most 5; 5 for a failure; None without a target."""
        if self.target is None or self.judged_by is None:
            return None
        expected = self.references[self.judged_by]
        if self.property.value is None:
            return WORST_DEVIATION
        deviation = self.target.deviation(self.property.value, expected.value if expected else None)
        return None if deviation is None else min(deviation, WORST_DEVIATION)


def compare(properties: Sequence[Property], judged_by: str | None) -> list[Row]:
    """One row for each property.

    Args:
        judged_by: the level of the model, see `level_of`: `teacher`, `GPAW`, or None for any other.
    """
    return [Row(prop, {level: reference(prop.symbol, level) for level in LEVELS}, judged_by) for prop in properties]


def score(rows: Sequence[Row]) -> float:
    """Mean of `Row.deviation` over all targets; less is better.

    Raises:
        ValueError: no row has a target.
    """
    deviations = [deviation for row in rows if (deviation := row.deviation()) is not None]
    if not deviations:
        raise ValueError("none of the properties has a target: there is nothing to score")
    return sum(deviations) / len(deviations)


def table(rows: Sequence[Row]) -> Table:
    """The table; a reference value carries the model's difference from it, and missed targets are marked.

    Values of the labels' teacher stand there only for models that learned from it.
    """
    of_student = any(row.judged_by == "teacher" for row in rows)
    levels = [level for level in LEVELS if of_student or level != "teacher"]
    head = ["property", "symbol", "unit", "model", *(SHOWN_AS.get(level, level) for level in levels), "target", "met"]
    missed = [k for k, row in enumerate(rows) if row.met is False]
    return Table(head, [_cells(row, levels) for row in rows], marked=missed)


def _cells(row: Row, levels: Sequence[str]) -> list[str]:
    prop = row.property
    met = {None: "", True: "yes", False: "NO"}[row.met]
    model = "failed" if prop.value is None else _number(prop.value)
    references = [_reference_cell(row, level) for level in levels]
    return [prop.name, prop.symbol, prop.unit, model, *references, str(row.target or ""), met]


def remarks(rows: Sequence[Row]) -> list[str]:
    """The summary, and a line for each property that could not be measured."""
    failed = [row.property for row in rows if row.property.failure]
    return [summary(rows), *(f"- failed: {prop.symbol}: {prop.failure}" for prop in failed)]


def summary(rows: Sequence[Row]) -> str:
    """Whose values are the targets, how many are met, and which are missed, in one line."""
    judge = next((row.judged_by for row in rows if row.judged_by), None)
    if judge is None:
        return "no targets: they are for models of a level of theory with reference values of its own"
    tested = [row for row in rows if row.met is not None]
    met = sum(bool(row.met) for row in tested)
    missed = ", ".join(row.property.symbol for row in tested if not row.met)
    return f"{met} of {len(tested)} targets met ({JUDGES[judge]})" + (f"; missed: {missed}" if missed else "")


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown, followed by `remarks`."""
    return "\n".join([table(rows).markdown(), "", *remarks(rows)]) + "\n"


def as_records(rows: Sequence[Row]) -> list[dict[str, object]]:
    """The rows as plain values for JSON."""
    return [
        {
            **vars(row.property),
            "references": {level: vars(found) if found else None for level, found in row.references.items()},
            "target": str(row.target) if row.target else None,
            "met": row.met,
        }
        for row in rows
    ]


def _reference_cell(row: Row, level: str) -> str:
    found, difference = row.references[level], row.difference(level)
    if found is None:
        return ""
    text = ("~" if found.kind == "estimate" else "") + _number(found.value)
    if difference is None:
        return text
    unit = "" if row.property.unit in PLAIN_DIFFERENCE else " %"
    digits = ".0f" if abs(difference) >= 10 else ".2g" if abs(difference) >= 0.01 else ".2f"
    return f"{text} ({difference:+{digits}}{unit})"


def _number(value: float) -> str:
    return number(value, 4) if abs(value) >= 1 else f"{value:.3f}"
