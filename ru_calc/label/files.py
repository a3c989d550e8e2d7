"""The files that grow: labels in extxyz, and failures, one JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ase import Atoms

from ru_calc.dataset.layouts import read_frames
from ru_calc.dataset.levels import stated_level
from ru_calc.errors import DataError, OutputError
from ru_calc.files import check_writable, lock


class AppendedFile:
    """A file to which whole records are appended; only one process at a time may have it open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        if not lock(self._handle):
            os.close(self._handle)
            raise OutputError(f"{path} is being written by another process; wait for it, or give it more --workers")

    def append(self, text: str) -> None:
        """Writes all of the text, down to the disk, or nothing.

        Raises:
            OutputError: the disk is full, or cannot be written.
        """
        data, size = text.encode(), os.fstat(self._handle).st_size
        try:
            while data:
                data = data[os.write(self._handle, data) :]
            os.fsync(self._handle)
        except BaseException as problem:
            os.ftruncate(self._handle, size)
            if isinstance(problem, OSError):
                raise OutputError(
                    f"{self.path} cannot be written ({problem.strerror}); what it holds is whole: make room, then give "
                    "the same command again"
                ) from problem
            raise

    def cut(self, size: int) -> None:
        """Cuts the file to so many bytes."""
        os.ftruncate(self._handle, size)

    def close(self) -> None:
        """Closes the file; one that is still empty is removed."""
        if os.fstat(self._handle).st_size == 0:
            self.path.unlink(missing_ok=True)
        os.close(self._handle)


@contextmanager
def opened(path: Path) -> Iterator[AppendedFile]:
    """Opens an `AppendedFile`.

    Raises:
        OutputError: it cannot be written, or another process writes it.
    """
    check_writable(path)
    file = AppendedFile(path)
    try:
        yield file
    finally:
        file.close()


def whole_bytes(path: Path) -> int:
    """Bytes of the complete frames at the start of an extxyz file: what follows is half of one.

    Raises:
        DataError: a frame does not start with its number of atoms.
    """
    whole = line = 0
    with open(path, "rb") as file:
        while first := file.readline():
            if not first.endswith(b"\n") or not first.strip(b"\0"):
                break
            if not first.strip().isdigit():
                found = first[:40].decode(errors="replace").strip()
                raise DataError(
                    f"{path}, line {line + 1} is {found!r}, not a number of atoms; labels are appended to extxyz files "
                    "only: choose another name"
                )
            rest = [file.readline() for _ in range(int(first) + 1)]
            if not rest[-1].endswith(b"\n"):
                break
            whole, line = file.tell(), line + 1 + len(rest)
    return whole


def labels_in(path: Path, level: str) -> list[Atoms]:
    """The frames of a file of labels.

    Raises:
        DataError: it is not extxyz, or a frame is of another level of theory, or does not state its own.
    """
    frames = read_frames(path) if path.stat().st_size else []
    for k, atoms in enumerate(frames):
        found = stated_level(atoms.info)
        if found != level:
            raise DataError(
                f"{path}, frame {k} is labelled at {found or 'a level of theory that it does not state'}, not at "
                f"{level}: choose another file for these labels"
            )
    return frames


def failures_in(path: Path) -> dict[str, str]:
    """The lines of a file of failures by the uid of the frame; half of a last line is left out.

    Raises:
        DataError: a line is not JSON with a uid.
    """
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if line.endswith("\n"):
            try:
                found[str(json.loads(line)["uid"])] = line
            except (ValueError, KeyError, TypeError) as problem:
                raise DataError(
                    f"{path}, line {number} is not a failure of ru-calc label; move the file away"
                ) from problem
    return found
