"""One attempt to label one frame: what a worker is given, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ase import Atoms


@dataclass(frozen=True)
class Task:
    """One attempt at one frame.

    Attributes:
        uid: of the frame.
        atoms: with `info`, without a calculator.
        calculator, arguments, preset: as in `LabelSettings`.
        attempt: 0 for the first.
        threads: of the worker.
        limit_s: largest CPU time, or None.
    """

    uid: str
    atoms: Atoms
    calculator: str | None
    arguments: Mapping[str, Any]
    preset: str | None
    attempt: int = 0
    threads: int = 1
    limit_s: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt.

    Attributes:
        results: energy and free_energy in eV, forces (n, 3) in eV/Å, stress (6,) in eV/Å³; empty after a failure.
        record: what else is written with the frame.
        reason: of a failure, on one line.
        hopeless: another attempt would fail, too.
        refused: no frame can be labelled like this.
        cpu_s, wall_s: time spent.
    """

    results: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    hopeless: bool = False
    refused: bool = False
    cpu_s: float = 0.0
    wall_s: float = 0.0
