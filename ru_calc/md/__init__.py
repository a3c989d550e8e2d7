"""Molecular dynamics with ASE's integrators: monitored, logged, and restarted exactly."""

from ru_calc.md.run import resume_md, run_md
from ru_calc.md.settings import ENSEMBLES, MDOutput, MDSettings
from ru_calc.md.simulation import MDResult

__all__ = ["ENSEMBLES", "MDOutput", "MDResult", "MDSettings", "resume_md", "run_md"]
