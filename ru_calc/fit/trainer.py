"""The training loop: epochs of batches, averaged weights, validation, and a state from which it resumes exactly."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ru_calc import kernels
from ru_calc.errors import RuCalcError, SettingsError
from ru_calc.fit.batches import PackedFrames
from ru_calc.fit.flat import flatten
from ru_calc.fit.levels import Level, copies, parameters_of
from ru_calc.fit.losses import label_weights, loss_terms
from ru_calc.fit.settings import FitSettings
from ru_calc.fit.state import Progress, read_state, trained, write_state
from ru_calc.fit.team import ALONE, Team
from ru_calc.fit.tracking import ErrorSums
from ru_calc.potentials import Potential
from ru_calc.potentials.derivatives import differentiate
from ru_calc.predictor import Prediction

Report = Callable[[int], None]
LevelBatch = tuple[int, np.ndarray]  # number of the level, indices of its frames
TIMES = ("seconds", "cpu_seconds")  # what differs between equal fits
ABSURD_LOSS = 1e12  # beyond any start: the weights are lost, though still finite


class Trainer:
    """Optimises the potential of one level of theory, or of several that share weights.

    Args:
        levels: their networks and frames; validation is on the first, which is the one to predict.
        settings: of the fit.
        team: the processes that fit together.

    Raises:
        SettingsError: several processes are to fit a family that is not conservative.
    """

    def __init__(self, levels: Sequence[Level], settings: FitSettings, team: Team = ALONE) -> None:
        self.levels, self.settings, self.progress, self.team = levels, settings, Progress(), team
        potentials = [level.potential for level in levels]
        self._leaves = [list(potential.parameters()) for potential in potentials]
        self.compiled = levels[0].train.device.type == "cpu" and kernels.fastest() is not None
        self.averages = copies(potentials, settings.own)
        groups = part_rates(potentials, settings)
        averages = [group["params"] for group in part_rates(self.averages, settings)]
        if team.size > 1 and not potentials[0].conservative:
            raise SettingsError(
                f"family {settings.family} is not conservative; only fits of conservative ones run in several processes"
            )
        if potentials[0].conservative:  # other potentials have weights without a gradient, which must stay apart
            for group in groups:
                group["params"] = [flatten(group["params"])]
            averages = [[flatten(members)] for members in averages]
        for averaged in self.averages:
            averaged.requires_grad_(False)
        self.optimizer = optimizer_of(groups, settings)
        self._buffers = list(zip(self.averaged.buffers(), self.potential.buffers(), strict=True))
        self._averages = [member.detach() for members in averages for member in members]

    @property
    def potential(self) -> Potential:
        """The potential of the first level."""
        return self.levels[0].potential

    @property
    def averaged(self) -> Potential:
        """The same with averaged weights."""
        return self.averages[0]

    @property
    def finished(self) -> bool:
        """See `Progress.finished`."""
        return self.progress.finished(self.settings)

    def run_epoch(self, report: Report = lambda batches: None) -> bool:
        """One pass over the training frames, then validation; True if the validation loss is the best so far."""
        start, cpu, epoch = time.perf_counter(), time.process_time(), self.progress.epoch
        seed_epoch(self.settings, epoch)
        weights = self.settings.weights(epoch / self.settings.epochs)
        batches = epoch_batches(self.levels, self.settings, epoch)
        sums = ErrorSums()
        for level in self.levels:
            level.potential.train()
        with young_garbage():
            for k, batch in enumerate(batches):
                last_of_step = (epoch * len(batches) + k + 1) % self.settings.accumulate == 0
                self.step(batch, weights, sums, (epoch + k / len(batches)) / self.settings.epochs, last_of_step)
                report(1)
            self._keep_gradients()
            loss, errors = self.validate()
        return self.progress.add(
            {
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "seconds": time.perf_counter() - start,
                "cpu_seconds": time.process_time() - cpu,
                **sums.over(self.team).errors("train_"),
                **errors,
                "validation_loss": loss,
                **{f"{name}_weight": value for name, value in weights.items()},
            },
            self.settings.keep,
        )

    def step(
        self, of_level: LevelBatch, weights: dict[str, float], sums: ErrorSums, progress: float, last_of_step: bool
    ) -> None:
        """Adds the gradient of one batch, and updates the weights if it is the last of its step.

        Args:
            of_level: number of the level, and indices in its training set.
            weights: of the terms of the loss.
            sums: to which the errors are added, if the level is the first.
            progress: fraction of all epochs that is done, for the learning rate.
        """
        number, frames = of_level
        level = self.levels[number]
        want = [name for name in ("energy", "forces", "stress") if weights[name] > 0]
        own, loss = self._part(level.train, frames), torch.zeros(())
        if len(own):
            batch, targets = level.train.gather(own)
            prediction = differentiate(level.potential, batch, want, training=True, compiled=self.compiled)
            whole = self._whole(level.train, frames)
            terms = loss_terms(self.settings, prediction, targets, level.statistics, whole)
            loss = sum((weights[name] * term for name, term in terms.items()), loss)
            if not number:
                sums.add(prediction, targets)
        (of_all,) = self.team.totals([float(loss.detach())])
        if not math.isfinite(of_all):
            raise self._diverged(of_all, f", frames {frames[:5].tolist()} …", " or look at those frames")
        if len(own):
            # Without `inputs`, the geometry would get a gradient too.
            (loss / self.settings.accumulate).backward(inputs=self._leaves[number])
        if last_of_step:
            self._update(progress)

    def _part(self, frames: PackedFrames, batch: np.ndarray) -> np.ndarray:
        """This process's frames of a batch."""
        return batch[self.team.part(frames.counts[batch] + frames.pair_counts[batch])]

    def _whole(self, frames: PackedFrames, batch: np.ndarray) -> dict[str, torch.Tensor] | None:
        return None if self.team.size == 1 else label_weights(frames.targets(batch))

    def _keep_gradients(self) -> None:
        """Between two epochs the main process holds the gradients of a step that is not complete."""
        if self.team.size > 1:
            gradients = [parameter.grad for parameter in trained(self.optimizer) if parameter.grad is not None]
            self.team.add_up(gradients)
            for gradient in gradients if not self.team.main else []:
                gradient.zero_()

    def _update(self, progress: float) -> None:
        self.team.add_up([parameter.grad for parameter in trained(self.optimizer) if parameter.grad is not None])
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
        weights, total, frames_done = self.settings.weights(1.0), 0.0, 0
        if not self.settings.ema:
            self._average(0.0)
        sums, level = ErrorSums(), self.levels[0]
        self.averaged.eval()
        for frames in level.validation.batches(self.settings):
            frames_done += len(frames)
            own = self._part(level.validation, frames)
            if not len(own):
                continue
            batch, targets = level.validation.gather(own)
            found = differentiate(self.averaged, batch, self.settings.labels, compiled=self.compiled)
            prediction = Prediction(**{k: None if v is None else v.detach() for k, v in vars(found).items()})
            whole = self._whole(level.validation, frames)
            terms = loss_terms(self.settings, prediction, targets, level.statistics, whole)
            total += len(frames) * float(sum(weights[name] * term for name, term in terms.items()))
            sums.add(prediction, targets)
        (total,) = self.team.totals([total])
        loss = total / max(frames_done, 1)
        if not loss < ABSURD_LOSS:
            raise self._diverged(loss, ", on the validation frames")
        return loss, sums.over(self.team).errors("validation_")

    def _diverged(self, loss: float, where: str, or_else: str = "") -> RuCalcError:
        epoch = self.progress.epoch
        kept = f"the {epoch} epochs before are kept" if epoch else "no epoch is kept"
        return RuCalcError(
            f"the loss is {loss:.4g} in epoch {epoch + 1}{where}: the fit has diverged, and {kept}; start anew in "
            f"another folder with a lower learning rate (--rate){or_else}"
        )

    def save_state(self, path: Path) -> None:
        """Writes everything that the next epoch depends on to one file."""
        weights = {name: network.state_dict() for name, network in self._networks().items()}
        write_state(path, self.progress, weights, self.optimizer)

    def load_state(self, path: Path) -> None:
        """Restores the state that `save_state` wrote.

        Raises:
            RuCalcError: the file is missing, damaged, or of another network.
        """
        state = read_state(path, self.levels[0].train.device)
        self.progress = state.progress
        for name, network in self._networks().items():
            network.load_state_dict(state.weights(name))
        state.restore(self.optimizer)

    def _networks(self) -> dict[str, Potential]:
        """Of all levels, by their names in the state."""
        found: dict[str, Potential] = {}
        for k, (level, averaged) in enumerate(zip(self.levels, self.averages, strict=True)):
            number = f"_{k + 1}" if k else ""
            found |= {f"model{number}": level.potential, f"average{number}": averaged}
        return found


def epoch_batches(levels: Sequence[Level], settings: FitSettings, epoch: int) -> list[LevelBatch]:
    """The batches of an epoch, each of one level: `passes` of the settings over its frames, in random order."""
    passes = settings.passes or (1.0,) * len(levels)
    found: list[LevelBatch] = []
    for number, (level, count) in enumerate(zip(levels, passes, strict=True)):
        for turn in range(math.ceil(count)):
            batches = level.train.batches(settings, epoch, turn)
            share = min(count - turn, 1.0)
            found += [(number, batch) for batch in batches[: max(round(share * len(batches)), 1)]]
    if len(levels) == 1 and passes == (1.0,):
        return found
    rng = np.random.default_rng([settings.seed, epoch, len(levels)])
    return [found[k] for k in rng.permutation(len(found))]


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


def part_rates(networks: Sequence[nn.Module], settings: FitSettings) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: one for each learning rate of embedding, interaction blocks and readout."""
    parts: dict[str, list[nn.Parameter]] = {"embedding": [], "blocks": [], "readout": []}
    for name, parameter in parameters_of(networks):
        head = name.split(".")[0]
        parts[head if head in parts else "readout"].append(parameter)
    rates = {"embedding": settings.rate_embedding, "blocks": settings.rate_blocks, "readout": settings.rate_readout}
    groups: dict[float, list[nn.Parameter]] = {}
    for part, members in parts.items():
        groups.setdefault(rates[part], []).extend(members)
    return [{"params": members, "lr": rate, "peak_lr": rate} for rate, members in groups.items() if members]
