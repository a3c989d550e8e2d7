"""What the readers of other programs' HDF5 files share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ru_calc.errors import DataError, reason

LARGEST_BYTES = 2**36


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file for reading; whatever h5py meets in a damaged one becomes a `DataError`."""
    try:
        with h5py.File(path) as file:
            yield file
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, IndexError, AttributeError) as problem:
        raise DataError(
            f"{path} cannot be read ({reason(problem)}); copy it again, or name its layout with --format"
        ) from problem


def values_of(dataset: Any) -> Any:
    """All values of a dataset of plain size that lies in this very file.

    Raises:
        DataError: it is a group, larger than 64 GB, or stored outside the file.
    """
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{dataset.name} is a group, not an array")
    if dataset.external or dataset.is_virtual:
        raise DataError(f"{dataset.name} is stored in another file; copy all into one, e.g. with h5repack")
    if dataset.size is None:
        raise DataError(f"{dataset.name} is empty")
    if dataset.size * max(dataset.dtype.itemsize, 1) > LARGEST_BYTES:
        raise DataError(f"{dataset.name} claims {dataset.size} values, more than can be")
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
