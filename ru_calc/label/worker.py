"""A process that labels frames (`ru_calc.label.serve`), which may die at the cost of one attempt."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress

from ru_calc.label.tasks import Outcome, Task

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Worker:
    """The other end of a process, which is started when it is needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock, self._over = threading.Lock(), False
        self._errors = tempfile.TemporaryFile()
        self._folder = tempfile.TemporaryDirectory(prefix="ru-calc-label-", ignore_cleanup_errors=True)

    def attempt(self, task: Task) -> Outcome:
        """What the process returns, or that it was lost."""
        started = time.perf_counter()
        try:
            process = self._running(task.threads)
            assert process.stdin is not None and process.stdout is not None
            pickle.dump(task, process.stdin)
            process.stdin.flush()
            outcome = pickle.load(process.stdout)
            assert isinstance(outcome, Outcome)
            return outcome
        except (EOFError, BrokenPipeError, ValueError, pickle.UnpicklingError):
            return Outcome(reason=self._loss(), wall_s=round(time.perf_counter() - started, 2))

    def _running(self, threads: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._over:
                raise EOFError
            if self._process is None:
                self._errors.seek(0)
                self._errors.truncate()
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "ru_calc.label.serve", self._folder.name],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
                    env=os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)),
                    start_new_session=True,  # so that Ctrl-C does not reach it, and its programs can be killed with it
                )  # fmt: skip
            return self._process

    def _loss(self) -> str:
        """Why the process ended; the next attempt starts another one."""
        with self._lock:
            status = self._kill()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        cause = f"by signal {-status}" if status < 0 else f"with status {status}"
        memory = ", perhaps for lack of memory" if status == -signal.SIGKILL else ""
        return f"the worker ended {cause}{memory}{f' ({said[-200:]})' if said else ''}"

    def _kill(self) -> int:
        """Kills the process and the programs that it has started; its exit status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        status = process.poll()  # before it is killed here
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError, AttributeError):
                pipe.close()  # type: ignore[union-attr]
        return process.returncode if status is None else status

    def close(self) -> None:
        """Kills the process; an attempt that is running ends as lost."""
        with self._lock:
            self._over = True
            self._kill()
        self._folder.cleanup()
        self._errors.close()


def attempt_once(task: Task) -> Outcome:
    """An attempt in a process that serves only for it, for executors whose processes may not die."""
    worker = Worker()
    try:
        return worker.attempt(task)
    finally:
        worker.close()
