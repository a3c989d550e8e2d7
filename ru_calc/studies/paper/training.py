"""The training loop for all networks of the table, with a state from which it resumes exactly.

It is not that of `ru_calc.fit.trainer`: these networks map rows of atoms to rows of targets and are no potentials, and
steps of accumulated batches count the batches since the start, however many an epoch has.  Schedule, optimiser, batches
and state are those of a fit.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ru_calc.dataset import Dataset
from ru_calc.errors import RuCalcError
from ru_calc.fit.batches import PackedFrames
from ru_calc.fit.settings import PRESETS, FitSettings
from ru_calc.fit.state import Progress, read_state, write_state
from ru_calc.fit.trainer import move, optimizer_of, part_rates, seed_epoch
from ru_calc.potentials.pairs import Pairs
from ru_calc.studies.paper.networks import Network, build_network
from ru_calc.studies.paper.settings import STEPWISE, PaperProtocol


class Part:
    """Frames of one part of the split with their inputs and targets.

    Args:
        dataset: the frames.
        inputs, targets: (n_atoms, …) for all atoms.
        cutoff_A: range of the graph's edges, Å.
    """

    def __init__(self, dataset: Dataset, inputs: np.ndarray, targets: np.ndarray, cutoff_A: float) -> None:
        self.frames = PackedFrames(dataset, cutoff_A)
        self.inputs, self.targets = (torch.from_numpy(np.asarray(x, dtype=np.float32)) for x in (inputs, targets))

    def batch(self, indices: np.ndarray, with_graph: bool) -> tuple[Tensor, Tensor, Pairs | None]:
        """Inputs, targets and, if asked for, pairs of these frames."""
        atoms = torch.from_numpy(self.frames.dataset.structures.atoms_of(indices))
        pairs = None
        if with_graph:
            graph, _ = self.frames.gather(indices)
            pairs = Pairs(len(atoms), graph.first, graph.second, graph.vectors)
        return self.inputs[atoms], self.targets[atoms], pairs


def schedule(family: str, protocol: PaperProtocol, outputs: int) -> FitSettings:
    """How a network is trained: SchNet by section 2.8 of the paper, the others by Adam at 1e-3."""
    epochs, batch_atoms, accumulate = protocol.lengths
    paper = replace(
        PRESETS["paper"], epochs=epochs, patience=epochs, batch_frames=0, batch_atoms=batch_atoms,
        accumulate=accumulate, split=protocol.split, seed=protocol.seed,
    )  # fmt: skip
    if family == "SchNet":
        return paper
    if family == STEPWISE:
        return replace(paper, accumulate=1)
    # AdamW without decay is Adam; these weights make the loss the mean over all targets.
    energy, forces = 1.0 / outputs, (outputs - 1.0) / outputs
    return replace(
        paper, accumulate=1, patience=protocol.patience, rate_embedding=1e-3, rate_blocks=1e-3, rate_readout=1e-3,
        weight_decay=0.0, warmup=0.0, final_rate=1.0, clip_norm=math.inf, energy_weight=(energy, energy),
        forces_weight=(forces, forces),
    )  # fmt: skip


class Training:
    """Trains one network of the table.

    Args:
        family: its row.
        protocol: the settings.
        train, validation: frames to fit and to validate on.
    """

    def __init__(self, family: str, protocol: PaperProtocol, train: Part, validation: Part) -> None:
        outputs = train.targets.shape[1]
        self.settings = schedule(family, protocol, outputs)
        self.train, self.validation, self.progress = train, validation, Progress()
        torch.manual_seed(protocol.seed)
        self.network = build_network(family, train.inputs.shape[1], outputs, protocol.cutoff_A)
        self.best = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.optimizer = optimizer_of(part_rates([self.network], self.settings), self.settings)
        self.accumulate = min(self.settings.accumulate, len(train.frames.batches(self.settings, 0)))
        self.counts = Counts()

    @property
    def finished(self) -> bool:
        """See `Progress.finished`."""
        return self.progress.finished(self.settings)

    def run_epoch(self) -> None:
        """One pass over the training frames, then validation."""
        start, epoch = time.process_time(), self.progress.epoch
        seed_epoch(self.settings, epoch)
        batches = self.train.frames.batches(self.settings, epoch)
        weights = self.settings.weights(epoch / self.settings.epochs)
        self.network.train()
        losses = [
            self._step(indices, weights, (epoch + k / len(batches)) / self.settings.epochs)
            for k, indices in enumerate(batches)
        ]
        # The weights of energy and forces change over the epochs: the final ones decide which epoch is the best.
        predicted = predict(self.network, self.validation, self.settings)
        loss = float(weighted_loss(predicted, self.validation.targets, self.settings.weights(1.0)))
        self.counts.cpu_s += time.process_time() - start
        row = {"train_loss": float(np.mean(losses)), "validation_loss": loss, **asdict(self.counts)}
        if self.progress.add(row):
            self.best = {name: value.clone() for name, value in self.network.state_dict().items()}

    def _step(self, indices: np.ndarray, weights: dict[str, float], progress: float) -> float:
        inputs, targets, pairs = self.train.batch(indices, self.network.uses_graph)
        self.counts.batches += 1
        if len(inputs) < 2:
            return 0.0  # batch normalisation needs two rows
        loss = weighted_loss(self.network(inputs, pairs), targets, weights)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise RuCalcError(f"the loss is {value} in epoch {self.progress.epoch + 1}; look at the labels")
        (loss / self.accumulate).backward()
        if self.counts.batches % self.accumulate == 0:
            move(self.optimizer, progress, self.settings)
            self.counts.steps += 1
        return value

    def save(self, path: Path) -> None:
        """Writes everything that the next epoch depends on to one file."""
        write_state(path, self.progress, {"network": self.network.state_dict(), "best": self.best}, self.optimizer)

    def load(self, path: Path) -> None:
        """Restores the state that `save` wrote.

        Raises:
            RuCalcError: the file is missing, damaged, or of another network.
        """
        state = read_state(path)
        self.progress, self.best = state.progress, state.weights("best")
        self.network.load_state_dict(state.weights("network"))
        state.restore(self.optimizer)
        last = self.progress.rows[-1]
        self.counts = Counts(int(last["batches"]), int(last["steps"]), last["cpu_s"])


@dataclass
class Counts:
    """Since the start: batches, steps of the optimiser, and CPU time in s."""

    batches: int = 0
    steps: int = 0
    cpu_s: float = 0.0


def weighted_loss(predicted: Tensor, targets: Tensor, weights: dict[str, float]) -> Tensor:
    """Mean squared error of the energies and that of the force components, each times its weight."""
    squares = (predicted - targets).square()
    return weights["energy"] * squares[:, 0].mean() + weights["forces"] * squares[:, 1:].mean()


def predict(network: Network, part: Part, settings: FitSettings) -> Tensor:
    """(n_atoms, outputs) of all frames in order, in evaluation mode."""
    network.eval()
    with torch.no_grad():
        found = []
        for indices in part.frames.batches(settings):
            inputs, _, pairs = part.batch(indices, network.uses_graph)
            found.append(network(inputs, pairs))
    return torch.cat(found)
