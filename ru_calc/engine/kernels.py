"""Which compiled module runs: the one for the widest vectors that this processor has.

The three modules are built from the same source; each holds both precisions.  Where none could be built (no compiler at
installation), there is none, and callers say so.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType

INSTRUCTION_SETS = ("avx512", "avx2", "base")


@cache
def available() -> dict[str, ModuleType]:
    """Compiled modules that can run here, by instruction set, the fastest first."""
    built = {}
    for name in INSTRUCTION_SETS:
        try:
            built[name] = import_module(f"ru_calc.engine._kernel_{name}")
        except ImportError:
            continue
    runs = built["base"].processor() if "base" in built else ()
    return {name: module for name, module in built.items() if name in runs}


def fastest() -> ModuleType | None:
    """The compiled module to use, or None where none could be built."""
    return next(iter(available().values()), None)
