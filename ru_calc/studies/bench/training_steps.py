"""Who takes part in the race of training steps: this package's fit on its several paths, and SchNetPack's model.

Each is made with the data set and the batches of a turn, warms up, and then takes a turn as often as asked.  `Worker`
keeps one in a process of its own, so that its memory is its own, and its environment too.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ru_calc.dataset import Dataset, read_dataset, split_by_group
from ru_calc.devices import Times, timed
from ru_calc.fit.pace import WARM_UP, Rehearsal
from ru_calc.fit.run import FitInput
from ru_calc.fit.settings import FitSettings, with_changes
from ru_calc.studies.bench.race import resident_bytes
from ru_calc.studies.bench.report import KEEP
from ru_calc.studies.bench.schnetpack_model import schnetpack
from ru_calc.units import RUTHENIUM, from_voigt

Batches = Sequence[np.ndarray]
LOSS_WEIGHTS = {"energy": 0.01, "forces": 0.99, "stress": 1.0}
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(KEEP), "MALLOC_TRIM_THRESHOLD_": str(KEEP)}


@dataclass(frozen=True)
class Entry:
    """One row of the table, before it is timed.

    Attributes:
        network: its name, for the table.
        path: how its step is computed.
        changes: of the fit's default settings.
        plain: see `Trainer`.
        peer: SchNetPack takes the steps.
        keeps_memory: the allocator of glibc keeps what is freed.
    """

    network: str
    path: str
    changes: dict[str, Any] = field(default_factory=dict, hash=False)
    plain: bool = False
    peer: bool = False
    keeps_memory: bool = False

    @property
    def settings(self) -> FitSettings:
        """Of the fit whose steps they are."""
        return with_changes("md", self.changes)


class OwnSteps:
    """The steps of `ru-calc fit`: gather, forward, loss, backward, clip, optimiser, average, sums of errors."""

    def __init__(self, entry: Entry, dataset: Dataset, batches: Batches) -> None:
        self.rehearsal, self._batches = rehearsal(entry, dataset), batches
        self.rehearsal.take(batches[:WARM_UP])

    def turn(self) -> None:
        """A step for each batch."""
        self.rehearsal.take(self._batches)


class SchNetPackSteps:
    """A step as SchNetPack's `AtomisticTask` takes it, without Lightning around it.

    Stock are the model and its modules (`Strain`, `PairwiseDistances`, `SchNet` over `GaussianRBF` and `CosineCutoff`,
    `Atomwise`, `Forces`), the loss (`ModelOutput`, squared errors), the neighbour list, with each pair both ways, and
    the collating of frames, each a dictionary of tensors that is ready in memory.  Width, blocks, cutoff and number of
    Gaussians are those of the fit.  The optimiser is AdamW; gradients are not clipped and weights not averaged.
    """

    def __init__(self, entry: Entry, dataset: Dataset, batches: Batches) -> None:
        self._spk, self._batches = schnetpack(), batches
        settings = entry.settings
        split = split_by_group(dataset, settings.split, settings.seed_of_split)
        self._frames = self._prepared(dataset.select(split["train"]), settings.model["cutoff_A"])
        torch.manual_seed(settings.seed)
        self.model = self._potential(settings.model).train()
        self._outputs = [
            self._spk.task.ModelOutput(name, nn.MSELoss(), weight, metrics={}) for name, weight in LOSS_WEIGHTS.items()
        ]
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=settings.rate_blocks, weight_decay=settings.weight_decay
        )
        self._take(batches[:WARM_UP])

    def _prepared(self, train: Dataset, cutoff_A: float) -> dict[int, dict[str, Tensor]]:
        """Frames of the batches, energies without their mean per atom, in float32."""
        keys, transform = self._spk.properties, self._spk.transform
        steps = [transform.MatScipyNeighborList(cutoff_A), transform.CastTo32()]
        structures = train.structures
        zero_eV = float(np.mean(train.energy / structures.counts))
        found = {}
        for k in np.unique(np.concatenate(self._batches)).tolist():
            atoms, n = structures.atoms_of([k]), int(structures.counts[k])
            frame = {
                keys.idx: torch.tensor([k]),
                keys.n_atoms: torch.tensor([n]),
                keys.Z: torch.full((n,), RUTHENIUM),
                keys.R: torch.from_numpy(structures.positions[atoms]),
                keys.cell: torch.from_numpy(structures.cells[[k]]),
                keys.pbc: torch.from_numpy(structures.pbc[k]),
                keys.energy: torch.tensor([train.energy[k] - n * zero_eV]),
                keys.forces: torch.from_numpy(train.forces[atoms]),
                keys.stress: torch.from_numpy(from_voigt(train.stress[[k]])),
            }
            for step in steps:
                frame = step(frame)
            found[k] = frame
        return found

    def _potential(self, model: dict[str, Any]) -> nn.Module:
        spk, width, cutoff_A = self._spk, model["channels"], model["cutoff_A"]
        basis, fade = spk.nn.GaussianRBF(model["n_radial"], cutoff_A), spk.nn.CosineCutoff(cutoff_A)
        return spk.model.NeuralNetworkPotential(
            representation=spk.representation.SchNet(width, model["blocks"], basis, fade, n_filters=width),
            input_modules=[spk.atomistic.Strain(), spk.atomistic.PairwiseDistances()],
            output_modules=[spk.atomistic.Atomwise(width, output_key="energy"), spk.atomistic.Forces(calc_stress=True)],
        )

    def turn(self) -> None:
        """A step for each batch."""
        self._take(self._batches)

    def inputs(self, batches: Batches) -> Iterator[dict[str, Tensor]]:
        """The batches as its loader hands them out."""
        return iter(self._spk.data.AtomsLoader(self._frames, batch_sampler=[batch.tolist() for batch in batches]))

    def _take(self, batches: Batches) -> None:
        for inputs in self.inputs(batches):
            targets = {output.name: inputs[output.name] for output in self._outputs}
            found = self.model(inputs)
            loss = sum((output.calculate_loss(found, targets) for output in self._outputs), torch.zeros(()))
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()


def rehearsal(entry: Entry, dataset: Dataset) -> Rehearsal:
    """The fit of an entry, ready for its steps."""
    return Rehearsal(FitInput(dataset, Path(), entry.settings, plain=entry.plain))


@dataclass(frozen=True)
class Turn:
    """What one turn took, and the largest memory of the process so far in bytes, everything included."""

    times: Times
    peak_bytes: float


class Worker:
    """Takes turns in a new process, with one thread.

    Args:
        entry: whose turns.
        data: name or file of the data set.
        batches: of a turn; indices in the training part.

    Raises:
        ImportError: SchNetPack cannot be imported.
    """

    def __init__(self, entry: Entry, data: str, batches: Batches) -> None:
        # Spawned: a forked child would begin with the memory of its parent.
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        with _environment({"OMP_NUM_THREADS": "1", **(KEPT if entry.keeps_memory else {})}):
            started = self._pool.submit(_Inside.prepare, entry, data, batches)
        try:
            started.result()
        except BaseException:
            self.close()
            raise

    def turn(self) -> Turn:
        """A step for each batch."""
        return self._pool.submit(_Inside.turn).result()

    def epoch(self) -> Turn:
        """A whole epoch of a fit of this package, validation included."""
        return self._pool.submit(_Inside.epoch).result()

    def close(self) -> None:
        """Ends the process."""
        self._pool.shutdown()


class _Inside:
    """What a worker's process does."""

    steps: ClassVar[Any] = None

    @staticmethod
    def prepare(entry: Entry, data: str, batches: Batches) -> None:
        torch.set_num_threads(1)
        _Inside.steps = (SchNetPackSteps if entry.peer else OwnSteps)(entry, read_dataset(data), batches)

    @staticmethod
    def turn() -> Turn:
        return _Inside._measured(_Inside.steps.turn)

    @staticmethod
    def epoch() -> Turn:
        return _Inside._measured(_Inside.steps.rehearsal.trainer.run_epoch)

    @staticmethod
    def _measured(work: Callable[[], object]) -> Turn:
        times = timed(work)
        return Turn(times, resident_bytes(peak=True))


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Variables for processes that start meanwhile."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
