"""Columns of a frame by name, and which of them are labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from ru_calc.dataset.reading import NONE, Reading

# First come values that are marked as reference data, then the force-consistent energy: it is what forces derive from.
FAMILIES = ("ref", "dft", "")
QUANTITIES = {
    "energy": ("free_energy", "energy", "total_energy", "potential_energy"),
    "forces": ("forces", "force"),
    "stress": ("stress",),
    "virial": ("virial", "virials"),
}
LOOKS_LIKE = {
    "energy": re.compile(r"energ|toten|^e$|^e_|_e$|e0", re.I),
    "forces": re.compile(r"forc|grad|^f$|^f_|_f$", re.I),
    "virial": re.compile(r"virial", re.I),
    "stress": re.compile(r"stress|press", re.I),
}
# What is known and is no label: parts of one, the state of the atoms, settings.
OTHER = re.compile(
    r"energies|stresses|kin|velo|^vel|moment|magmom|dipol|charge|tags|masses|weight|cutoff|encut|ediff|tolerance|"
    r"reference|shift|_std|uncertainty|wall|cpu|scaled|^id$|type$|displace|^positions$|^numbers$|^pos",
    re.I,
)
DECLARED = re.compile(r"^(.*?)[-_. ]?units?$", re.I)


@dataclass(frozen=True)
class Column:
    """A value of a frame.

    Attributes:
        value: as the file holds it.
        result: it is the result of a calculator, in ASE's units and order.
    """

    value: Any
    result: bool


def columns_of(atoms: Atoms) -> dict[str, Column]:
    """Results of the calculator, `info` and `arrays` of a frame, by name."""
    columns = {name: Column(value, False) for name, value in {**atoms.arrays, **atoms.info}.items()}
    results = getattr(atoms.calc, "results", {})
    return columns | {name: Column(value, True) for name, value in results.items() if value is not None}


def label_of(name: str) -> tuple[str, int] | None:
    """The label that a column of this name is taken for, and its rank among the columns of that label."""
    family, quantity = split_family(name)
    for label, names in QUANTITIES.items():
        if quantity in names:
            return label, FAMILIES.index(family) * len(names) + names.index(quantity)
    return None


def split_family(name: str) -> tuple[str, str]:
    """`ref`, `dft` or nothing, and the rest of a name in lower case: `REF_energy` is (`ref`, `energy`)."""
    plain = name.lower()
    for family in FAMILIES[:-1]:
        for mark in "_-":
            if plain.startswith(family + mark):
                return family, plain[len(family) + 1 :]
    return "", plain


def chosen(columns: Mapping[str, Column], reading: Reading) -> dict[str, str]:
    """The column of each label that a frame has."""
    found = {}
    for label in QUANTITIES:
        asked = reading.keys(label)
        if asked:
            taken = next((name for name in asked if name in columns and name != NONE), None)
        else:
            known = {name: place for name in columns if (place := label_of(name)) and place[0] == label}
            taken = min(known, key=lambda name: (known[name][1], name), default=None)
        if taken is not None:
            found[label] = taken
    return found


def left_out(columns: Mapping[str, Column], taken: Mapping[str, str], n_atoms: int) -> dict[str, str]:
    """Columns that look like a label and are not taken, and the label that each looks like."""
    found = {}
    for name, column in columns.items():
        if name in taken.values() or OTHER.search(name) or DECLARED.match(name):
            continue
        label = _like(name, column.value, n_atoms)
        if label:
            found[name] = label
    return found


def _like(name: str, value: Any, n_atoms: int) -> str | None:
    known = label_of(name)
    if known:
        return known[0]
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return None
    if isinstance(value, bool | np.bool_):
        return None
    shapes: dict[str, list[tuple[int, ...]]] = {
        "energy": [(), (1,)], "forces": [(n_atoms, 3)], "stress": [(6,), (9,), (3, 3)]
    }  # fmt: skip
    shapes["virial"] = shapes["stress"]
    for label, pattern in LOOKS_LIKE.items():
        if pattern.search(name) and array.shape in shapes[label]:
            return label
    # An unknown vector of every atom may be forces under any name; integers are not.
    return "forces" if array.shape == (n_atoms, 3) and np.asarray(value).dtype.kind == "f" else None
