"""Relaxation of atoms and cells, which can be interrupted and restarted."""

from ru_calc.relax.run import relax_structure, resume_relaxation
from ru_calc.relax.settings import RelaxOutput, RelaxResult, RelaxSettings, RelaxState
from ru_calc.relax.trajectory import read_relaxation

__all__ = [
    "RelaxOutput",
    "RelaxResult",
    "RelaxSettings",
    "RelaxState",
    "read_relaxation",
    "relax_structure",
    "resume_relaxation",
]
