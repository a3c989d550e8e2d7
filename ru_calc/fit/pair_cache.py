"""Neighbour lists kept on disk, so that the pairs of the same frames are searched for only once.

One safetensors file in the user's cache for each set of structures, cutoff and version of the format holds, in the
smallest sufficient integers:

    neighbors (n_atoms,): number of pairs of which each atom is the first
    second (n_pairs,): within its frame
    shifts (n_pairs, 3)

Pairs are sorted by frame and first atom, so this is a complete `NeighborPairs`.  The header has `key`, which
identifies structures and cutoff, and `crc32` of the arrays.  A file that fails these checks is not used.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ru_calc.errors import OutputError
from ru_calc.files import cache_folder, clear_unfinished, whole_file
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs, find_pairs

VERSION = 1
LEAST_ATOMS = 1000  # the search for fewer takes at most some 20 ms
MOST_BYTES = 2 * 10**9
PREFIX = "pairs-"
INTEGERS = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64)


class PairCache:
    """Finds pairs, once for the same structures and cutoff.

    Args:
        folder: of the cache; None is the user's.
        say: prints a line, at most one, if pairs cannot be read or kept.
        least_atoms: pairs of fewer atoms are not kept.
        most_bytes: of all files together; the least recently used are removed.
    """

    def __init__(
        self,
        folder: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
        least_atoms: int = LEAST_ATOMS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.folder, self.least_atoms, self.most_bytes = folder, least_atoms, most_bytes
        self._say, self._said = say, False

    def pairs(self, structures: Structures, cutoff_A: float) -> NeighborPairs:
        """The pairs of `find_pairs`, bit for bit.

        Raises:
            DataError: see `find_pairs`.
        """
        if structures.n_atoms < self.least_atoms:
            return find_pairs(structures, cutoff_A)
        try:
            folder = self.folder or cache_folder()
        except RuntimeError as problem:
            self._complain(f"neighbour lists are not kept: {problem}; name a folder in RU_CALC_CACHE")
            return find_pairs(structures, cutoff_A)
        key = cache_key(structures, cutoff_A)
        path = folder / f"{PREFIX}{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
        found = self._read(path, key, structures)
        if found is None:
            found = find_pairs(structures, cutoff_A)
            self._keep(path, key, structures, found)
        return found

    def _read(self, path: Path, key: str, structures: Structures) -> NeighborPairs | None:
        try:
            if not path.is_file():
                return None
            found = _read_pairs(path, key, structures)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as problem:
            self._complain(f"{path} holds no neighbour lists of these frames ({problem}); searching again")
            return None
        with suppress(OSError):
            os.utime(path)  # the time of the last use
        return found

    def _keep(self, path: Path, key: str, structures: Structures, pairs: NeighborPairs) -> None:
        arrays = _packed(structures, pairs)
        size = sum(array.nbytes for array in arrays.values())
        if size > self.most_bytes:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as temporary:
                save_file(arrays, str(temporary), metadata={"key": key, "crc32": str(_checksum(arrays))})
            _clear(path.parent, self.most_bytes)
        except (OSError, OutputError, SafetensorError) as problem:
            self._complain(f"neighbour lists are not kept ({problem}): every fit of these frames searches again")

    def _complain(self, line: str) -> None:
        if not self._said:
            self._said = True
            self._say(line)


def cache_key(structures: Structures, cutoff_A: float) -> str:
    """Version of the format, cutoff, and SHA-256 of all arrays that the pairs depend on."""
    digest = hashlib.sha256()
    for array in (structures.counts, structures.pbc, structures.cells, structures.positions):
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"{VERSION} {float(cutoff_A).hex()} {digest.hexdigest()}"


def _packed(structures: Structures, pairs: NeighborPairs) -> dict[str, np.ndarray]:
    arrays = {
        "neighbors": np.bincount(pairs.first, minlength=structures.n_atoms),
        "second": pairs.second - structures.offsets[pairs.frames],
        "shifts": pairs.shifts,
    }
    return {name: np.ascontiguousarray(_smallest(array)) for name, array in arrays.items()}


def _smallest(array: np.ndarray) -> np.ndarray:
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    return array.astype(next(k for k in INTEGERS if np.iinfo(k).min <= low and high <= np.iinfo(k).max))


def _read_pairs(path: Path, key: str, structures: Structures) -> NeighborPairs:
    with safe_open(str(path), "np") as file:
        header = file.metadata() or {}
        if header.get("key") != key:
            raise ValueError("they are of other frames")
        arrays = {name: file.get_tensor(name) for name in ("neighbors", "second", "shifts")}
    if header.get("crc32") != str(_checksum(arrays)):
        raise ValueError("it is damaged")
    neighbors = arrays["neighbors"].astype(np.int64)
    if len(neighbors) != structures.n_atoms or arrays["shifts"].shape != (neighbors.sum(), 3):
        raise ValueError("its arrays do not fit together")
    first = np.repeat(np.arange(structures.n_atoms), neighbors)
    frames = np.repeat(structures.frame_of_atom, neighbors)
    second = arrays["second"] + structures.offsets[frames]
    return NeighborPairs(first, second, arrays["shifts"].astype(np.int32), frames)


def _checksum(arrays: dict[str, np.ndarray]) -> int:
    crc = 0
    for name in sorted(arrays):
        crc = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), crc)
    return crc


def _clear(folder: Path, most_bytes: int) -> None:
    """Removes the least recently used files of the cache until the others fit; leaves foreign files alone."""
    clear_unfinished(folder)
    files = []
    for path in folder.iterdir():
        # A dot in front: left behind by version 0.3.0 or earlier.
        if path.name.lstrip(".").startswith(PREFIX) and path.is_file():
            with suppress(FileNotFoundError):  # another process clears as well
                facts = path.stat()
                files.append((facts.st_mtime_ns, facts.st_size, path))
    files.sort(key=lambda file: file[0])
    total = sum(size for _, size, _ in files)
    for _, size, path in files[:-1]:
        if total <= most_bytes:
            break
        path.unlink(missing_ok=True)
        total -= size
