"""ru-calc: a machine-learned potential for ruthenium.

>>> from ru_calc import RuSchNet
>>> atoms.calc = RuSchNet()

Importing this package loads nothing else; each public name is fetched when it is first used.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "RuCalcError": "ru_calc.errors",
    "RuCalculator": "ru_calc.calculator",
    "RuSchNet": "ru_calc.calculator",
    "load_model": "ru_calc.storage",
    "model_names": "ru_calc.modelfile",
    "read_dataset": "ru_calc.dataset",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'ru_calc' has no attribute {name!r}; its public names are {', '.join(_HOMES)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, "__version__"])


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ru-calc")
    except PackageNotFoundError:  # a source tree that is not installed
        return "0+unknown"
