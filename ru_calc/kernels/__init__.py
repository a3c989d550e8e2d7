"""The choice of the compiled module: the one for the widest vectors that this processor has.

Three modules are built from the same source; each holds both precisions.  Without a C++20 compiler at installation
there is none.  A source tree that shadows an installation, as when Python is started in a clone, has none of its own:
it uses those of the installation if they belong to the same code.
"""

from __future__ import annotations

import filecmp
import sys
from functools import cache
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

INSTRUCTION_SETS = ("avx512", "avx2", "base")
# Code that must match the compiled modules.
CALLERS = ("engine/engine.py", "tables/packing.py", "kernels/geometry.py", "kernels/network.py")


@cache
def available() -> dict[str, ModuleType]:
    """Compiled modules that this processor can run, by instruction set, the fastest first."""
    found = {name: _module(f"_kernel_{name}") for name in INSTRUCTION_SETS}
    built = {name: module for name, module in found.items() if module is not None}
    runs = built["base"].processor() if "base" in built else ()
    return {name: module for name, module in built.items() if name in runs}


def fastest() -> ModuleType | None:
    """The compiled module to use, or None if there is none."""
    return next(iter(available().values()), None)


def _module(name: str) -> ModuleType | None:
    try:
        return import_module(f"ru_calc.kernels.{name}")
    except ImportError:
        return _installed(name)


def _installed(name: str) -> ModuleType | None:
    """The module of an installation that this source tree shadows."""
    here = Path(__file__).parents[1]
    for folder in (Path(entry) / "ru_calc" for entry in sys.path):
        places = (folder / "kernels" / f"{name}{suffix}" for suffix in EXTENSION_SUFFIXES)
        file = next((path for path in places if path.is_file()), None)
        if file and all(filecmp.cmp(here / part, folder / part, False) for part in CALLERS):
            spec = spec_from_file_location(f"ru_calc.kernels.{name}", file)
            if spec and spec.loader:
                module = module_from_spec(spec)
                spec.loader.exec_module(module)
                return module
    return None
