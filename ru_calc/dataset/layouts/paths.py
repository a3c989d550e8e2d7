"""Which files a path means: `FILE`, `FILE@INDEX`, a folder of files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase.io.formats import string2index

from ru_calc.dataset.layouts import deepmd
from ru_calc.errors import DataError

INDEX = re.compile(r"-?\d+|(-?\d*):(-?\d*)(:-?\d*)?")
PACKED = (".gz", ".bz2", ".xz")
# What is read of a folder; anything else in it is named.
DATA = re.compile(
    r"(\.(ext)?xyz|\.traj|\.db|\.h5|\.hdf5|\.npz|\.dump|\.lammpstrj|\.pwo|vasprun.*\.xml|outcar.*?)(\.gz|\.bz2|\.xz)?$",
    re.I,
)


@dataclass(frozen=True)
class Source:
    """A file, or a folder that is one data set, and which of its frames.

    Attributes:
        path: where it is.
        index: frames that were asked for by `@`; None means all.
    """

    path: Path
    index: slice | None = None

    def __str__(self) -> str:
        return str(self.path)


def locate(text: str | Path) -> Source:
    """The file of this very name, else the frames of `FILE@INDEX` (ASE's syntax: 0, -1, :10, ::2).

    Raises:
        DataError: there is no such file, or what follows the `@` of one is no index.
    """
    path = Path(text)
    if path.exists():
        return Source(path)
    name, at, index = str(text).rpartition("@")
    if not at or not Path(name).exists():
        raise DataError(f"there is no file {path}; check the path")
    if not INDEX.fullmatch(index):
        raise DataError(f"there is no file {path}, and {index!r} is no index of frames of {name}: write @0 or @::2")
    found: Any = string2index(index)
    return Source(Path(name), slice(found, found + 1 or None) if isinstance(found, int) else found)


def files_of(text: str | Path, any_name: bool = False) -> tuple[list[Source], list[str]]:
    """The files that a path means, and the names of those in a folder that are not read.

    Args:
        text: a file, `FILE@INDEX`, or a folder, whose files are read in order of their names, at any depth.
        any_name: read all files of a folder, as their format is given.

    Raises:
        DataError: see `locate`; or a folder holds no data.
    """
    source = locate(text)
    if not source.path.is_dir():
        return [source], []
    inside = sorted((path for path in source.path.rglob("*") if _visible(path, source.path)), key=_natural)
    systems = {path.parent for path in inside if path.name == "type.raw"}
    inside = sorted([*systems, *(path for path in inside if not deepmd.belongs(path))], key=_natural)
    # A given format is that of the systems, where there are any.
    taken = [path for path in inside if path in systems or (not systems if any_name else DATA.search(path.name))]
    # Both outputs of a run of VASP hold the same frames.
    runs = {path.parent for path in taken if path.name.lower().startswith("vasprun")}
    taken = [path for path in taken if any_name or path.parent not in runs or "outcar" not in path.name.lower()]
    if not taken:
        raise DataError(
            f"the folder {source.path} holds no file whose name tells that it is data; give the files, or name their "
            "format with --format"
        )
    rest = [str(path) for path in inside if path not in taken]
    if taken == [source.path]:  # a system of DeePMD, which may have an index
        return [source], rest
    if source.index is not None:
        raise DataError(f"{source.path} is a folder, whose frames have no common index; give one of its files")
    return [Source(path) for path in taken], rest


def _visible(path: Path, folder: Path) -> bool:
    return path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Order in which train_2 is before train_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]
