"""Disks that fill up under every long command: one line, nothing half-written, and with room the same end.

A limit on the size of a file (EFBIG) needs no rights.  As root, a small file system of its own fills up (ENOSPC).
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from campaign import Limits, main
from commands import COMMANDS, STATUS, drop, finish, inputs, new_folder, start, unbroken

NAMES = tuple(COMMANDS)
LIMITS = Limits(time_s=200.0)
MOST_BYTES = 2**26


def make(seed: int):
    name, dice = NAMES[seed // 2 % len(NAMES)], random.Random(seed)
    if seed % 2 and can_mount():
        return f"{name}, file system", lambda: on_a_small_file_system(name, dice)
    return f"{name}, file size", lambda: with_small_files(name, dice)


def with_small_files(name: str, dice: random.Random) -> str:
    """A limit on the size of every file."""
    unbroken(name)
    folder, most = new_folder(), int(10 ** dice.uniform(1, 6))
    end = tried(name, folder, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))
    finish(name, folder)
    drop(folder)
    return end


def on_a_small_file_system(name: str, dice: random.Random) -> str:
    """A file system with little room."""
    unbroken(name)
    room = sum(path.stat().st_size for path in inputs().iterdir() if path.is_file()) + 2**15
    with mounted(int(room + 10 ** dice.uniform(3, 6))) as folder:
        new_folder(folder)
        end = tried(name, folder)
        subprocess.run(["mount", "-o", f"remount,size={MOST_BYTES}", folder], check=True)
        finish(name, folder)
        os.chdir(inputs())
    return end


def tried(name: str, folder: Path, before: Callable[[], None] = lambda: None) -> str:
    """Runs a command where it may find no room; checks how it says so."""
    from forked import ended

    log = Path(tempfile.mkdtemp(prefix="log-", dir=inputs()), "log")
    os.mkfifo(log)  # for which there is always room
    process = start(COMMANDS[name].words, log, before)
    text, status = log.read_text(errors="replace"), ended(process)
    if status == STATUS.get(name, 0) and "make room" not in text:
        return "had room"
    errors = [line for line in text.splitlines() if line.startswith("Error: ")]
    assert status == 1 and "Traceback" not in text, f"status {status}: {text[-500:]}"
    assert len(errors) == 1 and "make room" in errors[0], text[-500:]
    left = [str(path) for path in folder.rglob(".*.tmp")]
    assert not left, f"left unfinished: {left}"
    return "said so"


@contextmanager
def mounted(size_bytes: int) -> Iterator[Path]:
    """A file system of this size in memory."""
    folder = Path(tempfile.mkdtemp(prefix="room-", dir=inputs()))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        os.chdir(inputs())
        subprocess.run(["umount", "-l", folder], check=True)
        folder.rmdir()


@cache
def can_mount() -> bool:
    """Whether this process may mount a file system."""
    if os.geteuid() != 0:
        return False
    try:
        with mounted(2**16):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


if __name__ == "__main__":
    main(make, __doc__, LIMITS, count=240)
