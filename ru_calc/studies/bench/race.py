"""The race: contestants run in turn, round after round, and CPU time counts.

Turns spread whatever else the machine does over all contestants alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from ase import Atoms

from ru_calc.devices import Times, timed
from ru_calc.studies.bench.contestants import Contestant

LEAST_S = 0.2  # CPU time of one turn, at least, so that the clock and the caches do not count
MOST_CALLS = 2000
MEMORY_SHARE = 0.7  # of what is free
PREPARATION = 5.0  # times the budget of a call
ADVANCE = Callable[[str], None]
Row = dict[str, Any]


def row_of(contestant: Contestant, threads: int, n_atoms: int, calls: int, turns: Sequence[Times]) -> Row:
    """One contestant on one system, from the times of its turns, each of so many calls.

    Returns:
        contestant, per, threads, atoms, calls, repeats, cpu_us (median), cpu_us_min, cpu_us_max, wall_us (all per atom
        and call), system_share (of the CPU time, that of the operating system), the contestant's facts, and `turns`
        with cpu_us, system_us and wall_us of each.
    """
    scale = 1e6 / (calls * n_atoms)
    each = {f"{kind}_us": [scale * getattr(turn, f"{kind}_s") for turn in turns] for kind in ("cpu", "system", "wall")}
    cpu_us, total = each["cpu_us"], sum(each["cpu_us"])
    return {
        "contestant": contestant.name, "per": contestant.per, "threads": threads, "atoms": n_atoms, "calls": calls,
        "repeats": len(turns), "cpu_us": median(cpu_us), "cpu_us_min": min(cpu_us), "cpu_us_max": max(cpu_us),
        "wall_us": median(each["wall_us"]),
        "system_share": min(1.0, sum(each["system_us"]) / total) if total else 0.0, **contestant.facts(), "turns": each,
    }  # fmt: skip


@dataclass
class Pace:
    """What a contestant took on its largest system so far, per atom.

    Attributes:
        preparation_s, call_s: CPU time of making it ready, and of one call.
        peak_bytes: memory, as far as the system tells.
    """

    preparation_s: float
    call_s: float
    peak_bytes: float


class Race:
    """Contestants with the same number of threads, through systems of growing size.

    Args:
        contestants: in the order of the table.
        threads: that they use.
        repeats: rounds.
        budget_s: a contestant is out at the size at which one call would take longer, or its preparation five times
            as long.

    Attributes:
        notes: who is out, where and why.
    """

    def __init__(self, contestants: Sequence[Contestant], threads: int, repeats: int, budget_s: float) -> None:
        self.threads, self.repeats, self.budget_s = threads, repeats, budget_s
        self.notes: list[str] = []
        self._in = list(contestants)
        self._paces: dict[str, Pace] = {}

    def run(self, atoms: Atoms, advance: ADVANCE = lambda name: None) -> list[Row]:
        """Rows of all who are still in, on one system, see `row_of`.

        Args:
            advance: called with a name when a contestant is ready, and at each of its turns.
        """
        ready: list[tuple[Contestant, int]] = []
        try:
            for contestant in list(self._in):
                obstacle = self._obstacle(contestant, len(atoms))
                if obstacle is None:
                    advance(contestant.name)
                    seconds = self._prepare(contestant, atoms)
                    ready.append((contestant, calls_of_a_turn(seconds)))
                else:
                    self._in.remove(contestant)
                    self.notes.append(f"{contestant.name} stops before {len(atoms)} atoms: {obstacle}")
            return self._rounds(ready, len(atoms), advance)
        finally:
            for contestant, _ in ready:
                contestant.clear()

    def _rounds(self, ready: list[tuple[Contestant, int]], n_atoms: int, advance: ADVANCE) -> list[Row]:
        turns: dict[str, list[Times]] = {one.name: [] for one, _ in ready}
        for _ in range(self.repeats):
            for one, calls in ready:
                advance(one.name)
                turns[one.name].append(timed(partial(one.run, calls)))
        rows = [row_of(one, self.threads, n_atoms, calls, turns[one.name]) for one, calls in ready]
        for row in rows:
            self._paces[row["contestant"]].call_s = row["cpu_us"] / 1e6
        return rows

    def _obstacle(self, contestant: Contestant, n_atoms: int) -> str | None:
        pace = self._paces.get(contestant.name)
        if pace is None:
            return None
        for what, seconds, budget_s in (
            ("a call", pace.call_s * n_atoms, self.budget_s),
            ("its preparation", pace.preparation_s * n_atoms, PREPARATION * self.budget_s),
        ):
            if seconds > budget_s:
                return f"{what} would take about {seconds:.0f} s (budget {budget_s:g} s)"
        free = free_bytes()
        if free is not None and pace.peak_bytes * n_atoms > MEMORY_SHARE * free:
            return f"a call would take about {pace.peak_bytes * n_atoms / 1e9:.0f} GB of memory ({free / 1e9:.0f} free)"
        return None

    def _prepare(self, contestant: Contestant, atoms: Atoms) -> float:
        """Makes it ready, and returns the seconds of one call."""
        before = resident_bytes(forget_peak=True)
        ready = timed(lambda: contestant.prepare(atoms))
        call = timed(lambda: contestant.run(1))
        peak = max(0.0, resident_bytes(peak=True) - before)
        self._paces[contestant.name] = Pace(*(value / len(atoms) for value in (ready.cpu_s, call.cpu_s, peak)))
        return call.cpu_s


def calls_of_a_turn(seconds: float) -> int:
    """How many calls make a turn long enough to be timed."""
    return max(1, min(MOST_CALLS, round(LEAST_S / max(seconds, 1e-6))))


def resident_bytes(peak: bool = False, forget_peak: bool = False) -> float:
    """Memory of this process, now or at its peak since that was forgotten; 0 where the system does not tell."""
    try:
        if forget_peak:
            Path("/proc/self/clear_refs").write_text("5")
        return _kilobytes("/proc/self/status", "VmHWM:" if peak else "VmRSS:") * 1024
    except (OSError, StopIteration):
        return 0.0


def free_bytes() -> float | None:
    """Memory that the system could give, or None where it does not tell."""
    try:
        return _kilobytes("/proc/meminfo", "MemAvailable:") * 1024
    except (OSError, StopIteration):
        return None


def _kilobytes(path: str, name: str) -> float:
    return float(next(line for line in Path(path).read_text().splitlines() if line.startswith(name)).split()[1])
