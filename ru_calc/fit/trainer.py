"""The training loop: epochs of batches, averaged weights, validation, and a state from which it resumes exactly."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ru_calc import kernels
from ru_calc.errors import RuCalcError
from ru_calc.fit.batches import PackedFrames
from ru_calc.fit.flat import flatten
from ru_calc.fit.losses import LabelStatistics, loss_terms
from ru_calc.fit.settings import FitSettings
from ru_calc.fit.state import Progress, read_state, trained, write_state
from ru_calc.fit.tracking import ErrorSums
from ru_calc.potentials import Potential, build_potential
from ru_calc.potentials.derivatives import differentiate
from ru_calc.predictor import Prediction

Report = Callable[[int], None]
ABSURD_LOSS = 1e12  # beyond any start: the weights are lost, though still finite


class Trainer:
    """Optimises one potential.

    Args:
        potential: the module, in the dtype and on the device of the frames.
        settings: of the fit.
        train, validation: frames to fit and to validate on.
        statistics: of the training labels.
    """

    def __init__(
        self,
        potential: Potential,
        settings: FitSettings,
        train: PackedFrames,
        validation: PackedFrames,
        statistics: LabelStatistics,
    ) -> None:
        self.potential, self.settings, self.train, self.validation = potential, settings, train, validation
        self._leaves = list(potential.parameters())
        self.statistics, self.progress = statistics, Progress()
        self.compiled = torch.device(train.device).type == "cpu" and kernels.fastest() is not None
        self.averaged = build_potential(potential.family, potential.hyperparameters())
        self.averaged.to(device=train.device, dtype=train.dtype).load_state_dict(potential.state_dict())
        groups = part_rates(potential, settings)
        averages = [group["params"] for group in part_rates(self.averaged, settings)]
        if potential.conservative:  # other potentials have weights without a gradient, which must stay apart
            for group in groups:
                group["params"] = [flatten(group["params"])]
            averages = [[flatten(members)] for members in averages]
        self.averaged.requires_grad_(False)
        self.optimizer = optimizer_of(groups, settings)
        self._buffers = list(zip(self.averaged.buffers(), potential.buffers(), strict=True))
        self._averages = [member.detach() for members in averages for member in members]

    @property
    def finished(self) -> bool:
        """See `Progress.finished`."""
        return self.progress.finished(self.settings)

    def run_epoch(self, report: Report = lambda batches: None) -> bool:
        """One pass over the training frames, then validation; True if the validation loss is the best so far."""
        start, cpu, epoch = time.perf_counter(), time.process_time(), self.progress.epoch
        seed_epoch(self.settings, epoch)
        weights = self.settings.weights(epoch / self.settings.epochs)
        batches = self.train.batches(self.settings, epoch)
        sums = ErrorSums()
        self.potential.train()
        with young_garbage():
            for k, frames in enumerate(batches):
                last_of_step = (epoch * len(batches) + k + 1) % self.settings.accumulate == 0
                self.step(frames, weights, sums, (epoch + k / len(batches)) / self.settings.epochs, last_of_step)
                report(1)
            loss, errors = self.validate()
        return self.progress.add(
            {
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "seconds": time.perf_counter() - start,
                "cpu_seconds": time.process_time() - cpu,
                **sums.errors("train_"),
                **errors,
                "validation_loss": loss,
                **{f"{name}_weight": value for name, value in weights.items()},
            }
        )

    def step(
        self, frames: Any, weights: dict[str, float], sums: ErrorSums, progress: float, last_of_step: bool
    ) -> None:
        """Adds the gradient of one batch, and updates the weights if it is the last of its step.

        Args:
            frames: indices in the training set.
            weights: of the terms of the loss.
            sums: to which the errors are added.
            progress: fraction of all epochs that is done, for the learning rate.
        """
        batch, targets = self.train.gather(frames)
        want = [name for name in ("energy", "forces", "stress") if weights[name] > 0]
        prediction = differentiate(self.potential, batch, want, training=True, compiled=self.compiled)
        terms = loss_terms(self.settings, prediction, targets, self.statistics)
        loss = sum((weights[name] * term for name, term in terms.items()), torch.zeros(()))
        if not torch.isfinite(loss):
            raise self._diverged(float(loss.detach()), f", frames {frames[:5].tolist()} …", " or look at those frames")
        # Without `inputs`, the geometry would get a gradient too.
        (loss / self.settings.accumulate).backward(inputs=self._leaves)
        sums.add(prediction, targets)
        if last_of_step:
            self._update(progress)

    def _update(self, progress: float) -> None:
        move(self.optimizer, progress, self.settings)
        # Early averages have a short memory, or the random first weights would stay in them.
        steps = float(max(moments["step"] for moments in self.optimizer.state.values()))
        self._average(min(self.settings.ema, steps / (steps + 10)))

    def _average(self, decay: float) -> None:
        torch._foreach_lerp_(self._averages, [value.detach() for value in trained(self.optimizer)], 1 - decay)
        for average, value in self._buffers:
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    def validate(self) -> tuple[float, dict[str, float]]:
        """Loss, with the final weights of its terms, and errors of the averaged weights on the validation set."""
        weights, totals, frames_done = self.settings.weights(1.0), 0.0, 0
        if not self.settings.ema:
            self._average(0.0)
        sums = ErrorSums()
        for _, targets, prediction in predictions(self.averaged, self.validation, self.settings, self.compiled):
            terms = loss_terms(self.settings, prediction, targets, self.statistics)
            totals += len(targets.counts) * float(sum(weights[name] * term for name, term in terms.items()))
            frames_done += len(targets.counts)
            sums.add(prediction, targets)
        loss = totals / max(frames_done, 1)
        if not loss < ABSURD_LOSS:
            raise self._diverged(loss, ", on the validation frames")
        return loss, sums.errors("validation_")

    def _diverged(self, loss: float, where: str, or_else: str = "") -> RuCalcError:
        epoch = self.progress.epoch
        kept = f"the {epoch} epochs before are kept" if epoch else "no epoch is kept"
        return RuCalcError(
            f"the loss is {loss:.4g} in epoch {epoch + 1}{where}: the fit has diverged, and {kept}; start anew in "
            f"another folder with a lower learning rate (--rate){or_else}"
        )

    def save_state(self, path: Path) -> None:
        """Writes everything that the next epoch depends on to one file."""
        weights = {"model": self.potential.state_dict(), "average": self.averaged.state_dict()}
        write_state(path, self.progress, weights, self.optimizer)

    def load_state(self, path: Path) -> None:
        """Restores the state that `save_state` wrote.

        Raises:
            RuCalcError: the file is missing, damaged, or of another network.
        """
        state = read_state(path, self.train.device)
        self.progress = state.progress
        self.potential.load_state_dict(state.weights("model"))
        self.averaged.load_state_dict(state.weights("average"))
        state.restore(self.optimizer)


@contextmanager
def young_garbage() -> Iterator[None]:
    """Limits garbage collection to objects made meanwhile; all of torch would be searched every few batches."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def seed_epoch(settings: FitSettings, epoch: int) -> None:
    """Makes what is random in an epoch (dropout) depend on the seed and the epoch alone."""
    torch.manual_seed(settings.seed * 1_000_003 + epoch)


def optimizer_of(groups: list[dict[str, Any]], settings: FitSettings) -> torch.optim.AdamW:
    """AdamW over the parameter groups of `part_rates`."""
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)


def move(optimizer: torch.optim.Optimizer, progress: float, settings: FitSettings) -> None:
    """One step of the optimiser with scheduled rates and clipped gradients, which are set to zero afterwards.

    Args:
        progress: fraction of all epochs that is done.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * rate_factor(progress, settings)
    clip(trained(optimizer), settings.clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)  # they may be views of one vector


def clip(parameters: Sequence[nn.Parameter], most: float) -> None:
    """Scales the gradients down so that their joint norm is at most `most`."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = [torch.linalg.vector_norm(gradient) for gradient in gradients]
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    if norm > most:
        torch._foreach_mul_(gradients, most / norm)


def rate_factor(progress: float, settings: FitSettings) -> float:
    """Learning rate as a fraction of its peak: linear warm-up, then a cosine to `final_rate`."""
    if progress < settings.warmup:
        return max(progress / settings.warmup, 1e-3)
    x = (progress - settings.warmup) / (1 - settings.warmup)
    return settings.final_rate + (1 - settings.final_rate) * 0.5 * (1 + math.cos(math.pi * min(x, 1.0)))


def part_rates(network: nn.Module, settings: FitSettings) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: one for each learning rate of embedding, interaction blocks and readout."""
    parts: dict[str, list[nn.Parameter]] = {"embedding": [], "blocks": [], "readout": []}
    for name, parameter in network.named_parameters():
        head = name.split(".")[0]
        parts[head if head in parts else "readout"].append(parameter)
    rates = {"embedding": settings.rate_embedding, "blocks": settings.rate_blocks, "readout": settings.rate_readout}
    groups: dict[float, list[nn.Parameter]] = {}
    for part, members in parts.items():
        groups.setdefault(rates[part], []).extend(members)
    return [{"params": members, "lr": rate, "peak_lr": rate} for rate, members in groups.items() if members]


def predictions(potential: Potential, frames: PackedFrames, settings: FitSettings, compiled: bool = False) -> Any:
    """Yields (batch, targets, prediction) over a set in order, in evaluation mode; `compiled`: see `differentiate`."""
    potential.eval()
    for indices in frames.batches(settings):
        batch, targets = frames.gather(indices)
        result = differentiate(potential, batch, settings.labels, compiled=compiled)
        detached = {k: None if v is None else v.detach() for k, v in result.__dict__.items()}
        yield batch, targets, Prediction(**detached)
