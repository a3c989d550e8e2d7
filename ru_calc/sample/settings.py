"""What to sample, checked when it is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ru_calc.errors import require
from ru_calc.sample.frames import LEAST_VACUUM_A


@dataclass(frozen=True)
class SampleSettings:
    """Kinds of structures, how many of each, and their limits.

    Attributes:
        kinds: kind or pattern such as `eos_*` → frames, None for its default; None takes all kinds.
        md: the same for frames of molecular dynamics.
        seed: of everything random.
        max_atoms: in a frame.
        nearest_A: limit of the nearest distance, of kinds that have none of their own.
        vacuum_A: between a slab or cluster and its image.
        temperature_K: lowest and highest temperature of all runs; None takes those of each kind.
        every_fs: between two frames of a run.

    Raises:
        SettingsError: a value is out of range.
    """

    kinds: Mapping[str, int | None] | None = None
    md: Mapping[str, int | None] = field(default_factory=dict)
    seed: int = 0
    max_atoms: int = 16
    nearest_A: float = 1.9
    vacuum_A: float = 12.0
    temperature_K: tuple[float, float] | None = None
    every_fs: float = 200.0

    def __post_init__(self) -> None:
        for counts in (self.kinds or {}, self.md):
            for name, count in counts.items():
                require(count is None or count >= 0, f"the count of {name}", count, "0 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(self.max_atoms >= 1, "max_atoms", self.max_atoms, "1 or more")
        fine = 0.5 <= self.nearest_A < 2.6
        require(fine, "nearest_A", self.nearest_A, "from 0.5 to below 2.6 Å; atoms of the crystal are 2.65 Å apart")
        fine = LEAST_VACUUM_A <= self.vacuum_A <= 100
        require(fine, "vacuum_A", self.vacuum_A, f"from {LEAST_VACUUM_A:g} to 100 Å")
        require(math.isfinite(self.every_fs) and self.every_fs >= 1, "every_fs", self.every_fs, "1 fs or more")
        if self.temperature_K is not None:
            low, high = self.temperature_K
            fine = 0 < low <= high <= 20000
            require(fine, "temperature_K", f"{low:g},{high:g}", "LOWEST,HIGHEST above 0 and up to 20000 K")
