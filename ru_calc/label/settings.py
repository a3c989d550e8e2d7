"""What to label with, where it is computed, and what came of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ru_calc.errors import SettingsError, require
from ru_calc.label import gpaw_level

PRESETS = ("gpaw",)
IN_A_ROW = 5  # failures at the start after which a run ends, unless `keep_going`
ON_A_CLUSTER = 100


@dataclass(frozen=True)
class LabelSettings:
    """How frames are labelled.

    Attributes:
        calculator: import path of an ASE calculator, `module.path:Class`.
        arguments: of the calculator, as JSON could hold them.
        preset: one of `PRESETS` instead of a calculator.
        level: name of the level of theory; by default calculator and arguments, or the preset's.
        workers: frames at a time; by default 1, on a cluster 100.
        threads: of each worker.
        attempts: per frame; by default 2, of a preset 3.
        limit_min: largest CPU time of an attempt, in minutes (ten times as much by the clock); none by default, of a
            preset 25.
        retry_failed: try again the frames that failed in earlier runs.
        keep_going: do not end the run when the first frames all fail.
        dask: address or scheduler file of a Dask cluster.
        parsl: Python file that defines `config`, a Parsl configuration.

    Raises:
        SettingsError: a value is out of range, or two exclude each other.
    """

    calculator: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    level: str | None = None
    workers: int | None = None
    threads: int = 1
    attempts: int | None = None
    limit_min: float | None = None
    retry_failed: bool = False
    keep_going: bool = False
    dask: str | None = None
    parsl: Path | None = None

    def __post_init__(self) -> None:
        if (self.calculator is None) == (self.preset is None):
            raise SettingsError("give a calculator, such as ase.calculators.emt:EMT, or a preset (gpaw), and not both")
        if self.preset is not None:
            require(self.preset in PRESETS, "preset", repr(self.preset), f"one of {', '.join(PRESETS)}")
            if self.arguments or self.level:
                raise SettingsError(
                    f"the preset {self.preset} fixes its arguments and its level of theory; leave out yours"
                )
        if self.dask and self.parsl:
            raise SettingsError("dask and parsl exclude each other; give one")
        for name in ("workers", "threads", "attempts"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "1 or more")
        if self.limit_min is not None:
            require(math.isfinite(self.limit_min) and self.limit_min > 0, "limit_min", self.limit_min, "positive")

    @property
    def at_a_time(self) -> int:
        """Frames at a time."""
        return self.workers or (ON_A_CLUSTER if self.dask or self.parsl else 1)

    @property
    def tries(self) -> int:
        """Attempts per frame."""
        return self.attempts or (gpaw_level.ATTEMPTS if self.preset else 2)

    @property
    def limit_s(self) -> float | None:
        """Largest CPU time of an attempt."""
        limit_min = self.limit_min or (gpaw_level.LIMIT_MIN if self.preset else None)
        return None if limit_min is None else 60 * limit_min

    @property
    def level_of_theory(self) -> str:
        """The level of theory in one string, the same for all frames of a file of labels."""
        if self.preset:
            return gpaw_level.LEVEL
        return self.level or " ".join([str(self.calculator), *([compact(self.arguments)] if self.arguments else [])])


@dataclass
class Labelling:
    """What a run did.

    Attributes:
        done: frames labelled.
        known: frames that the file of labels already held.
        repeated: frames that stand more than once among the frames given.
        failed_before: frames that failed in an earlier run and were not tried.
        failed: (uid, reason) of the frames that failed in this run.
        left: frames that were not reached.
        cpu_s: spent on the frames labelled.
    """

    done: int = 0
    known: int = 0
    repeated: int = 0
    failed_before: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    left: int = 0
    cpu_s: float = 0.0


def compact(value: Any) -> str:
    """JSON without blanks, names in order."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
