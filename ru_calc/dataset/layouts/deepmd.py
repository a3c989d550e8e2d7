"""DeePMD-kit's systems: folders of .npy files, or the same in HDF5.

A system has `type.raw`, `type_map.raw` and sets `set.*` with `coord`, `box`, `energy`, `force` and `virial`, one row
per frame, in eV and Å; virial = −stress·V (dpdata writes VASP's stress, compression positive, times the volume).
`nopbc` marks a system without cell.  Mixed systems have `real_atom_types`, −1 for atoms that only fill up.  Older HDF5
files of dpdata say `coords`, `cells`, `energies`, `forces` and `virials`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
from ase import Atoms

from ru_calc.dataset.layouts.frames import Block, frames_of
from ru_calc.dataset.layouts.hdf5_files import opened, values_of
from ru_calc.dataset.reading import Reading
from ru_calc.errors import DataError

NAMES = {
    "coord": ("coord", "coords"), "box": ("box", "cells"), "energy": ("energy", "energies"),
    "force": ("force", "forces"), "virial": ("virial", "virials"), "real_atom_types": ("real_atom_types",),
}  # fmt: skip
# Rows of each column as ASE has them: a scalar, vectors of atoms, a matrix.
SHAPES: dict[str, tuple[int, ...]] = {"energy": (), "force": (-1, 3), "virial": (3, 3)}
Get = Callable[[str], np.ndarray | None]  # a column of a set by its name without suffix


def is_system(path: Path) -> bool:
    """Whether a folder is a system."""
    return (path / "type.raw").is_file()


def belongs(path: Path) -> bool:
    """Whether a file is part of a system."""
    folder = path.parent
    own = path.suffix == ".raw" or path.name == "nopbc"
    return (own and is_system(folder)) or (folder.name.startswith("set.") and is_system(folder.parent))


def read_folder(path: Path, reading: Reading) -> list[Atoms]:
    """The frames of a system.

    Raises:
        DataError: a column is missing or has another number of values, or types have no elements.
    """
    types = np.loadtxt(path / "type.raw", dtype=int, ndmin=1).reshape(-1)
    names = (path / "type_map.raw").read_text().split() if (path / "type_map.raw").is_file() else []
    gets = [_npy(folder) for folder in sorted(path.glob("set.*"))] or [_raw(path)]
    frames: list[Atoms] = []
    for get in gets:
        frames += _frames(get, types, names, (path / "nopbc").exists(), reading, f"{path}: ")
    return frames


def _npy(folder: Path) -> Get:
    def get(name: str) -> np.ndarray | None:
        path = folder / f"{name}.npy"
        return np.load(path, allow_pickle=False) if path.is_file() else None

    return get


def _raw(folder: Path) -> Get:
    def get(name: str) -> np.ndarray | None:
        path = folder / f"{name}.raw"
        return np.loadtxt(path, ndmin=2) if path.is_file() else None

    return get


def is_hdf5(file: h5py.File) -> bool:
    """Whether an HDF5 file holds systems."""
    return bool(_groups(file))


def _groups(file: h5py.File) -> list[h5py.Group]:
    found: list[str] = []
    file.visit(lambda name: found.append(name) if name.split("/")[-1] == "type.raw" else None)
    return [file[name].parent for name in sorted(found)]


def read_hdf5(path: Path, reading: Reading) -> list[Atoms]:
    """The frames of all systems of an HDF5 file; raises what `read_folder` raises."""
    frames: list[Atoms] = []
    with opened(path) as file:
        for group in _groups(file):
            types = np.asarray(values_of(group["type.raw"])).reshape(-1)
            names = []
            if "type_map.raw" in group:
                names = [_text(name) for name in np.asarray(values_of(group["type_map.raw"])).reshape(-1)]
            for name in sorted(name for name in group if name.startswith("set.")):
                where = f"{path}, {group.name}: "
                frames += _frames(_stored(group[name]), types, names, "nopbc" in group, reading, where)
    return frames


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _stored(group: h5py.Group) -> Get:
    return lambda name: np.asarray(values_of(group[f"{name}.npy"])) if f"{name}.npy" in group else None


def _frames(
    get: Get, types: np.ndarray, names: Sequence[str], open_boundary: bool, reading: Reading, where: str
) -> list[Atoms]:
    found = {}
    for name, spellings in NAMES.items():
        found[name] = next((value for spelling in spellings if (value := get(spelling)) is not None), None)
    coord, box, real = found.pop("coord"), found.pop("box"), found.pop("real_atom_types")
    if coord is None or (box is None and not open_boundary):
        raise DataError(f"{where}there is no {'coord' if coord is None else 'box'} in a set; copy the system again")
    f = len(coord)
    columns = {}
    try:
        positions = coord.reshape(f, -1, 3)
        cells = None if open_boundary or box is None else box.reshape(f, 3, 3)
        for name, shape in SHAPES.items():
            if found[name] is not None:
                columns[name] = np.asarray(found[name], dtype=float).reshape(f, *shape)
        if real is None:
            _ = positions.reshape(f, len(types), 3)
    except ValueError:
        sizes = {
            name: value.shape for name, value in {"coord": coord, "box": box, **found}.items() if value is not None
        }
        raise DataError(f"{where}the arrays of a set do not go together: {len(types)} types, {sizes}") from None
    elements = tuple(names) or reading.elements
    if real is None:
        zero_based = types if not elements else types - (1 if not names and types.min() > 0 else 0)
        return frames_of(_block(positions, zero_based, cells, columns, elements), where)
    frames = []
    for k in range(f):
        own = real[k] >= 0
        row = {name: value[k : k + 1] for name, value in columns.items()}
        if "force" in row:
            row["force"] = row["force"][:, own]
        cell = None if cells is None else cells[k : k + 1]
        frames += frames_of(_block(positions[k : k + 1, own], real[k][own], cell, row, elements), where)
    return frames


def _block(
    positions: np.ndarray, types: np.ndarray, cells: np.ndarray | None, columns: dict[str, np.ndarray],
    elements: Sequence[str],
) -> Block:  # fmt: skip
    from ase.data import atomic_numbers

    if elements:
        unknown = [name for name in elements if name not in atomic_numbers]
        if unknown or types.min() < 0 or types.max() >= len(elements):
            raise DataError(
                f"its types {np.unique(types).tolist()} and their names {list(elements)} do not give elements; give "
                "--elements Ru"
            )
        types = np.array([atomic_numbers[name] for name in elements])[types]
    return Block(positions, types, cells, None if cells is not None else np.zeros(3, bool), columns)
