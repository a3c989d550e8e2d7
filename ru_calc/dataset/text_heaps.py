"""The heaps of an HDF5 file that hold text of variable length: they have no checksum, and libhdf5 can hang on them.

HDF5 File Format Specification 3.0, section III.E: `GCOL`, version 1, three zeros, size (8 bytes); then objects of
index (2), references (2), zeros (4), size (8) and data, padded to 8 bytes.  Object 0 is free space with its header.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from ru_calc.errors import DataError

START = b"GCOL\x01\0\0\0"
HEADER = struct.Struct("<HHIQ")


def check_text_heaps(path: Path) -> None:
    """Refuses a file on whose heaps libhdf5 (2.0 and earlier) goes on for ever: an object takes no room.

    Raises:
        DataError: an object of a heap takes no room.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(START)
        while start >= 0:
            if _is_endless(content, start):
                raise DataError(f"{path} is damaged: its heap of text at byte {start} does not end; copy it again")
            start = content.find(START, start + 1)


def _is_endless(content: mmap.mmap, start: int) -> bool:
    place = start + len(START) + 8
    end = min(start + int.from_bytes(content[start + 8 : place], "little"), len(content))
    while place + HEADER.size <= end:
        index, _, _, size = HEADER.unpack_from(content, place)
        room = (-(-size // 8) * 8 + (HEADER.size if index else 0)) % 2**64
        if not room:
            return True
        place += room
    return False
