"""ru-calc: a machine-learned potential for ruthenium.

>>> from ru_calc import RuSchNet
>>> atoms.calc = RuSchNet()

Importing this package imports nothing else; each public name is imported when it is first used.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ru_calc.calculator import RuCalculator, RuSchNet
    from ru_calc.dataset import read_dataset
    from ru_calc.errors import RuCalcError
    from ru_calc.modelfiles import load_model, model_names, open_model

__all__ = ["RuCalcError", "RuCalculator", "RuSchNet", "load_model", "model_names", "open_model", "read_dataset"]


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` for a package whose public names are in modules that are slow to import.

    Args:
        homes: the module of each name.
    """

    def fetch(name: str) -> Any:
        if name not in homes:
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}; its public names are {', '.join(homes)}"
            )
        return getattr(import_module(homes[name]), name)

    return fetch


_fetch = lazy_names(
    __name__,
    {
        "RuCalcError": "ru_calc.errors",
        "RuCalculator": "ru_calc.calculator",
        "RuSchNet": "ru_calc.calculator",
        "load_model": "ru_calc.modelfiles",
        "model_names": "ru_calc.modelfiles",
        "open_model": "ru_calc.modelfiles",
        "read_dataset": "ru_calc.dataset",
    },
)


def __getattr__(name: str) -> Any:
    return _version() if name == "__version__" else _fetch(name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])


def _version() -> str:
    """Of the installation, or of a source tree that is not installed."""
    from configparser import ConfigParser
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path

    try:
        return version("ru-calc")
    except PackageNotFoundError:
        settings = ConfigParser()
        settings.read(Path(__file__).parents[1] / "setup.cfg")
        return settings.get("metadata", "version", fallback="0+unknown")
