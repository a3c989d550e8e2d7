"""The errors of this package; each message names the value, the rule and the way out.

The command line prints the message of a `RuCalcError` on one line and exits with status 1.
"""

from collections.abc import Collection
from difflib import get_close_matches


class RuCalcError(Exception):
    """Any error that ru-calc itself raises."""


class DataError(RuCalcError):
    """A data set that is missing, truncated, foreign or empty, or lacks the requested labels."""


class ModelError(RuCalcError):
    """A model that does not exist, is damaged, or is not of this package."""


class SettingsError(RuCalcError):
    """A setting outside its range, or in conflict with another one."""


class OutputError(RuCalcError):
    """A result that cannot be written to its file or folder."""


class UnphysicalError(RuCalcError):
    """A simulation that became unphysical; the message names the step and the cause."""


class UncertainError(RuCalcError):
    """A simulation that reached atoms unlike those of the model's training; the message names the step and the atom."""


def require(fine: bool, name: str, value: object, rule: str) -> None:
    """Raises a `SettingsError` that says what the setting `name` must be, unless it is `fine`."""
    if not fine:
        raise SettingsError(f"{name} is {value}; it must be {rule}")


def choices(name: str, known: Collection[str]) -> str:
    """The names that there are, and before them the one that an unknown name is close to."""
    near = get_close_matches(name, sorted(known), 1)
    return (f"did you mean {near[0]}? " if near else "") + f"choose one of {', '.join(sorted(known))}"


def reason(problem: BaseException) -> str:
    """Type and message of an exception, on one line."""
    return " ".join(f"{type(problem).__name__}: {problem}".split()).removesuffix(":")
