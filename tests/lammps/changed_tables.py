"""Table files with something changed, and the right checksum."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ru_calc.lammps.tables_file import split_tables


def changed(path: Path, to: Path, name: str, change: Callable[[np.ndarray], object]) -> Path:
    """A copy in which one array is changed in place."""
    arrays = {key: np.array(array) for key, array in split_tables(path)[1].items()}
    change(arrays[name])
    first, _, rest = path.read_bytes().partition(b"\n")
    text = rest.partition(b"\n")[2].partition(b"\nend\n")[0]
    body = text + b"\nend\n" + b"".join(array.tobytes() for array in arrays.values())
    return sealed(to, first, body)


def sealed(to: Path, first: bytes, body: bytes) -> Path:
    """A file of this body with its checksum."""
    to.write_bytes(first + f"\ncrc32 {zlib.crc32(body):08x}\n".encode() + body)
    return to
