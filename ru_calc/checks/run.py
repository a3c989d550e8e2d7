"""Runs the lines, one after the other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from ase.calculators.calculator import CalculatorError

from ru_calc.checks.lines import CHECKS, Check, Skipped
from ru_calc.checks.subject import Subject
from ru_calc.checks.tolerance import Figure
from ru_calc.errors import DataError, RuCalcError, reason

FAILURES = (RuCalcError, CalculatorError, ArithmeticError, ValueError)
# So that the lines take less than a minute.
MOST_ATOMS, MOST_ATOMS_WITHOUT_ENGINE = 2000, 200


@dataclass(frozen=True)
class Line:
    """One line: a figure, or why there is none.

    Attributes:
        claim: what is measured.
        verdict: `passed`, `FAILED` or `skipped`.
        remark: why it was skipped, or could not be measured.
    """

    name: str
    claim: str
    verdict: str
    figure: Figure | None = None
    remark: str = ""

    @property
    def failed(self) -> bool:
        return self.verdict == "FAILED"

    def record(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**vars(self), "figure": vars(self.figure) if self.figure else None}


def run_checks(subject: Subject) -> Iterator[Line]:
    """One line after the other; none stops at a failure, unless the model cannot be opened.

    Raises:
        DataError: a structure is too large.
    """
    for name, check in CHECKS.items():
        line = _line(name, check, subject)
        yield line
        if line.failed and not line.figure and name == next(iter(CHECKS)):
            return
        _check_sizes(subject)


def _line(name: str, check: Check, subject: Subject) -> Line:
    claim = (check.__doc__ or "").strip()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the energy is .* which is unphysical")  # in the core
            figure = check(subject)
    except Skipped as why:
        return Line(name, claim, "skipped", remark=str(why))
    except FAILURES as problem:
        return Line(name, claim, "FAILED", remark=reason(problem))
    return Line(name, claim, "passed" if figure.passed else "FAILED", figure)


def _check_sizes(subject: Subject) -> None:
    most = MOST_ATOMS if subject.compiled else MOST_ATOMS_WITHOUT_ENGINE
    for name, atoms in subject.structures.items():
        if len(atoms) > most:
            raise DataError(
                f"{name} has {len(atoms)} atoms, and the lines take up to {most} (of a model that no compiled engine "
                f"evaluates, up to {MOST_ATOMS_WITHOUT_ENGINE}); give a part of it"
            )
