"""MACE's preprocessed HDF5 files: `config_batch_I/config_J` with one frame each.

Labels lie in the frame's group, in newer versions in `properties`, in eV and Å; virials = −stress·V.  A label that a
frame lacks is `None`, or zeros with the weight 0 (`energy_weight`, or `property_weights/energy`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ru_calc.dataset.layouts.hdf5_files import opened, values_of

STRUCTURE = {"atomic_numbers", "positions", "cell", "pbc"}
BATCH = "config_batch_"


def is_mace(file: h5py.File) -> bool:
    """Whether a file holds batches of configurations."""
    return any(name.startswith(BATCH) for name in file)


def read_mace(path: Path) -> list[Atoms]:
    """The frames of a file, in order of batches and configurations; raises what `opened` raises."""
    with opened(path) as file:
        batches = sorted((name for name in file if name.startswith(BATCH)), key=_number)
        return [_frame(file[batch][name]) for batch in batches for name in sorted(file[batch], key=_number)]


def _number(name: str) -> int:
    digits = name.rpartition("_")[2]
    return int(digits) if digits.isdigit() else -1


def _frame(group: h5py.Group) -> Atoms:
    values = {name: found for name in group if (found := _value(group[name])) is not None}
    values |= _inside(group, "properties")
    weights = {name.removesuffix("_weight"): value for name, value in values.items() if name.endswith("_weight")}
    weights |= _inside(group, "property_weights")
    cell, pbc = values.get("cell"), values.get("pbc", np.zeros(3, bool))
    atoms = Atoms(values["atomic_numbers"], values["positions"], cell=cell, pbc=np.asarray(pbc, dtype=bool))
    results: dict[str, Any] = {}
    for name, value in values.items():
        if name in STRUCTURE or name.endswith("_weight") or not np.any(weights.get(name, 1)):
            continue
        if name in ("energy", "forces", "stress"):
            results[name] = value
        else:
            atoms.info[name] = value
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _inside(group: h5py.Group, name: str) -> dict[str, Any]:
    return (
        {key: found for key, one in group[name].items() if (found := _value(one)) is not None} if name in group else {}
    )


def _value(stored: Any) -> Any:
    """The value of a dataset, or None where it is a group or says None."""
    if not isinstance(stored, h5py.Dataset):
        return None
    value = values_of(stored)
    return None if isinstance(value, str) and value == "None" else value
