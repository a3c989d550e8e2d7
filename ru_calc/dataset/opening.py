"""Opens a data set: the native file, a shipped one by name, or files in any other layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py

from ru_calc.dataset.convert import ConvertSettings, convert
from ru_calc.dataset.frames import Dataset
from ru_calc.dataset.hdf5 import read_dataset, shipped_data
from ru_calc.dataset.layouts.reader import NATIVE, layout_of
from ru_calc.dataset.reading import Reading
from ru_calc.errors import DataError

Say = Callable[[str], None]


def open_dataset(data: str | Path, reading: Reading | None = None, say: Say | None = None) -> Dataset:
    """The one data set of `open_datasets`."""
    return open_datasets([data], reading, say)[0]


def open_datasets(data: Sequence[str | Path], reading: Reading | None = None, say: Say | None = None) -> list[Dataset]:
    """The labelled frames that each of `data` names: a shipped set, a file, `FILE@INDEX` or a folder.

    Args:
        data: names and paths.
        reading: columns, units and signs of files of other programs.
        say: told line by line what was taken and what was left out of such files.

    Raises:
        DataError: there is no such data, it is damaged, or has no label; see `convert`.
    """
    reading = reading or Reading()
    paths = [Path(shipped_data().get(str(one), one)) for one in data]
    native = [is_native(path) for path in paths]
    if reading.changed and all(native):
        raise DataError(f"{data[0]} is a ru-calc data file, whose columns and units are known; leave out their options")
    both = zip(paths, native, strict=True)
    return [read_dataset(path) if own else _converted(path, reading, say) for path, own in both]


def _converted(path: Path, reading: Reading, say: Say | None) -> Dataset:
    if not path.exists() and "@" not in path.name:
        known = ", ".join(shipped_data())
        raise DataError(f"there is no data file {path}; give a file of labelled frames or one of {known}")
    found = convert([path], ConvertSettings(reading))
    if say is not None:
        for line in found.lines():
            say(f"{path}: {line}" if line.startswith("read ") else line)
    return found.dataset


def is_native(path: Path) -> bool:
    """Whether a file is, or by its name should be, a native one."""
    if path.suffix in (".h5", ".hdf5") and not (path.is_file() and h5py.is_hdf5(path)):
        return not path.is_dir()
    return path.is_file() and h5py.is_hdf5(path) and layout_of(path) == NATIVE
