"""The benchmark of a training step: this package's fit on its several paths, and SchNetPack, on the same batches.

All train in float32 with one thread, each in a process of its own, and take turns, round after round.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from ru_calc.dataset import read_dataset
from ru_calc.devices import Times
from ru_calc.fit.timing import FitSteps
from ru_calc.reports.tables import Record
from ru_calc.studies.bench.contestants import Contestant
from ru_calc.studies.bench.peers import absence, invited
from ru_calc.studies.bench.race import Row, row_of, take_turns
from ru_calc.studies.bench.report import GIB, KEPT, finished
from ru_calc.studies.bench.run import load, machine_facts
from ru_calc.studies.bench.settings import TrainingSettings
from ru_calc.studies.bench.training_steps import Batches, Entry, rehearsal, steps
from ru_calc.studies.bench.worker import Worker

NETWORKS: dict[str, dict[str, Any]] = {
    "default": {},
    "plain SchNet 128 × 3": {"model.angular": False, "model.blocks": 3, "model.channels": 128},
}
TABLES, SPLINES, FILTERS = "fused operators", "double backward, splines", "double backward, filter networks"
Advance = Callable[[str], None]


@dataclass(frozen=True)
class Workload:
    """What all are given.

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


class Trainee(Contestant):
    """Training of one entry in a process of its own."""

    per = "training step"

    def __init__(self, entry: Entry, data: str, work: Workload) -> None:
        self.name, self._network = entry.path, entry.network
        self.worker = Worker(steps, entry, data, work.batches, environment=KEPT if entry.keeps_memory else None)

    def facts(self) -> dict[str, Any]:
        return {"network": self._network, "peak_bytes": self.worker.peak_bytes() or None}

    def close(self) -> None:
        """Ends the process."""
        self.worker.close()


def entries(settings: TrainingSettings) -> list[Entry]:
    """All rows of the table, in its order."""
    found = []
    for network, changes in NETWORKS.items():
        common = {**settings.changes, **changes}
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


def run_training_bench(settings: TrainingSettings, advance: Advance = lambda text: None) -> Record:
    """Races all entries over the same batches.

    Args:
        advance: called with a line on what is running, often.

    Raises:
        DataError: the data set cannot be read.
        SettingsError: a peer that was asked for by name cannot take part.
    """
    machine = {**machine_facts(), "load_before": load()}
    field = entries(settings)
    work = workload(rehearsal(field[0], read_dataset(settings.data)), settings.batches)
    with ExitStack() as running:

        def start(entry: Entry) -> Trainee:
            advance(f"{entry.network}, {entry.path}: getting ready")
            return running.enter_context(closing(Trainee(entry, settings.data, work)))

        def start_peers() -> tuple[list[Trainee], list[str]]:
            return [start(entry) for entry in field if entry.peer], [peer_note()]

        found, notes = invited(settings.peers, {"schnetpack": start_peers}, _obstacle)
        trainees = [start(entry) for entry in field if not entry.peer] + found
        turns = take_turns(
            {trainee: partial(trainee.worker.timed, "turn") for trainee in trainees}, settings.repeats,
            lambda trainee: advance(trainee.name),
        )  # fmt: skip
        rows = [training_row(trainee, work, turns[trainee]) for trainee in trainees]
    epoch = whole_epoch(field[0], settings, work, advance) if settings.epoch else None
    changes = ", ".join(f"{name} = {value}" for name, value in settings.changes.items())
    notes = [f"all rows with {changes}"] * bool(changes) + notes
    if epoch is not None:
        notes.append(epoch_note(field[0], **epoch))
    counts = {**vars(work), "batches": len(work.batches)}
    machine["load_after"] = load()
    return finished(settings, rows, TABLES, notes, machine, workload=counts, epoch=epoch)


def training_row(trainee: Contestant, work: Workload, turns: list[Times]) -> Row:
    """See `row_of`; with batch_ms per step, epoch_s of all steps of an epoch, and peak_bytes of the process."""
    count = len(work.batches)
    row = row_of(trainee, 1, work.atoms / count, count, turns)
    batch_ms = row["cpu_us"] * work.atoms / count / 1e3
    return row | {"batch_ms": batch_ms, "epoch_s": batch_ms * work.epoch_batches / 1e3}


def _obstacle(name: str) -> str | None:
    return absence(name) if name == "schnetpack" else "it cannot be trained; schnetpack can"


def workload(fit: FitSteps, count: int) -> Workload:
    """So many batches of a fit, and their sizes."""
    batches, frames = fit.draw(count), fit.trainer.train
    chosen = np.concatenate(batches)
    return Workload(
        batches=batches,
        atoms=int(frames.counts[chosen].sum()),
        pairs=int(frames.pair_counts[chosen].sum()),
        epoch_batches=len(fit.batches),
        epoch_atoms=int(frames.counts.sum()),
    )


def whole_epoch(entry: Entry, settings: TrainingSettings, work: Workload, advance: Advance) -> dict[str, Any]:
    """CPU time and memory of an epoch of a fit in a new process, validation included."""
    advance(f"a whole epoch: {entry.network}, {entry.path}")
    with closing(Worker(steps, entry, settings.data, work.batches[:1])) as worker:
        return {"cpu_s": worker.timed("epoch").cpu_s, "peak_bytes": worker.peak_bytes() or None}


def epoch_note(entry: Entry, cpu_s: float, peak_bytes: float | None) -> str:
    """A line on the whole epoch."""
    peak = "an unknown amount" if peak_bytes is None else f"{peak_bytes / GIB:.2f} GiB"
    return (
        f"a whole epoch of {entry.network}, {entry.path}, with validation, in a new process: {cpu_s:.1f} s of CPU, "
        f"{peak} of memory at its peak"
    )


def peer_note() -> str:
    """How SchNetPack is trained."""
    return (
        f"SchNetPack {version('schnetpack')}: its own SchNet of the same width, blocks, cutoff and Gaussians, its loss "
        "on energies, forces and stress, AdamW, collating of frames in memory; no clipping, no averaged weights, no "
        "error sums, no Lightning"
    )
