"""HDF5 files that are written whole or not at all, also on a disk that is full."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from ru_calc.files import whole_file


@contextmanager
def whole_hdf5(path: str | Path, **options: Any) -> Iterator[h5py.File]:
    """An HDF5 file to fill, which appears as `path` at the end; `options` are those of `h5py.File`.

    Raises:
        OutputError: see `whole_file`.
    """
    with whole_file(path) as temporary, _Storage(temporary, "w+") as storage:
        with h5py.File(storage, "w", **options) as file:
            yield file
        if storage.problem is not None:
            raise storage.problem


class _Storage(io.FileIO):
    """What HDF5 writes to.  It can crash when a write fails, so it never hears of it."""

    problem: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes all, or keeps the reason."""
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view) and self.problem is None:
                done += super().write(view[done:])
        except OSError as problem:
            self.problem = problem
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Reads; zeros for what could not be written."""
        view = memoryview(buffer).cast("B")
        done = super().readinto(view)
        if self.problem is not None:
            view[done:] = bytes(len(view) - done)
            done = len(view)
        return done

    def truncate(self, size: int | None = None) -> int:
        """Sets the size, or keeps the reason."""
        try:
            return super().truncate(size)
        except OSError as problem:
            self.problem = self.problem or problem
            return size or 0
