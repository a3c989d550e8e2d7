"""What the readers of other programs' HDF5 files share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ru_calc.dataset.hdf5_storage import ALWAYS_ALLOWED_BYTES, claimed_bytes, storage_problem
from ru_calc.dataset.text_heaps import check_text_heaps
from ru_calc.errors import DataError, reason

LARGEST_RATIO = 100  # a dataset may claim more than this many times the size of the file only if it stays small


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file without links to other files; whatever h5py meets in a damaged one becomes a `DataError`."""
    try:
        check_text_heaps(path)
        with h5py.File(path) as file:
            _refuse_links(file)
            yield file
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, IndexError, AttributeError) as problem:
        raise DataError(
            f"{path} cannot be read ({reason(problem)}); copy it again, or name its layout with --format"
        ) from problem


def _refuse_links(file: h5py.File) -> None:
    """Refuses links that lead out of the file, or nowhere: what they stand for would be lost without a word."""
    waiting, seen = [file["/"]], set()
    while waiting:
        group = waiting.pop()
        if group.id.__hash__() in seen:
            continue
        seen.add(group.id.__hash__())
        for name in group:
            link = group.get(name, getlink=True)
            where = f"{group.name.rstrip('/')}/{name}"
            if isinstance(link, h5py.ExternalLink):
                raise DataError(f"{where} is a link to {link.filename}; copy what it holds into this file")
            if isinstance(link, h5py.SoftLink) and group.get(name) is None:
                raise DataError(f"{where} is a link to {link.path}, which is not there; remove it")
            if isinstance(link, h5py.HardLink) and isinstance(group[name], h5py.Group):
                waiting.append(group[name])


def values_of(dataset: Any) -> Any:
    """All values of a dataset that lies in this very file.

    Raises:
        DataError: it is a group, claims more than the file can hold, or is not stored whole in the file.
    """
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{dataset.name} is a group, not an array")
    if dataset.size is None:
        raise DataError(f"{dataset.name} is empty")
    stored, claimed = dataset.file.id.get_filesize(), claimed_bytes(dataset)
    if claimed > ALWAYS_ALLOWED_BYTES + LARGEST_RATIO * stored:
        raise DataError(f"{dataset.name} claims {claimed} bytes, but the file has {stored}; copy it again")
    if problem := storage_problem(dataset, nan_is_missing=True):
        raise DataError(f"{dataset.name} {problem}")
    value = dataset[()]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def unit_attribute(dataset: h5py.Dataset) -> str | None:
    """The `unit` or `units` that a dataset states."""
    for name in ("unit", "units"):
        if name in dataset.attrs:
            text = dataset.attrs[name]
            text = text.decode() if isinstance(text, bytes) else str(np.asarray(text).reshape(-1)[0])
            return text if text not in ("", "1") else None
    return None
