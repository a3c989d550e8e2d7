"""The time of an epoch, estimated from some of its steps."""

from __future__ import annotations

import numpy as np
import torch

from ru_calc.dataset import split_by_group
from ru_calc.devices import timed
from ru_calc.fit.run import FitInput, start_trainer
from ru_calc.fit.tracking import ErrorSums
from ru_calc.fit.trainer import epoch_batches, young_garbage

WARM_UP = 2


def epoch_cpu_s(job: FitInput, batches: int = 40) -> float:
    """CPU seconds of an epoch, estimated from training batches; a validation frame counts as half a training frame.

    Nothing is written, and the fit itself is not affected.

    Args:
        batches: number that is timed, drawn at random.
    """
    split = split_by_group(job.dataset, job.settings.split, job.settings.seed_of_split)
    torch.manual_seed(job.settings.seed)
    trainer = start_trainer(job, [split], lambda line: None)
    every, weights = epoch_batches(trainer.levels, job.settings, 0), job.settings.weights(1.0)
    order = np.random.default_rng(0).permutation(len(every))[: WARM_UP + batches]

    def take(numbers: np.ndarray) -> None:
        with young_garbage():
            for number in numbers:
                trainer.step(every[number], weights, ErrorSums(), 0.0, last_of_step=True)

    trainer.potential.train()
    take(order[:WARM_UP])
    counted = order[WARM_UP:] if len(order) > WARM_UP else order
    each = timed(lambda: take(counted)).cpu_s / len(counted)
    return each * len(every) * (1 + 0.5 * len(split["validation"]) / len(split["train"]))
