"""Steps of training to be timed: this package's fit on its several paths, and SchNetPack's model.

Each is made with the data set and the batches of a turn, warms up, and then takes a turn as often as asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ru_calc.dataset import Dataset, read_dataset, split_by_group
from ru_calc.fit.run import FitInput
from ru_calc.fit.settings import FitSettings, with_changes
from ru_calc.fit.timing import WARM_UP, FitSteps
from ru_calc.studies.bench.schnetpack_model import potential, schnetpack
from ru_calc.units import RUTHENIUM, from_voigt

Batches = Sequence[np.ndarray]
LOSS_WEIGHTS = {"energy": 0.01, "forces": 0.99, "stress": 1.0}


@dataclass(frozen=True)
class Entry:
    """One row of the table, before it is timed.

    Attributes:
        network: name in the table.
        path: how a step is computed.
        changes: of the fit's default settings.
        plain: see `Trainer`.
        peer: SchNetPack takes the steps.
        keeps_memory: the allocator of glibc keeps freed memory.
    """

    network: str
    path: str
    changes: dict[str, Any] = field(default_factory=dict, hash=False)
    plain: bool = False
    peer: bool = False
    keeps_memory: bool = False

    @property
    def settings(self) -> FitSettings:
        """Settings of the fit that the steps belong to."""
        return with_changes("md", self.changes)


class OwnSteps:
    """The steps of `ru-calc fit`: gather, forward, loss, backward, clip, optimiser, average, sums of errors."""

    def __init__(self, entry: Entry, dataset: Dataset, batches: Batches) -> None:
        self.rehearsal, self._batches = rehearsal(entry, dataset), batches
        self.rehearsal.take(batches[:WARM_UP])

    def turn(self) -> None:
        """A step for each batch."""
        self.rehearsal.take(self._batches)

    def epoch(self) -> None:
        """A whole epoch, validation included."""
        self.rehearsal.trainer.run_epoch()


class SchNetPackSteps:
    """A step as SchNetPack's `AtomisticTask` takes it, without Lightning around it.

    Stock are the model (see `schnetpack_model`), the loss (`ModelOutput`, squared errors), the neighbor list, with each
    pair both ways, and the collating of frames, each a dictionary of tensors that is ready in memory.  The optimiser is
    AdamW; gradients are not clipped and weights not averaged.
    """

    def __init__(self, entry: Entry, dataset: Dataset, batches: Batches) -> None:
        self._spk, self._batches = schnetpack(), batches
        settings = entry.settings
        split = split_by_group(dataset, settings.split, settings.seed_of_split)
        self._frames = self._prepared(dataset.select(split["train"]), settings.model["cutoff_A"])
        self.model = potential(settings.model, stress=True).train()
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


def rehearsal(entry: Entry, dataset: Dataset) -> FitSteps:
    """The fit of an entry, ready for its steps."""
    return FitSteps(FitInput(dataset, Path(), entry.settings, plain=entry.plain))


def steps(entry: Entry, data: str, batches: Batches) -> OwnSteps | SchNetPackSteps:
    """The steps of an entry on a data set, ready for a turn.

    Raises:
        ImportError: SchNetPack cannot be imported.
    """
    return (SchNetPackSteps if entry.peer else OwnSteps)(entry, read_dataset(data), batches)
