"""Where attempts are computed: processes here, or a cluster by Dask or Parsl.

Each is a `concurrent.futures.Executor`: a function that takes a task and returns a future outcome.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ru_calc.errors import SettingsError, reason
from ru_calc.label.settings import LabelSettings
from ru_calc.label.tasks import Outcome, Task
from ru_calc.label.worker import Worker, attempt_once

Submit = Callable[[Task], "Future[Outcome]"]


def executor(settings: LabelSettings) -> AbstractContextManager[Submit]:
    """Takes tasks while it is open; at the end, what is still running is dropped.

    Raises:
        SettingsError: the cluster cannot be reached, or its package is not installed.
    """
    if settings.dask:
        return dask_cluster(settings.dask)
    return parsl_cluster(settings.parsl) if settings.parsl else processes(settings.at_a_time)


@contextmanager
def processes(count: int) -> Iterator[Submit]:
    """Processes on this machine, each behind a thread that waits for it."""
    workers = [Worker() for _ in range(count)]
    idle: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def attempt(task: Task) -> Outcome:
        worker = idle.get()
        try:
            return worker.attempt(task)
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(count)
    try:
        yield lambda task: threads.submit(attempt, task)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.close()
        threads.shutdown()


@contextmanager
def dask_cluster(scheduler: str) -> Iterator[Submit]:
    """A running Dask cluster, by the address of its scheduler or by a scheduler file.

    Dask cannot end what its workers compute: after an interruption they first finish their frames.
    """
    try:
        from distributed import Client
    except ImportError as problem:
        raise SettingsError(f"Dask is not installed ({problem}): pip install 'ru-calc[dask]'") from problem
    where: dict[str, Any] = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    try:
        client = Client(**where, timeout="20s", set_as_default=False)
    except Exception as problem:  # among them OSError and ValueError
        raise SettingsError(f"the Dask scheduler {scheduler} cannot be reached ({reason(problem)[:200]})") from problem
    futures = client.get_executor(pure=False, retries=0)
    try:
        yield lambda task: futures.submit(attempt_once, task)
    finally:
        futures.shutdown(wait=False)
        client.close()


@contextmanager
def parsl_cluster(file: Path) -> Iterator[Submit]:
    """What the Parsl configuration `config` of a Python file describes."""
    try:
        from parsl import Config
        from parsl.concurrent import ParslPoolExecutor
    except ImportError as problem:
        raise SettingsError(f"Parsl is not installed ({problem}): pip install 'ru-calc[parsl]'") from problem
    # Parsl starts programs of its own by name, which lie beside this Python even where its environment is not active.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    try:
        config = runpy.run_path(str(file)).get("config")
    except Exception as problem:  # a user's file may fail in any way
        raise SettingsError(f"{file} cannot be run ({reason(problem)[:200]})") from problem
    if not isinstance(config, Config):
        raise SettingsError(f"{file} does not define config, a parsl.Config")
    try:
        futures = ParslPoolExecutor(config)
    except Exception as problem:  # whatever the site's batch system says
        raise SettingsError(f"Parsl cannot start {file} ({reason(problem)[:200]})") from problem
    try:
        yield lambda task: futures.submit(attempt_once, task)
    finally:
        futures.shutdown(wait=False)
