"""Damaged HDF5 files: each ends in one typed error within a second and 1 GB, or in the values that were written.

Data files and H5MD trajectories, as this package writes them ("checksummed") and as other programs may ("plain": the
oldest file format, whose structure has no checksums).  Bytes are changed, cut off or overwritten, or the structure is
changed by h5py.  Only a plain file may be read with other values, as nothing in it tells of them.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from campaign import Limits, Work, main
from labelled import assert_same_data, labelled, lj_frames

from ru_calc.dataset import Dataset, read_dataset, write_dataset
from ru_calc.errors import DataError, OutputError
from ru_calc.md.h5md import H5MDWriter

LIMITS = Limits(time_s=1.0, memory_bytes=10**9)
FRAMES = 12
Rng = np.random.Generator


@functools.cache
def dataset() -> Dataset:
    return Dataset.from_atoms(lj_frames(FRAMES))


@functools.cache
def content(kind: str) -> bytes:
    """A whole file of a kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.h5"
        if kind.startswith("data"):
            write_dataset(dataset(), path)
        else:
            write_trajectory(path)
        if kind.endswith("plain"):
            rewrite(path)
        return path.read_bytes()


def write_trajectory(path: Path, resume_at: int | None = None) -> bytes:
    """Writes a trajectory, or takes one up at its last frame; returns its journal."""
    first = dataset().atoms(2)
    writer = H5MDWriter(path, first, resume_at)
    for k in range(FRAMES if resume_at is None else 0):
        atoms = first.copy()
        atoms.positions += 0.1 * k
        atoms.info = {"step": k, "time_fs": 2.0 * k}
        writer.append(labelled(atoms, energy=-1.0 * k, forces=first.get_forces() + k))
    writer.mark()
    journal = writer.journal.read_bytes()
    writer.close()
    return journal


def rewrite(path: Path) -> None:
    """The same file in the oldest format, without checksums."""
    with h5py.File(path) as old, h5py.File(path.with_suffix(".new"), "w", libver="earliest") as new:
        copy(old, new)
    os.replace(path.with_suffix(".new"), path)


def copy(old: h5py.Group, new: h5py.Group) -> None:
    new.attrs.update(old.attrs)
    for name, item in old.items():
        if isinstance(item, h5py.Group):
            copy(item, new.create_group(name))
        else:
            new.create_dataset(name, data=item[()], maxshape=item.maxshape, compression=item.compression)
            new[name].attrs.update(item.attrs)


def flipped(whole: bytes, rng: Rng) -> bytes:
    changed = bytearray(whole)
    for place in rng.integers(len(whole), size=rng.choice([1, 1, 1, 2, 8, 64])):
        changed[place] ^= 1 << rng.integers(8)
    return bytes(changed)


def overwritten(whole: bytes, rng: Rng) -> bytes:
    start, length = int(rng.integers(len(whole))), int(rng.choice([1, 4, 8, 64, 512, 4096]))
    length = min(length, len(whole) - start)
    block = [bytes(length), b"\xff" * length, rng.bytes(length), (whole[-start:] * 2)[:length]][rng.integers(4)]
    return whole[:start] + block.ljust(length, b"\0") + whole[start + length :]


def cut(whole: bytes, rng: Rng) -> bytes:
    end = int(rng.integers(len(whole)))
    return whole[:end] if rng.integers(2) else whole[:end] + bytes(len(whole) - end)


def moved(whole: bytes, rng: Rng) -> bytes:
    """Bytes lost or added in the middle, or blocks of a disk out of order."""
    a, b, c = sorted(rng.integers(len(whole), size=3).tolist())
    return [whole[:a] + whole[b:], whole[:b] + whole[a:], whole[:a] + whole[b:c] + whole[a:b] + whole[c:]][
        rng.integers(3)
    ]


def restructured(whole: bytes, rng: Rng) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            change_structure(file, rng)
        return path.read_bytes()


def change_structure(file: h5py.File, rng: Rng) -> None:
    """One change of a random array: none of them is one that an honest program makes."""
    arrays: list[str] = []
    file.visititems(lambda name, item: arrays.append(name) if isinstance(item, h5py.Dataset) else None)
    name, other = (str(one) for one in rng.choice(sorted(arrays), size=2, replace=False))
    old = file[name]
    values, attributes = old[()], dict(old.attrs)
    changes: list[Callable[[], object]] = [
        lambda: np.append(values.ravel(), values.ravel()[:1]),
        lambda: values[..., None],
        lambda: values[:0],
        lambda: values.ravel()[0],
        lambda: values.astype([("a", values.dtype)]),
        lambda: h5py.Empty(values.dtype),
        lambda: np.full(values.shape, 1.5 if values.dtype.kind in "SO" else "text", dtype=text_or_number(values)),
        lambda: np.array([np.arange(2.0)] * len(values) + [None], dtype=object)[:-1].astype(h5py.vlen_dtype(float)),
        lambda: np.array([file.ref] * len(values), dtype=h5py.ref_dtype),
        lambda: h5py.ExternalLink("other.h5", "/x"),
        lambda: h5py.SoftLink("/" + other),
        lambda: h5py.SoftLink("/" + name),
        lambda: file[other],
        lambda: file["/"],
        lambda: None,
        lambda: "group",
        lambda: "claim",
        lambda: "unwritten",
        lambda: "outside",
    ]
    new = changes[rng.integers(len(changes))]()
    del file[name]
    if isinstance(new, str):
        new = create_hostile(file, name, new, values)
    elif new is not None:
        file[name] = new
    if isinstance(file.get(name, getlink=True) if name in file else None, h5py.HardLink) and rng.integers(8):
        if not isinstance(new, h5py.HLObject):
            file[name].attrs.update(attributes)


def text_or_number(values: np.ndarray) -> np.dtype:
    return np.dtype(float) if values.dtype.kind in "SO" else h5py.string_dtype()


def create_hostile(file: h5py.File, name: str, kind: str, values: np.ndarray) -> None:
    if kind == "group":
        file.create_group(name)
    elif kind == "claim":
        file.create_dataset(name, (10**12, *values.shape[1:]), values.dtype, chunks=True, compression="gzip")
    elif kind == "unwritten":
        file.create_dataset(name, values.shape, values.dtype, maxshape=(None,) * values.ndim)
    else:
        file.create_dataset(name, values.shape, values.dtype, external=[("/etc/hostname", 0, values.nbytes)])


DAMAGES = {f.__name__: f for f in (flipped, overwritten, cut, moved, restructured)}
KINDS = ("data, checksummed", "data, plain", "trajectory, checksummed", "trajectory, plain")


def make(seed: int) -> tuple[str, Work]:
    rng = np.random.default_rng(seed)
    kind, name = KINDS[seed % 4], list(DAMAGES)[seed // 4 % 5]
    whole = content(kind)
    damaged = DAMAGES[name](whole, rng)
    expected = expected_journal() if kind.startswith("trajectory") else b""
    return f"{kind}, {name}", functools.partial(work, damaged, kind, expected)


@functools.cache
def expected_journal() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_trajectory(Path(folder) / "a.h5")


def work(damaged: bytes, kind: str, expected: bytes) -> str:
    """How reading a damaged file ends; raises what is not allowed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        path.write_bytes(damaged)
        try:
            if kind.startswith("data"):
                assert_same_data(read_dataset(path), dataset())
            else:
                assert write_trajectory(path, FRAMES) == expected, "other frames"
        except (DataError, OutputError) as refused:
            assert path.name in str(refused), f"the file is not named: {refused}"
            return "refused"
        except AssertionError:
            if kind.endswith("plain"):
                return "other values"
            raise
    return "as written"


if __name__ == "__main__":
    main(make, __doc__ or "", LIMITS, count=2000)
