"""Whether a model keeps, on this machine, what a potential promises."""

from typing import TYPE_CHECKING

from ru_calc import lazy_names

if TYPE_CHECKING:
    from ru_calc.checks.run import Line, run_checks
    from ru_calc.checks.structures import standard_structures
    from ru_calc.checks.subject import Subject

__all__ = ["Line", "Subject", "run_checks", "standard_structures"]

__getattr__ = lazy_names(
    __name__,
    {
        "Line": "ru_calc.checks.run",
        "Subject": "ru_calc.checks.subject",
        "run_checks": "ru_calc.checks.run",
        "standard_structures": "ru_calc.checks.structures",
    },
)
