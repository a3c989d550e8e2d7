"""Several processes that make one fit together, as `torchrun -m ru_calc fit …` starts them.

Each process has the data and the network, and takes a part of every batch.  Gradients are added up before a step, so
all have the same weights all the time, which are those of a fit in one process to rounding.  The main process writes
the run folder; the others write nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ru_calc.errors import RuCalcError

T = TypeVar("T")
PATIENCE = timedelta(days=1)  # while the main process reads data or reports; a process that ends is noticed at once


class Team:
    """The processes of a fit, of which this is number `rank` of `size`; alone there is nothing to exchange."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def part(self, work: np.ndarray) -> np.ndarray:
        """Which frames of a batch are this process's own, in order.

        Args:
            work: (f,) what each frame costs; the most expensive are dealt out first, to the process with least work.
        """
        if self.size == 1:
            return np.arange(len(work))
        loads, own = np.zeros(self.size), []
        for k in np.argsort(-work, kind="stable").tolist():
            to = int(loads.argmin())
            loads[to] += work[k]
            if to == self.rank:
                own.append(k)
        return np.sort(np.array(own, dtype=np.int64))

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes."""
        if self.size > 1:
            with _together():
                for tensor in tensors:
                    dist.all_reduce(tensor)

    def totals(self, values: Sequence[float]) -> list[float]:
        """The sum of each number over the processes."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        self.add_up([tensor])
        return tensor.tolist()

    def of_main(self, value: T | None) -> T:
        """The value of the main process; those of the others do not count."""
        if self.size > 1:
            held = [value]
            with _together():
                dist.broadcast_object_list(held, device=torch.device("cpu"))
            value = held[0]
        return value  # type: ignore[return-value]


ALONE = Team()


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as problem:
        raise RuCalcError(
            "another process of the fit has ended; its own message says why, and what is done so far is kept"
        ) from problem


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def device_of_process(device: str) -> str:
    """`cuda` is another GPU for each process of a machine."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if launched() and device.startswith("cuda") else device


@contextmanager
def team_of(device: str) -> Iterator[Team]:
    """The processes that torchrun started, for as long as they work together; otherwise this one alone."""
    if not launched():
        yield ALONE
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)
    try:
        yield Team(dist.get_rank(), dist.get_world_size())
        dist.barrier()
        # A thread of gloo that drops its last work after Python has begun to end would abort (torch 2.13).
        time.sleep(0.5)
    finally:
        dist.destroy_process_group()
