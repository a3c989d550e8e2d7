"""H5MD (de Buyl et al., 2014) as ru-calc, ZnH5MD, MDAnalysis and LAMMPS write it.

`particles/G/position/value` is (frames, atoms, 3); `species` and `box/edges` are fixed or change with time; `force` and
`observables/…/potential_energy` are labels.  ZnH5MD pads frames with NaN to the largest number of atoms, writes text as
JSON, and says in `ASE_ENTRY_ORIGIN` whether a value was a result in ASE's units and order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ru_calc.dataset.layouts.hdf5_files import opened, unit_attribute, values_of
from ru_calc.dataset.layouts.types import numbers_of
from ru_calc.dataset.reading import Reading
from ru_calc.errors import DataError

ORIGIN = "ASE_ENTRY_ORIGIN"
# Elements of particles that are no columns; velocities and images are not labels.
NO_COLUMN = {"position", "species", "box", "mass", "image", "velocity", "id"}
NAMES = {"force": "forces", "potential_energy": "energy"}


def is_h5md(file: h5py.File) -> bool:
    """Whether a file holds particles with positions."""
    return "particles" in file and isinstance(file["particles"], h5py.Group)


def read_h5md(path: Path, reading: Reading) -> list[Atoms]:
    """The frames of the one group of particles.

    Raises:
        DataError: there are several groups; an element was sampled at other steps than the positions; types without
            elements.
    """
    with opened(path) as file:
        groups = [group for group in file["particles"].values() if "position" in group]
        if len(groups) != 1:
            names = ", ".join(group.name for group in groups) or "none"
            raise DataError(f"{path}: the groups of particles with positions are {names}; there must be one")
        return _frames(file, groups[0], path, reading)


def _frames(file: h5py.File, group: h5py.Group, path: Path, reading: Reading) -> list[Atoms]:
    where = f"{path}, {group.name}: "
    positions = np.asarray(values_of(group["position/value"]), dtype=float)
    if positions.ndim != 3 or positions.shape[2] != 3:
        raise DataError(f"{where}the shape of position is {positions.shape}; it must be (frames, atoms, 3)")
    species = _species(group, where)
    cells, pbc = _box(group, len(positions), where)
    columns = list(_columns(file, group, where))
    units = _lengths(group, where) | {f"{name}-unit": unit for name, _, unit, _ in columns if unit}
    frames = []
    for k, there in enumerate(positions):
        own = species if species.ndim == 1 else species[k]
        real = np.isfinite(there).any(axis=1) & (np.isfinite(own) if own.dtype.kind == "f" else True)
        try:
            atoms = Atoms(numbers_of(own[real], reading.elements), there[real], cell=cells[k], pbc=pbc[k])
        except DataError as problem:
            raise DataError(f"{where}{problem}") from None
        atoms.info = dict(units)
        results: dict[str, Any] = {}
        for name, values, _, origin in columns:
            _attach(atoms, name, values[k], real, results if origin == "calc" else atoms.info)
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return frames


def _species(group: h5py.Group, where: str) -> np.ndarray:
    if "species" not in group:
        raise DataError(f"{where}it has no species, so the elements are unknown; add species with atomic numbers")
    stored = group["species"]
    stored = stored["value"] if isinstance(stored, h5py.Group) else stored
    names = h5py.check_enum_dtype(stored.dtype)
    values = np.asarray(values_of(stored))
    if names:
        from ase.data import atomic_numbers

        symbols = {number: atomic_numbers.get(name.capitalize(), 0) for name, number in names.items()}
        return np.vectorize(lambda number: symbols.get(number, 0), otypes=[int])(values)
    return values


def _box(group: h5py.Group, f: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Cells (f, 3, 3) and pbc (f, 3)."""
    box = group.get("box", {})
    periodic = np.zeros((f, 3), bool)
    boundary = box.attrs.get("boundary") if box else None
    if boundary is not None:
        periodic[:] = [_text(one) == "periodic" for one in np.broadcast_to(boundary, 3)]
    if "pbc" in box:
        periodic = np.asarray(values_of(box["pbc/value"])).astype(bool)
    if "edges" not in box:
        if periodic.any():
            raise DataError(f"{where}it is periodic, but has no box/edges")
        return np.zeros((f, 3, 3)), periodic
    edges = box["edges"]
    values = np.asarray(values_of(edges["value"] if isinstance(edges, h5py.Group) else edges), dtype=float)
    fixed = not isinstance(edges, h5py.Group)
    diagonal = values.shape[-1:] == (3,) and values.ndim == (1 if fixed else 2)
    cells = values[..., None] * np.eye(3) if diagonal else values
    try:
        cells = np.broadcast_to(cells, (f, 3, 3))
    except ValueError:
        raise DataError(f"{where}the shape of box/edges is {values.shape}, which does not go with {f} frames") from None
    return np.nan_to_num(cells), periodic


def _lengths(group: h5py.Group, where: str) -> dict[str, str]:
    """The unit of positions and cell, in `info`."""
    edges = group.get("box/edges")
    stored = [group["position/value"], *([edges["value"] if isinstance(edges, h5py.Group) else edges] if edges else [])]
    units = {unit for one in stored if (unit := unit_attribute(one))}
    if len(units) > 1:
        raise DataError(f"{where}positions and box are in different units, {' and '.join(sorted(units))}")
    return dict.fromkeys(["length-unit"] if units else [], next(iter(units), ""))


def _columns(file: h5py.File, group: h5py.Group, where: str) -> Iterator[tuple[str, Any, str | None, str | None]]:
    """Name, rows, unit and origin of each element that was sampled with the positions."""
    ours = group.name.split("/")[-1]
    observables = file.get("observables", {})
    others = [one for one in file["particles"] if one != ours]
    stored = {name: group[name] for name in group if name not in NO_COLUMN}
    for place in (observables, observables.get(ours, {})):
        stored |= {name: place[name] for name in place if name not in (ours, *others)}
    for name, element in stored.items():
        if not isinstance(element, h5py.Group) or "value" not in element:
            continue
        origin = element.attrs.get(ORIGIN)
        rows = _rows(element, group["position"], f"{where}{name} ")
        yield NAMES.get(name, name), rows, unit_attribute(element["value"]), None if origin is None else _text(origin)


def _rows(element: h5py.Group, position: h5py.Group, what: str) -> np.ndarray:
    """Values at the steps of the positions; rows that were not sampled are NaN."""
    values, f = values_of(element["value"]), len(position["value"])
    own, steps = (np.asarray(one["step"][()]) if "step" in one else np.zeros(0) for one in (element, position))
    told = own.ndim == 1 and steps.ndim == 1 and len(own) == len(values) and len(steps) == f
    if told and not np.array_equal(own, steps):
        place = {int(step): row for row, step in enumerate(own)}
        rows = np.full((f, *np.shape(values)[1:]), np.nan)
        for k, step in enumerate(steps):
            if int(step) in place:
                rows[k] = values[place[int(step)]]
        return rows
    if len(values) > f or (len(values) < f and not told):
        raise DataError(f"{what}has {len(values)} rows, but there are {f} frames; mend or remove it")
    return values


def _attach(atoms: Atoms, name: str, value: Any, real: np.ndarray, target: dict[str, Any]) -> None:
    if isinstance(value, bytes | str):
        text = _text(value)
        if text:
            target[name] = _json(text)
        return
    array = np.asarray(value)
    if array.ndim == 2 and array.shape[0] == len(real):
        array = array[real]
    if array.dtype.kind == "f" and np.isnan(array).all():
        return
    if array.ndim == 2 and len(array) == len(atoms) and target is atoms.info:
        atoms.arrays[name] = array
    else:
        target[name] = array if array.ndim else array[()]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
