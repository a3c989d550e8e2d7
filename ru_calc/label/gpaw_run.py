"""Runs GPAW for the preset `gpaw`."""

from __future__ import annotations

import gc
import io
import re
from importlib import metadata
from typing import Any

import numpy as np
from ase import Atoms

from ru_calc.errors import SettingsError, reason
from ru_calc.label import gpaw_level
from ru_calc.label.tasks import Task
from ru_calc.structures import has_volume

INSTALL = "pip install 'ru-calc[gpaw]', after the Debian packages and with the compiler that README names"


def label_by_gpaw(task: Task) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results and record of a frame; of several starts of the spin, those of the lowest free energy.

    Raises:
        SettingsError: GPAW is not installed, or not with the PAW sets of this level.
        DataError: the frame has no cell for plane waves.
        RuntimeError: no start converged.
    """
    version = check_installed()
    states, failures = [], []
    starts = gpaw_level.spin_starts(task.atoms)
    for start in starts:
        try:
            states.append(_state(task.atoms, start, task.attempt))
        except Exception as problem:  # the other start may converge
            failures.append(reason(problem)[:300])
    if not states:
        raise RuntimeError(failures[0])
    results, record = min(states, key=lambda state: state[0]["free_energy"])
    record |= {"code": "GPAW", "version": version, "attempt": task.attempt}
    if len(starts) > 1:
        record["spin_starts"] = " ".join(f"{r['free_energy']:.4f}" for r, _ in states) + " failed" * len(failures)
    return results, record


def check_installed() -> str:
    """Version of GPAW.

    Raises:
        SettingsError: it is not installed, or the PAW sets are not those of this level.
    """
    try:
        import gpaw
    except ImportError as problem:
        raise SettingsError(f"GPAW is not installed ({problem}): {INSTALL}") from problem
    try:
        found = metadata.version("gpaw-data")
    except metadata.PackageNotFoundError:
        found = "not installed"
    if found != gpaw_level.PAW_DATA:
        raise SettingsError(
            f"gpaw-data is {found}; this level needs {gpaw_level.PAW_DATA}: pip install gpaw-data==1.2.1"
        )
    return str(gpaw.__version__)


def _state(frame: Atoms, start: float | None, attempt: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One self-consistent state."""
    from gpaw import GPAW

    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
    spin = start is not None
    if spin:
        atoms.set_initial_magnetic_moments([start] * len(atoms))
    arguments = gpaw_level.arguments(frame, spin, attempt)
    log = io.StringIO()
    atoms.calc = GPAW(txt=log, **arguments)
    try:
        results = {
            "energy": atoms.get_potential_energy(),
            "free_energy": atoms.get_potential_energy(force_consistent=True),
            "forces": atoms.get_forces(),
        }
        record: dict[str, Any] = {}
        if has_volume(frame):
            record["stress_raw"] = np.array(atoms.get_stress())
            results["stress"] = gpaw_level.without_basis_pressure(record["stress_raw"], atoms)
        moment = float(atoms.calc.get_magnetic_moment()) if spin else 0.0
        steps = int(re.findall(r"Converged in (\d+) steps", log.getvalue())[-1])
    finally:
        atoms.calc = None
        gc.collect()  # GPAW's objects refer to each other in circles
    kpts = arguments["kpts"]["size"]
    return results, record | {
        "scf_steps": steps, "kpts": np.array(kpts), "kdens": gpaw_level.kpoint_density_A(frame),
        "magmom": moment, "spinpol": spin, "settings": arguments,
    }  # fmt: skip
