"""Processes forked from this one, which have all modules imported: to own a folder, to be killed, to run a command."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path


def forked(work: Callable[[], int | None], output: Path | None = None) -> int:
    """Starts `work` in a process of its own, and gives its number; the result is its exit status.

    Args:
        output: file of what it prints; None leaves that to the parent's streams.
    """
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        if output is not None:
            handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
        status = work() or 0
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def ended(process: int) -> int:
    """Waits for a forked process; its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@contextmanager
def another_process(owner: Callable[[], AbstractContextManager[object]]) -> Iterator[int]:
    """A process that stays in a context, such as `lambda: owned(folder)`, until it is killed at the end."""
    reading, writing = os.pipe()

    def stay() -> None:
        with owner():
            os.write(writing, b"x")
            signal.pause()

    process = forked(stay)
    os.close(writing)
    try:
        assert os.read(reading, 1) == b"x", "the process could not own it"
        yield process
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(reading)
