"""Measurements of fitted potentials: errors, speed, stability, properties."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ru_calc.calculator import RuCalculator
from ru_calc.dataset import Dataset
from ru_calc.errors import UnphysicalError
from ru_calc.evaluate import assess, predict_by_model
from ru_calc.md import MDSettings, run_md
from ru_calc.properties import all_properties
from ru_calc.structures.build import build_structure
from ru_calc.studies.bench.costs import force_calls
from ru_calc.studies.compare.settings import MDProtocol

TIMESTEP_FS = 2.0
SYMBOLS = ("a", "c", "C11", "C12", "C13", "C33", "C44", "E2g", "B1g", "fcc-hcp", "bcc-hcp", "E_vac")
QUICK_SYMBOLS = ("fcc-hcp",)


def errors(model: Path, dataset: Dataset, split: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Rows of `ru_calc.evaluate.metrics.error_table` for each part of the split and each config type."""
    predictor = RuCalculator(model, "cpu", "float64").predictor
    return assess(dataset, predict_by_model(predictor, dataset), dict(split)).rows


def conservation(model: Path, protocol: MDProtocol) -> dict[str, Any]:
    """NVE dynamics in float32: its drift in eV per atom and ps, or why it stopped."""
    # Half of the kinetic energy of a perfect lattice turns into potential energy.
    return _run(model, protocol, "nve", 2 * protocol.nve_K, protocol.nve_ps)


def survival(model: Path, protocol: MDProtocol) -> dict[str, Any]:
    """Hot Langevin dynamics in float32: whether it reached its end, or why it stopped."""
    return _run(model, protocol, "nvt-langevin", protocol.hot_K, protocol.hot_ps)


def _run(model: Path, protocol: MDProtocol, ensemble: str, temperature_K: float, time_ps: float) -> dict[str, Any]:
    steps = max(1, round(1000 * time_ps / TIMESTEP_FS))
    settings = MDSettings(
        ensemble, temperature_K=temperature_K, timestep_fs=TIMESTEP_FS, steps=steps, log_every=max(1, steps // 200),
        seed=protocol.seed,
    )  # fmt: skip
    atoms = build_structure("hcp", n_atoms=protocol.md_atoms)
    try:
        result = run_md(atoms, RuCalculator(model, "cpu"), settings)
    except UnphysicalError as problem:
        return {"survived": False, "why": str(problem)}
    kelvin = result.thermo["temperature_K"]
    return {
        "survived": True,
        "drift_eV_per_atom_per_ps": result.drift_eV_per_atom_per_ps,
        "mean_temperature_K": float(kelvin[len(kelvin) // 2 :].mean()),
    }


def properties(model: Path, protocol: MDProtocol) -> dict[str, float | None]:
    """Lattice, elastic constants, phonons at Γ, phases and vacancy by symbol; None where a measurement failed."""
    calculator = RuCalculator(model, "cpu", "float64")
    found = all_properties(calculator, quick=True, only=QUICK_SYMBOLS if protocol.quick else SYMBOLS)
    return {prop.symbol: prop.value for prop in found}


def speeds(models: Mapping[str, Path], protocol: MDProtocol) -> list[dict[str, Any]]:
    """CPU time of force calls on one thread, all families taking turns in one run.

    Returns:
        Rows `family`, `engine` (`reference` for every family, `compiled` where it serves), `atoms`, `cpu_us` (median
        per atom and call) and `spread_us` (lowest, highest).
    """
    rows = force_calls(models, protocol.speed_atoms, repeats=1 if protocol.quick else 5)
    return [{"family": row.pop("model"), **row} for row in rows]
