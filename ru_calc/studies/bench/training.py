"""The benchmark of a training step: this package's fit on its several paths, and SchNetPack, on the same batches.

All train in float32 with one thread, each in a process of its own, and take turns, round after round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.table import Table

from ru_calc.dataset import read_dataset
from ru_calc.errors import SettingsError
from ru_calc.files import write_json
from ru_calc.studies.bench.peers import installed
from ru_calc.studies.bench.report import NONE, short
from ru_calc.studies.bench.run import load, machine_facts
from ru_calc.studies.bench.training_steps import KEPT, Batches, Entry, Turn, Worker, rehearsal

NETWORKS: dict[str, dict[str, Any]] = {
    "default": {},
    "plain SchNet 128 × 3": {"model.angular": False, "model.blocks": 3, "model.channels": 128},
}
TABLES, SPLINES, FILTERS = "fused operators", "double backward, splines", "double backward, filter networks"
GIB = 2**30


@dataclass(frozen=True)
class TrainingSettings:
    """What is timed.

    Attributes:
        data: name or file of the data set.
        batches: in each turn, drawn at random from the training part.
        rounds: turns of each; the table shows the median.
        epoch: take a whole epoch of the first row too, for its memory.
        changes: of the fit's settings, for all rows.
    """

    data: str = "distilled"
    batches: int = 20
    rounds: int = 5
    epoch: bool = True
    changes: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("batches", "rounds"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be 1 or more")


@dataclass(frozen=True)
class Workload:
    """What everyone is given.

    Attributes:
        batches: of a turn; indices in the training part.
        atoms, pairs: in these batches together; a pair counts once.
        epoch_batches, epoch_atoms: of the whole training part.
    """

    batches: Batches
    atoms: int
    pairs: int
    epoch_batches: int
    epoch_atoms: int


@dataclass(frozen=True)
class TrainingBench:
    """What was found.

    Attributes:
        settings, workload: what was asked for, and what it came to.
        turns: of each entry, round after round; the first entry of a network is what ratios of that network are over.
        epoch: a whole epoch of the first entry in a new process, validation included, or None.
        notes: what a reader has to know.
        machine: processor, cores, load, versions.
    """

    settings: TrainingSettings
    workload: Workload
    turns: dict[Entry, list[Turn]]
    epoch: Turn | None
    notes: list[str]
    machine: dict[str, Any]


def entries(settings: TrainingSettings) -> list[Entry]:
    """All who may take part, in the order of the table."""
    found = []
    for network, changes in NETWORKS.items():
        common = {**(settings.changes or {}), **changes}
        found += [
            Entry(network, TABLES, common),
            Entry(network, SPLINES, common, plain=True),
            Entry(network, FILTERS, {**common, "model.spline_intervals": 0}, plain=True),
        ]
        if changes:
            found += [
                Entry(network, "SchNetPack", common, peer=True),
                Entry(network, "SchNetPack, memory kept", common, peer=True, keeps_memory=True),
            ]
    return found


def run_training_bench(settings: TrainingSettings, advance: Callable[[str], None] = lambda text: None) -> TrainingBench:
    """Races all entries over the same batches.

    Args:
        advance: called with a line on what is running, often.

    Raises:
        DataError: the data set cannot be read.
    """
    machine = {**machine_facts(), "load_before": load()}
    field, notes = entries(settings), []
    if not installed("schnetpack"):
        field = [entry for entry in field if not entry.peer]
        notes.append("schnetpack: not installed (pip install 'ru-calc[bench]')")
    work = workload(field[0], settings)
    workers: dict[Entry, Worker] = {}
    try:
        for entry in field:
            advance(f"{entry.network}, {entry.path}: getting ready")
            try:
                workers[entry] = Worker(entry, settings.data, work.batches)
            except ImportError as problem:
                notes.append(f"{entry.path}: it cannot be imported ({' '.join(str(problem).split())})")
        turns = race(workers, settings.rounds, advance)
    finally:
        for worker in workers.values():
            worker.close()
    epoch = whole_epoch(field[0], settings, work, advance) if settings.epoch else None
    return TrainingBench(settings, work, turns, epoch, notes, {**machine, "load_after": load()})


def workload(entry: Entry, settings: TrainingSettings) -> Workload:
    """The batches of a turn, and their sizes."""
    fit = rehearsal(entry, read_dataset(settings.data))
    batches, frames = fit.draw(settings.batches), fit.trainer.train
    chosen = np.concatenate(batches)
    return Workload(
        batches=batches,
        atoms=int(frames.counts[chosen].sum()),
        pairs=int(frames.pair_counts[chosen].sum()),
        epoch_batches=len(fit.batches),
        epoch_atoms=int(frames.counts.sum()),
    )


def race(
    workers: Mapping[Entry, Any], rounds: int, advance: Callable[[str], None] = lambda text: None
) -> dict[Entry, list[Turn]]:
    """Turns of all workers: each takes one in every round."""
    turns: dict[Entry, list[Turn]] = {entry: [] for entry in workers}
    for k in range(rounds):
        for entry, worker in workers.items():
            advance(f"round {k + 1} of {rounds}: {entry.network}, {entry.path}")
            turns[entry].append(worker.turn())
    return turns


def whole_epoch(
    entry: Entry, settings: TrainingSettings, work: Workload, advance: Callable[[str], None] = lambda text: None
) -> Turn:
    """An epoch of a fit in a new process, validation included."""
    advance(f"a whole epoch: {entry.network}, {entry.path}")
    worker = Worker(entry, settings.data, work.batches[:1])
    try:
        return worker.epoch()
    finally:
        worker.close()


def records(bench: TrainingBench) -> list[dict[str, Any]]:
    """One row per entry, as plain values.

    Keys: network, path, cpu_us, cpu_us_min, cpu_us_max (CPU time per atom and step: median of the rounds, least,
    most), batch_ms (per step), epoch_s (CPU time of all steps of an epoch, without validation), ratio (over the first
    row of the same network), system_share (of the CPU time, what the operating system took), peak_bytes (memory of
    the process, its data and libraries included).
    """
    work, found = bench.workload, []
    base: dict[str, float] = {}
    for entry, turns in bench.turns.items():
        seconds = [turn.times.cpu_s for turn in turns]
        base.setdefault(entry.network, median(seconds))
        us, each_s = 1e6 / work.atoms, median(seconds) / len(work.batches)
        found.append(
            {
                "network": entry.network, "path": entry.path, "cpu_us": us * median(seconds),
                "cpu_us_min": us * min(seconds), "cpu_us_max": us * max(seconds), "batch_ms": 1e3 * each_s,
                "epoch_s": each_s * work.epoch_batches, "ratio": median(seconds) / base[entry.network],
                "system_share": min(1.0, sum(turn.times.system_s for turn in turns) / sum(seconds)),
                "peak_bytes": max(turn.peak_bytes for turn in turns) or None,
            }
        )  # fmt: skip
    return found


def training_table(bench: TrainingBench) -> Table:
    """A section for each network."""
    work, settings = bench.workload, bench.settings
    count = len(work.batches)
    title = (
        f"CPU time of a training step on {Path(settings.data).name}, 1 thread, float32; × is over the first row of the "
        f"network\n{count} of the {work.epoch_batches} batches of an epoch, {work.atoms / count:.0f} atoms and "
        f"{work.pairs / count:.0f} pairs each, median of {settings.rounds} rounds"
    )
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for heading in ("network", "path", "CPU µs\nper atom", "min – max", "ms\nper batch", "CPU s\nper epoch", "×",
                    "system\n%", "memory\nGiB"):  # fmt: skip
        table.add_column(heading, no_wrap=True, justify="left" if heading in ("network", "path") else "right")
    network = None
    for row in records(bench):
        if network not in (None, row["network"]):
            table.add_section()
        network = row["network"]
        table.add_row(
            network, row["path"], short(row["cpu_us"]), f"{short(row['cpu_us_min'])} – {short(row['cpu_us_max'])}",
            short(row["batch_ms"]), short(row["epoch_s"]), short(row["ratio"]), f"{100 * row['system_share']:.0f}",
            NONE if row["peak_bytes"] is None else f"{row['peak_bytes'] / GIB:.2f}",
        )  # fmt: skip
    return table


def remarks(bench: TrainingBench) -> list[str]:
    """What a reader of the table has to know."""
    changes = ", ".join(f"{name} = {value}" for name, value in (bench.settings.changes or {}).items())
    found = ([f"all rows with {changes}"] if changes else []) + bench.notes
    if bench.epoch is not None:
        entry, epoch = next(iter(bench.turns)), bench.epoch
        peak = "an unknown amount" if not epoch.peak_bytes else f"{epoch.peak_bytes / GIB:.2f} GiB"
        found.append(
            f"a whole epoch of {entry.network}, {entry.path}, with validation, in a new process: "
            f"{epoch.times.cpu_s:.1f} s of CPU, {peak} of memory at its peak"
        )
    if any(entry.peer for entry in bench.turns):
        found.append(
            f"SchNetPack {version('schnetpack')}: its own SchNet of the same width, blocks, cutoff and Gaussians, its "
            "loss on energies, forces and stress, AdamW, collating of frames in memory; no clipping, no averaged "
            "weights, no sums of errors, no Lightning"
        )
    kept = " ".join(f"{name}={value}" for name, value in KEPT.items())
    rows = ", as in the rows that say so" if any(entry.keeps_memory for entry in bench.turns) else ""
    found.append(
        "system: what the operating system took, mostly to hand out and clear memory anew at each step; with glibc, "
        f"{kept} in the environment keeps that memory{rows}"
    )
    return found


def write(bench: TrainingBench, path: str | Path) -> None:
    """Everything as JSON.

    Raises:
        OutputError: it cannot be written there.
    """
    work, settings = bench.workload, asdict(bench.settings)
    content = {
        "machine": bench.machine,
        "settings": {**settings, "data": Path(bench.settings.data).name},
        "workload": {
            "batches": len(work.batches), "atoms": work.atoms, "pairs": work.pairs,
            "epoch_batches": work.epoch_batches, "epoch_atoms": work.epoch_atoms,
        },
        "rows": records(bench),
        "turns": [
            {"network": entry.network, "path": entry.path, "cpu_s": [turn.times.cpu_s for turn in turns],
             "system_s": [turn.times.system_s for turn in turns], "wall_s": [turn.times.wall_s for turn in turns]}
            for entry, turns in bench.turns.items()
        ],
        "epoch": None if bench.epoch is None else {
            "cpu_s": bench.epoch.times.cpu_s, "peak_bytes": bench.epoch.peak_bytes or None,
        },
        "notes": remarks(bench),
    }  # fmt: skip
    write_json(path, content)
