"""One tree of errors: each message names the value, the rule and the way out.

The command line prints the message of a `RuCalcError` on one line and exits with status 1.
"""


class RuCalcError(Exception):
    """Everything that ru-calc itself refuses."""


class DataError(RuCalcError):
    """A data set that is missing, truncated, foreign, empty, or lacks what was asked of it."""


class ModelError(RuCalcError):
    """A model name or file that is missing, damaged, or not of this package."""


class SettingsError(RuCalcError):
    """An option or setting outside its range, or at odds with another one."""


class OutputError(RuCalcError):
    """A result that cannot be written where it was asked for."""


class UnphysicalError(RuCalcError):
    """A simulation that left the physical range; the message says at which step and why."""
