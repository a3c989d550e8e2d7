"""What an epoch will take, measured before a fit, by the steps of that fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ru_calc.dataset import split_by_group
from ru_calc.devices import timed
from ru_calc.fit.run import FitInput, start_trainer
from ru_calc.fit.tracking import ErrorSums
from ru_calc.fit.trainer import young_garbage

WARM_UP = 2


class Rehearsal:
    """Steps of a fit on batches of its training frames; nothing is written, and the fit that follows starts anew.

    Args:
        job: the fit.

    Attributes:
        split: frames of each part, as indices in the data set.
        trainer: before its first epoch; `take` moves its weights.
        batches: of the first epoch, as indices in the training part.
    """

    def __init__(self, job: FitInput) -> None:
        self.split = split_by_group(job.dataset, job.settings.split, job.settings.seed_of_split)
        torch.manual_seed(job.settings.seed)
        self.trainer = start_trainer(job, self.split, lambda line: None)
        self.batches = self.trainer.train.batches(job.settings, 0)
        self._weights = job.settings.weights(1.0)

    def draw(self, count: int) -> list[np.ndarray]:
        """So many batches at random, always the same, each at most once."""
        order = np.random.default_rng(0).permutation(len(self.batches))
        return [self.batches[k] for k in order[:count]]

    def take(self, batches: Sequence[np.ndarray]) -> None:
        """One step of the optimiser for each batch, with the final weights of the loss."""
        self.trainer.potential.train()
        with young_garbage():
            for frames in batches:
                self.trainer.step(frames, self._weights, ErrorSums(), 0.0, last_of_step=True)


def epoch_cpu_s(job: FitInput, batches: int = 40) -> float:
    """CPU seconds of an epoch: training batches are timed, and a validation frame counts half of a training frame.

    Args:
        batches: how many are timed, drawn at random.
    """
    rehearsal = Rehearsal(job)
    chosen = rehearsal.draw(WARM_UP + batches)
    rehearsal.take(chosen[:WARM_UP])
    counted = chosen[WARM_UP:] or chosen
    each = timed(lambda: rehearsal.take(counted)).cpu_s / len(counted)
    share = len(rehearsal.split["validation"]) / len(rehearsal.split["train"])
    return each * len(rehearsal.batches) * (1 + 0.5 * share)
