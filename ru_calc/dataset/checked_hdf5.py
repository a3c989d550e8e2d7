"""Reading HDF5 files that may be damaged or hostile.

Only what is stored whole in the file itself is read: no link but a hard one, no storage in other files, no array that
claims far more than the file can hold or whose values were never written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np

from ru_calc.dataset.hdf5_storage import ALWAYS_ALLOWED_BYTES, claimed_bytes, storage_problem
from ru_calc.dataset.text_heaps import check_text_heaps
from ru_calc.errors import DataError, RuCalcError, reason

# Real frames are compressed to a half; a file may claim more than this many times its size only if it stays small.
LARGEST_RATIO = 20
NUMBERS, INTEGERS, FLAGS, TEXT = "fiu", "iu", "biu", "SO"
KINDS = {NUMBERS: "numbers", INTEGERS: "integers", FLAGS: "true or false", TEXT: "text"}


@contextmanager
def open_hdf5(path: str | Path, remedy: str = "make it again") -> Iterator[CheckedFile]:
    """An HDF5 file to read from.

    Args:
        path: of the file.
        remedy: the way out that errors name.

    Raises:
        DataError: the file is missing, or not HDF5; whatever goes wrong while it is open.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}; check the path")
    if not h5py.is_hdf5(path):
        raise DataError(f"{path} is not a complete HDF5 file; copy it again, or {remedy}")
    try:
        check_text_heaps(path)
        with h5py.File(path) as file:
            yield CheckedFile(path, file, remedy)
    except (RuCalcError, MemoryError):
        raise
    except BlockingIOError as problem:
        raise DataError(f"{path} is being written by another program; wait for it to end") from problem
    except Exception as problem:  # h5py raises almost anything on damaged files
        raise DataError(
            f"{path} is not a complete HDF5 file ({reason(problem)}); copy it again, or {remedy}"
        ) from problem


class CheckedFile:
    """Members of an open HDF5 file by their path in it, checked before they are read.

    Every method raises a DataError that names file, member, value, rule and way out.
    """

    def __init__(self, path: Path, file: h5py.File, remedy: str) -> None:
        self.path, self.remedy, self._file = path, remedy, file
        self._size = path.stat().st_size
        self._opened: tuple[str, Any] = ("/", file)
        self._left = ALWAYS_ALLOWED_BYTES + LARGEST_RATIO * self._size

    def refuse(self, name: str, problem: str) -> NoReturn:
        """Raises the error for a member."""
        raise DataError(f"{self.path}: {name} {' '.join(problem.split())}; {self.remedy}")

    def names(self, group: str = "/") -> list[str]:
        """Names of the members of a group."""
        return list(self._group(group))

    def has(self, name: str) -> bool:
        """Whether there is a member of that path, without opening what a link points to."""
        *parents, last = name.strip("/").split("/")
        return last in self._group("/".join(parents) or "/")

    def attribute(self, name: str, key: str) -> Any:
        """An attribute of a member: text, a number, an array, or None if it is not there."""
        value = self._member(name).attrs.get(key)
        value = value.item() if isinstance(value, np.generic) else value
        return value.decode() if isinstance(value, bytes) else value

    def is_group(self, name: str) -> bool:
        """Whether a member is a group rather than an array."""
        return isinstance(self._member(name), h5py.Group)

    def stored_twice(self, name: str) -> bool:
        """Whether another path leads to the same array."""
        return bool(h5py.h5o.get_info(self._member(name).id).rc > 1)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array."""
        return self._dataset(name, NUMBERS + FLAGS + TEXT).shape

    def array(self, name: str, shape: tuple[int | None, ...], kinds: str = NUMBERS) -> np.ndarray:
        """The values of an array.

        Args:
            name: path in the file.
            shape: that it must have; None stands for any length.
            kinds: `NUMBERS` gives float64, `INTEGERS` int64, `FLAGS` bool and `TEXT` str.
        """
        return self._converted(name, self.dataset(name, shape, kinds), kinds)

    def dataset(self, name: str, shape: tuple[int | None, ...], kinds: str = NUMBERS) -> h5py.Dataset:
        """An array that is to be read in parts; see `array`."""
        dataset = self._dataset(name, kinds)
        found = dataset.shape
        if len(found) != len(shape) or any(b is not None and a != b for a, b in zip(found, shape, strict=True)):
            self.refuse(name, f"has the shape {found}; it must be {str(shape).replace('None', 'any')}")
        self._check_storage(name, dataset)
        return dataset

    def _converted(self, name: str, dataset: h5py.Dataset, kinds: str) -> np.ndarray:
        if kinds == TEXT:
            try:
                return np.asarray(dataset.asstr("utf-8")[()], dtype=np.str_)
            except UnicodeDecodeError as problem:
                self.refuse(name, f"is not UTF-8 text ({problem})")
        values = dataset[()]
        if kinds == FLAGS and not np.isin(values, (0, 1)).all():
            self.refuse(name, f"has the value {values[~np.isin(values, (0, 1))][0]}; it must be true or false")
        return np.asarray(values, dtype={NUMBERS: np.float64, INTEGERS: np.int64, FLAGS: np.bool_}[kinds])

    def _member(self, name: str) -> h5py.Group | h5py.Dataset:
        if name != self._opened[0]:
            self._opened = (name, self._found(name))
        return self._opened[1]

    def _found(self, name: str) -> Any:
        found: Any = self._file
        for part in name.strip("/").split("/") if name.strip("/") else ():
            if not isinstance(found, h5py.Group) or part not in found:
                self.refuse(name, "is missing")
            link = found.get(part, getlink=True)
            if not isinstance(link, h5py.HardLink):
                target = f"{getattr(link, 'filename', '')}:{link.path}".lstrip(":")
                self.refuse(name, f"is a link to {target}; arrays must be in the file itself, so copy it there")
            found = found[part]
        return found

    def _group(self, name: str) -> h5py.Group:
        found = self._member(name)
        if not isinstance(found, h5py.Group):
            self.refuse(name, "must be a group")
        return found

    def _dataset(self, name: str, kinds: str) -> h5py.Dataset:
        found = self._member(name)
        if not isinstance(found, h5py.Dataset):
            self.refuse(name, "must be an array")
        if found.shape is None:
            self.refuse(name, "has no values")
        kind = found.dtype.kind
        if kind not in kinds or (kind == "O" and h5py.check_string_dtype(found.dtype) is None):
            self.refuse(name, f"has the type {found.dtype}; it must hold {KINDS.get(kinds, 'numbers or text')}")
        return found

    def _check_storage(self, name: str, dataset: h5py.Dataset) -> None:
        claimed = claimed_bytes(dataset)
        self._left -= claimed
        if self._left < 0:
            self.refuse(
                name,
                f"claims {claimed:.3g} bytes, but the file has {self._size}; all arrays together may claim "
                f"{LARGEST_RATIO} times as much and {ALWAYS_ALLOWED_BYTES / 1e6:g} MB",
            )
        if problem := storage_problem(dataset):
            self.refuse(name, problem)
