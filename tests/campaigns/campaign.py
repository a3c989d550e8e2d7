"""What campaigns share: each case runs in a child process with limits of time and memory, and a table counts the ends.

A campaign defines `make(seed)`, which gives the kind of the case with this seed and the work to do.  The work returns
how the case ended, in a word or two ("agrees", "refused").  Whatever it raises is a failure, as are a crash of the
process and a case that does not end.  Case k of `--count N --seed S` has the seed S + k, so `--count 1 --seed K`
repeats any case, and a campaign goes on at any seed.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from ru_calc.reports.tables import Table

sys.path.append(str(Path(__file__).parents[1]))  # helpers of the tests, for a campaign that runs as a script

Work = Callable[[], str]
Make = Callable[[int], tuple[str, Work]]
PATIENCE = 12.0  # wall time over the limit, as the machine may do other work
START_S = 120.0  # for the child to import what it needs


@dataclass(frozen=True)
class Limits:
    """Of each case: CPU time (and PATIENCE times as much wall time), and memory beyond that of the idle process."""

    time_s: float = 10.0
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Result:
    """How a case ended: `end` is a word, or the reason of a failure."""

    seed: int
    kind: str
    end: str
    failed: bool

    def __str__(self) -> str:
        return f"{'FAILED' if self.failed else 'passed'} --count 1 --seed {self.seed} ({self.kind}): {self.end}"


def run_cases(make: Make, seeds: Iterable[int], limits: Limits = Limits()) -> Iterator[Result]:
    """Runs the cases one after the other; a child that dies or hangs is replaced."""
    child = None
    try:
        for seed in seeds:
            child = child or Child(make, limits)
            yield child.run(seed)
            child = child if child.alive else None
    finally:
        if child:
            child.kill()


class Child:
    """A process that does one case after the other, in a session of its own, so that its children end with it."""

    def __init__(self, make: Make, limits: Limits) -> None:
        spawn = get_context("spawn")  # a fork would inherit threads and open files
        self.limits, self.alive = limits, True
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(make, limits, theirs))
        self.process.start()
        theirs.close()
        self._receive(START_S)

    def run(self, seed: int) -> Result:
        """One case; afterwards `alive` tells whether there can be another."""
        kind = "unknown"
        try:
            self.pipe.send(seed)
            kind = self._receive(START_S)
            end, failed = self._receive(PATIENCE * self.limits.time_s, self._cpu_s() + self.limits.time_s)
        except TimeoutError as problem:
            self.kill()
            end, failed = str(problem), True
        except (EOFError, OSError):
            self.process.join()
            self.kill()
            end, failed = f"the process {_death(self.process.exitcode)}", True
        return Result(seed, kind, end, failed)

    def kill(self) -> None:
        """Ends the process and its children."""
        self.alive = False
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.join()

    def _receive(self, within_s: float, until_cpu_s: float = math.inf):
        end_s = time.monotonic() + within_s
        while not self.pipe.poll(0.5):
            if time.monotonic() > end_s:
                raise TimeoutError(f"no end within {within_s:g} s")
            if self._cpu_s() > until_cpu_s:
                raise TimeoutError(f"no end within {self.limits.time_s:g} s of CPU time")
        return self.pipe.recv()

    def _cpu_s(self) -> float:
        """Of the process so far, without its children."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _death(status: int | None) -> str:
    if status is None or status >= 0:
        return f"ended with status {status}"
    return f"was killed by {signal.Signals(-status).name}"


def _serve(make: Make, limits: Limits, pipe: Connection) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    pipe.send("ready")
    while True:
        try:
            seed = pipe.recv()
        except EOFError:
            return
        try:
            kind, work = make(seed)
            pipe.send(kind)
        except Exception:
            pipe.send("not made")
            pipe.send((_reason(), True))
            continue
        pipe.send(_end(work, limits))


def _end(work: Work, limits: Limits) -> tuple[str, bool]:
    start = time.process_time()
    try:
        with _memory(limits.memory_bytes):
            end, failed = work(), False
    except Exception:
        end, failed = _reason(), True
    took = time.process_time() - start
    return (end, failed) if took <= limits.time_s else (f"{end}, but it took {took:.0f} s", True)


class _memory:
    """Limits the address space of the process to what it has now and so many bytes."""

    def __init__(self, more: int | None) -> None:
        self.more, self.before = more, resource.getrlimit(resource.RLIMIT_AS)

    def __enter__(self) -> None:
        if self.more is not None:
            held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (held + self.more, self.before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_AS, self.before)


def _reason() -> str:
    """The exception that is being handled, and where it was raised."""
    kind, problem, trace = sys.exc_info()
    places = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(trace)]
    return f"{kind.__name__}: {' '.join(str(problem).split())[:500]} ({' '.join(places[-3:])})"


def table(results: Iterable[Result]) -> Table:
    """Cases by kind and how they ended."""
    results = list(results)
    ends = sorted({result.end for result in results if not result.failed})
    counts = Counter((result.kind, "failed" if result.failed else result.end) for result in results)
    kinds = sorted({result.kind for result in results})
    rows = [[kind, *(counts[kind, end] for end in (*ends, "failed"))] for kind in kinds]
    total = ["all", *(sum(row[k] for row in rows) for k in range(1, len(ends) + 2))]
    texts = [[row[0], str(sum(row[1:])), *map(str, row[1:])] for row in (*rows, total)]
    return Table(["kind", "cases", *ends, "failed"], texts, marked=[k for k, row in enumerate(rows) if row[-1]])


def main(make: Make, purpose: str, limits: Limits = Limits(), count: int = 100) -> None:
    """The command line of a campaign: a failure is printed at once, the table at the end; status 1 if any failed."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--count", type=int, default=count, help="number of cases")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first; each further one is greater by 1")
    asked = parser.parse_args()
    results = []
    try:
        for result in run_cases(make, range(asked.seed, asked.seed + asked.count), limits):
            results.append(result)
            if result.failed:
                print(result, flush=True)
            elif len(results) % 500 == 0:
                print(f"{len(results)} cases, up to seed {result.seed}", flush=True)
    except KeyboardInterrupt:
        print(f"interrupted; go on with --seed {asked.seed + len(results)}")
    if results:
        table(results).show()
    sys.exit(any(result.failed for result in results))
