"""Grouped arrays: HDF5 as TorchMD-NET and NequIP read it, and .npz as sGDML and NequIP do.

Each group holds frames of one size: positions (f, n, 3), atomic numbers or types (n,) or (f, n), optional cells and
pbc, and any other array with a row for each frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms

from ru_calc.dataset.declared import DECLARED
from ru_calc.dataset.layouts.frames import Block, frames_of
from ru_calc.dataset.layouts.hdf5_files import opened, unit_attribute, values_of
from ru_calc.dataset.reading import Reading
from ru_calc.errors import DataError

POSITIONS = ("pos", "positions", "coordinates", "coord", "coords", "R")
TYPES = ("atomic_numbers", "numbers", "types", "species", "z", "Z")
CELLS = ("cell", "cells", "lattice", "box")
# Names of sGDML's and rMD17's arrays.
ALIASES = {"E": "energy", "F": "forces", "energies": "energy"}
UNIT_ALIASES = {"r_unit": "length-unit", "e_unit": "energy-unit", "f_unit": "forces-unit"}


def is_grouped(file: h5py.File) -> bool:
    """Whether a file holds groups with positions and types."""
    return bool(_groups(file))


def _groups(file: h5py.File) -> list[h5py.Group]:
    """Groups with positions and types, at any depth."""
    found: list[h5py.Group] = [file]
    file.visititems(lambda name, one: found.append(one) if isinstance(one, h5py.Group) else None)
    return [group for group in found if _first(group, POSITIONS) and _first(group, TYPES)]


def _first(names: Any, known: tuple[str, ...]) -> str | None:
    return next((name for name in known if name in names), None)


def read_grouped(path: Path, reading: Reading) -> list[Atoms]:
    """The frames of all groups, in order of their names; raises what `frames_of` raises."""
    frames: list[Atoms] = []
    with opened(path) as file:
        for group in _groups(file):
            arrays = {name: one for name, one in group.items() if isinstance(one, h5py.Dataset)}
            values = {name: values_of(one) for name, one in arrays.items()}
            units = {f"{name}-unit": unit for name, one in arrays.items() if (unit := unit_attribute(one))}
            for place in (file, group):
                units |= {name: value for name, value in place.attrs.items() if DECLARED.match(name)}
            frames += _frames(values, units, reading, f"{path}, {group.name}: ")
    return frames


def read_npz(path: Path, reading: Reading) -> list[Atoms]:
    """The frames of an .npz file; raises what `frames_of` raises."""
    with np.load(path, allow_pickle=False) as file:
        values = {name: file[name] for name in file.files}
    if not (_first(values, POSITIONS) and _first(values, TYPES)):
        raise DataError(
            f"{path} has the arrays {', '.join(values)}; it must have positions ({', '.join(POSITIONS)}) and atomic "
            f"numbers or types ({', '.join(TYPES)})"
        )
    units = {UNIT_ALIASES.get(name, name): str(value) for name, value in values.items() if DECLARED.match(name)}
    return _frames(values, units, reading, f"{path}: ")


def _frames(values: Mapping[str, Any], units: dict[str, Any], reading: Reading, where: str) -> list[Atoms]:
    positions, types = str(_first(values, POSITIONS)), str(_first(values, TYPES))
    cells = _first(values, CELLS)
    coordinates = np.asarray(values[positions], dtype=float)
    if coordinates.ndim == 2:
        coordinates = coordinates[None]
    taken = {positions, types, cells, "pbc"}
    columns, info = {}, dict(units)
    for name, value in values.items():
        if name in taken or DECLARED.match(name):
            continue
        array = np.asarray(value)
        if array.ndim == 0 or array.dtype.kind == "O" or len(array) != len(coordinates):
            _refuse_label(name, array, len(coordinates), where)
            if array.dtype.kind in "fiu":
                info.setdefault(name, value)  # it may be a label under a name of its own, which is then told
            continue
        alias = ALIASES.get(name, name)
        columns[name if alias in values else alias] = array
    info |= {f"{ALIASES[name.removesuffix('-unit')]}-unit": unit for name, unit in units.items()
             if name.removesuffix("-unit") in ALIASES}  # fmt: skip
    block = Block(
        coordinates, np.asarray(values[types]), np.asarray(values[cells]) if cells else None,
        np.asarray(values["pbc"]) if "pbc" in values else None, columns, info, reading.elements,
    )  # fmt: skip
    return frames_of(block, where)


def _refuse_label(name: str, array: np.ndarray, f: int, where: str) -> None:
    """An array that looks like a label must have a row for every frame."""
    from ru_calc.dataset.columns import label_of

    if label_of(ALIASES.get(name, name)):
        rows = len(array) if array.ndim else 0
        raise DataError(f"{where}{name} has {rows} rows, but there are {f} frames; mend or remove it")
