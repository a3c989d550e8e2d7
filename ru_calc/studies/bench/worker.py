"""Steps of training in a process of their own, so that memory and environment are their own too."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from ru_calc.devices import Times, timed
from ru_calc.studies.bench.race import resident_bytes


class Worker:
    """Calls methods of an object in a new process, with one thread.

    Args:
        make: makes the object there; it and its arguments are pickled.
        environment: variables of that process.

    Raises:
        ImportError: `make` needs a package that cannot be imported.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any, environment: dict[str, str] | None = None) -> None:
        # Spawned: a forked child would start with the memory of its parent.
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        with _environment({"OMP_NUM_THREADS": "1", **(environment or {})}):
            started = self._pool.submit(_prepare, make, arguments)
        try:
            started.result()
        except BaseException:
            self.close()
            raise

    def timed(self, method: str) -> Times:
        """Times of one call, taken in the process."""
        return self._pool.submit(_timed, method).result()

    def peak_bytes(self) -> float:
        """The largest memory of the process so far, data and libraries included; 0 where the system does not tell."""
        return self._pool.submit(resident_bytes, peak=True).result()

    def close(self) -> None:
        """Ends the process."""
        self._pool.shutdown()


_made: list[Any] = []  # the object, in the process


def _prepare(make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    _made.append(make(*arguments))


def _timed(method: str) -> Times:
    return timed(getattr(_made[0], method))


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
