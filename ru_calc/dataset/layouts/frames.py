"""Frames from arrays over frames, as most binary layouts keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ru_calc.dataset.layouts.types import numbers_of
from ru_calc.errors import DataError

# ASE's own names, whose units and order are ASE's in layouts that ASE's frames were written to.
RESULTS = ("energy", "free_energy", "forces", "stress")


@dataclass(frozen=True)
class Block:
    """Frames of the same number of atoms.

    Attributes:
        positions: (f, n, 3).
        types: (n,) or (f, n) atomic numbers, or types if elements are given.
        cells: (f, 3, 3), or None without cell.
        pbc: (3,) or (f, 3); None means all, where there is a cell.
        columns: arrays with a row for each frame.
        info: of every frame, such as declared units.
        elements: of the types.
        results: columns that are results in ASE's units and order.
    """

    positions: np.ndarray
    types: np.ndarray
    cells: np.ndarray | None = None
    pbc: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    elements: Sequence[str] = ()
    results: Sequence[str] = ()


def frames_of(block: Block, where: str) -> list[Atoms]:
    """The frames of a block.

    Raises:
        DataError: shapes that do not belong together, or types without elements.
    """
    positions = np.asarray(block.positions, dtype=float)
    if positions.ndim != 3 or positions.shape[2] != 3:
        raise DataError(f"{where}the shape of its positions is {positions.shape}; it must be (frames, atoms, 3)")
    f, n = positions.shape[:2]
    try:
        numbers = np.broadcast_to(numbers_of(block.types, block.elements), (f, n))
        cells = None if block.cells is None else np.broadcast_to(_matrices(block.cells), (f, 3, 3))
        pbc = np.broadcast_to(np.any(block.cells) if block.pbc is None else block.pbc, (f, 3)).astype(bool)
    except ValueError:
        shapes = [np.shape(one) for one in (block.types, block.cells, block.pbc) if one is not None]
        raise DataError(
            f"{where}positions have the shape {positions.shape}, which does not go with those of types, cells and pbc, "
            f"{', '.join(map(str, shapes))}"
        ) from None
    except DataError as problem:
        raise DataError(f"{where}{problem}") from None
    _check_rows(block.columns, f, where)
    frames = []
    for k in range(f):
        atoms = Atoms(numbers[k], positions[k], cell=None if cells is None else cells[k], pbc=pbc[k])
        atoms.info = dict(block.info)
        results: dict[str, Any] = {}
        for name, values in block.columns.items():
            _attach(atoms, name, values[k], results if name in block.results else None)
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return frames


def _matrices(cells: np.ndarray) -> np.ndarray:
    cells = np.asarray(cells, dtype=float)
    if cells.ndim and cells.shape[-1] == 9:
        return cells.reshape(*cells.shape[:-1], 3, 3)
    if cells.ndim == 2 and cells.shape[1] == 3 and cells.shape[0] != 3:
        return np.einsum("fi,ij->fij", cells, np.eye(3))  # edges of boxes
    return np.diag(cells) if cells.shape == (3,) else cells


def _check_rows(columns: Mapping[str, np.ndarray], f: int, where: str) -> None:
    for name, values in columns.items():
        if len(values) != f:
            raise DataError(f"{where}{name} has {len(values)} rows, but there are {f} frames; mend or remove it")


def _attach(atoms: Atoms, name: str, value: Any, results: dict[str, Any] | None) -> None:
    """A value as result, array or info; numbers that are NaN throughout stand for none."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    array = np.asarray(value)
    if array.dtype.kind == "f" and not np.isfinite(array).any() and np.isnan(array).any():
        return
    if results is not None:
        results[name] = value
    elif array.ndim == 2 and len(array) == len(atoms):
        atoms.arrays[name] = array
    else:
        atoms.info[name] = array[0] if array.shape == (1,) else value
