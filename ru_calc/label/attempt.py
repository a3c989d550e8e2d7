"""Computes the labels of one frame, in a process of its own, within a limit of time."""

from __future__ import annotations

import importlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from types import FrameType
from typing import Any

import numpy as np
from ase import Atoms

from ru_calc.errors import DataError, SettingsError, reason
from ru_calc.evaluate.predictions import load_calculator
from ru_calc.label.gpaw_run import check_installed, label_by_gpaw
from ru_calc.label.settings import LabelSettings
from ru_calc.label.tasks import Outcome, Task
from ru_calc.structures import has_volume
from ru_calc.units import to_voigt

WALL_PER_CPU = 10.0  # where a calculator waits for another program, no CPU time passes here


class OutOfTime(BaseException):
    """An attempt took longer than allowed; no calculator may catch it."""


Labels = tuple[dict[str, Any], dict[str, Any]]


class Labeller:
    """Labels one frame after the other; keeps the calculator as long as it works."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._kept: tuple[object, Any] | None = None

    def attempt(self, task: Task) -> Outcome:
        """Whatever happens, an outcome."""
        started, cpu = time.perf_counter(), cpu_time_s()
        outcome = self._outcome(task)
        return replace(outcome, cpu_s=round(cpu_time_s() - cpu, 2), wall_s=round(time.perf_counter() - started, 2))

    def _outcome(self, task: Task) -> Outcome:
        label: Callable[[Task], Labels] = label_by_gpaw if task.preset else self._by_calculator
        try:
            with time_limit(task.limit_s):
                results, record = label(task)
            return Outcome(checked(results, task.atoms), record)
        except OutOfTime as problem:
            self._kept = None
            return Outcome(reason=str(problem), hopeless=True)
        except SettingsError as problem:
            return Outcome(reason=str(problem), refused=True)
        except Exception as problem:  # a calculator may fail in any way
            self._kept = None
            return Outcome(reason=reason(problem)[:300], hopeless=isinstance(problem, DataError))

    def _by_calculator(self, task: Task) -> Labels:
        calculator = self._calculator(task)
        atoms = Atoms(task.atoms.numbers, task.atoms.positions, cell=task.atoms.cell, pbc=task.atoms.pbc)
        atoms.calc = calculator
        offers = getattr(calculator, "implemented_properties", ())
        wanted = ["energy", "forces"]
        wanted += [name for name in ("free_energy",) if name in offers]
        wanted += [name for name in ("stress",) if name in offers and has_volume(atoms)]
        results = {name: calculator.get_property(name, atoms) for name in wanted}
        if getattr(calculator, "converged", True) is False:
            raise RuntimeError("the calculator did not converge")
        return results, {"settings": dict(task.arguments), **code_and_version(str(task.calculator))}

    def _calculator(self, task: Task) -> Any:
        key = (task.calculator, repr(task.arguments))
        if self._kept is None or self._kept[0] != key:
            calculator = load_calculator(str(task.calculator), dict(task.arguments))
            if "directory" not in task.arguments and hasattr(calculator, "directory"):
                calculator.directory = self.folder  # or two workers would write the same files
            self._kept = (key, calculator)
        elif hasattr(self._kept[1], "reset"):
            self._kept[1].reset()
        return self._kept[1]


def check_calculator(settings: LabelSettings) -> None:
    """Makes the calculator once, so that a mistake shows before anything else is done; not on a cluster.

    Raises:
        SettingsError: it cannot be made, or GPAW is not installed.
    """
    if settings.preset:
        check_installed()
    elif not (settings.dask or settings.parsl):
        load_calculator(str(settings.calculator), dict(settings.arguments))


def checked(results: dict[str, Any], atoms: Atoms) -> dict[str, Any]:
    """The results as plain numbers and arrays.

    Raises:
        RuntimeError: one has the wrong shape or is not finite.
    """
    shapes = {"energy": (), "free_energy": (), "forces": (len(atoms), 3), "stress": (6,)}
    found = {}
    for name, given in results.items():
        value = np.asarray(given, dtype=float)
        value = to_voigt(value) if name == "stress" and value.shape == (3, 3) else value
        if value.shape != shapes[name]:
            raise RuntimeError(f"{name} has shape {value.shape}, not {shapes[name]}")
        if not np.isfinite(value).all():
            raise RuntimeError(f"{name} is not finite")
        found[name] = value if value.ndim else float(value)
    return found


def code_and_version(path: str) -> dict[str, str]:
    """The package of a calculator and its version, as far as that is known."""
    package = path.partition(":")[0].partition(".")[0]
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        version = str(getattr(importlib.import_module(package), "__version__", "unknown"))
    return {"code": path, "version": f"{package} {version}"}


def cpu_time_s() -> float:
    """CPU time of this process and of the programs that it has run."""
    return sum(os.times()[:4])


@contextmanager
def time_limit(cpu_s: float | None) -> Iterator[None]:
    """Raises `OutOfTime` in the main thread after so much CPU time, or ten times as much by the clock."""
    if cpu_s is None:
        yield
        return
    timers = ((signal.ITIMER_PROF, signal.SIGPROF, cpu_s), (signal.ITIMER_REAL, signal.SIGALRM, WALL_PER_CPU * cpu_s))

    def stop(number: int, _frame: FrameType | None) -> None:
        _, _, seconds = timers[0 if number == signal.SIGPROF else 1]
        raise OutOfTime(f"over {seconds / 60:g} min {'of CPU time' if number == signal.SIGPROF else 'by the clock'}")

    before = [signal.signal(number, stop) for _, number, _ in timers]
    try:
        for timer, _, seconds in timers:
            signal.setitimer(timer, seconds, 1.0)  # again every second, should the first be swallowed
        yield
    finally:
        for (timer, number, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)
