"""What an epoch will take, measured before a fit."""

from __future__ import annotations

import torch

from ru_calc.dataset import split_by_group
from ru_calc.fit.run import FitInput, start_trainer
from ru_calc.fit.tracking import ErrorSums
from ru_calc.speed import timed

WARM_UP = 2


def epoch_cpu_s(job: FitInput, batches: int = 40) -> float:
    """CPU seconds of an epoch: training batches are timed, and a validation frame counts half of a training frame.

    Nothing is written; the fit that follows starts anew.

    Args:
        batches: how many are timed, drawn at random.
    """
    split = split_by_group(job.dataset, job.settings.split, job.settings.seed)
    torch.manual_seed(job.settings.seed)
    trainer = start_trainer(job, split, lambda line: None)
    all_batches = trainer.train.batches(job.settings, 0)
    chosen = all_batches[: WARM_UP + batches]
    weights = job.settings.weights(1.0)
    trainer.potential.train()

    def steps(first: int, last: int) -> None:
        for frames in chosen[first:last]:
            trainer.step(frames, weights, ErrorSums(), 0.0, last_of_step=True)

    steps(0, WARM_UP)
    counted = len(chosen) - WARM_UP if len(chosen) > WARM_UP else len(chosen)
    each = timed(lambda: steps(len(chosen) - counted, len(chosen))).cpu_s / counted
    share = len(split["validation"]) / len(split["train"])
    return each * len(all_batches) * (1 + 0.5 * share)
