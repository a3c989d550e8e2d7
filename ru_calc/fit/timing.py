"""Steps of a fit for measurement, and the time of an epoch from them."""

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


class FitSteps:
    """Optimiser steps on training batches of a fit; nothing is written, and the fit itself is not affected.

    Args:
        job: the fit.

    Attributes:
        split: frames of each part, as indices in the data set.
        trainer: before its first epoch; `take` changes its weights.
        batches: of the first epoch, as indices in the training part.
    """

    def __init__(self, job: FitInput) -> None:
        self.split = split_by_group(job.dataset, job.settings.split, job.settings.seed_of_split)
        torch.manual_seed(job.settings.seed)
        self.trainer = start_trainer(job, self.split, lambda line: None)
        self.batches = self.trainer.train.batches(job.settings, 0)
        self._weights = job.settings.weights(1.0)

    def draw(self, count: int) -> list[np.ndarray]:
        """A random `count` of the batches, at most all, and always the same."""
        order = np.random.default_rng(0).permutation(len(self.batches))
        return [self.batches[k] for k in order[:count]]

    def take(self, batches: Sequence[np.ndarray]) -> None:
        """Takes an optimiser step on each batch, with the final weights of the loss."""
        self.trainer.potential.train()
        with young_garbage():
            for frames in batches:
                self.trainer.step(frames, self._weights, ErrorSums(), 0.0, last_of_step=True)


def epoch_cpu_s(job: FitInput, batches: int = 40) -> float:
    """CPU seconds of an epoch, estimated from training batches; a validation frame counts as half a training frame.

    Args:
        batches: number that is timed, drawn at random.
    """
    steps = FitSteps(job)
    chosen = steps.draw(WARM_UP + batches)
    steps.take(chosen[:WARM_UP])
    counted = chosen[WARM_UP:] or chosen
    each = timed(lambda: steps.take(counted)).cpu_s / len(counted)
    ratio = len(steps.split["validation"]) / len(steps.split["train"])
    return each * len(steps.batches) * (1 + 0.5 * ratio)
