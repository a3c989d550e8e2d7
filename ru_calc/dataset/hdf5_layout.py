"""The native layout of HDF5 files, and one group of it.

Schema `ru-calc/frames`, version 1: one group per number of atoms, such as `size_00012`, with datasets whose first axis
is the frame and whose names are ASE's:

    order (f,)  numbers (f, n)  positions (f, n, 3) Å  cell (f, 3, 3) Å  pbc (f, 3)
    energy (f,) eV  forces (f, n, 3) eV/Å  stress (f, 6) eV/Å³ (xx yy zz yz xz xy)
    config_type (f,)  group_id (f,)  weight (f,)

`order` is the position of the frame in the data set.  A label that a frame lacks is NaN in all its values; energy and
what follows it may be absent in all groups.  Every dataset has an attribute `units` and is chunked, compressed and
checksummed (Fletcher-32).  The root attributes give schema, version, level of theory, energy reference and stress
convention.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ru_calc.dataset.checked_hdf5 import FLAGS, INTEGERS, NUMBERS, TEXT, CheckedFile
from ru_calc.dataset.frames import LABELS
from ru_calc.dataset.values import LABEL_RULE, WEIGHT_RULE, fine_labels, fine_weights
from ru_calc.errors import DataError
from ru_calc.structures import Structures, check_structures
from ru_calc.units import RUTHENIUM

SCHEMA, VERSION = "ru-calc/frames", 1
STRESS_CONVENTION = "sigma = (1/V) dE/d(strain), tension positive, Voigt xx yy zz yz xz xy"


@dataclass(frozen=True)
class Array:
    """What the layout says of a dataset: units, shape (`f` frames of `n` atoms), kind of values."""

    units: str
    shape: str
    kinds: str = NUMBERS
    optional: bool = True


ARRAYS = {
    "order": Array("1", "f", INTEGERS, optional=False),
    "numbers": Array("1", "f n", INTEGERS, optional=False),
    "positions": Array("Angstrom", "f n 3", optional=False),
    "cell": Array("Angstrom", "f 3 3", optional=False),
    "pbc": Array("1", "f 3", FLAGS, optional=False),
    "energy": Array("eV", "f"),
    "forces": Array("eV/Angstrom", "f n 3"),
    "stress": Array("eV/Angstrom^3", "f 6"),
    "config_type": Array("", "f", TEXT),
    "group_id": Array("", "f", TEXT),
    "weight": Array("1", "f"),
}
UNITS = {name: array.units for name, array in ARRAYS.items()}


def read_group(file: CheckedFile, group: str) -> dict[str, np.ndarray]:
    """The arrays of a group, those that are absent filled in.

    Raises:
        DataError: the layout does not allow its name, a member, or the shape, type, units or values of an array.
    """
    size = re.fullmatch(r"size_(\d{5,9})", group)
    if not size or not int(size[1]):
        file.refuse(f"/{group}", "is not in the layout, whose groups are size_NNNNN by their number of atoms")
    there = set(file.names(group))
    absent = [name for name, array in ARRAYS.items() if not (array.optional or name in there)]
    if absent:
        file.refuse(f"/{group}", f"lacks {absent[0]!r}")
    unknown = sorted(there - ARRAYS.keys())
    if unknown:
        file.refuse(f"/{group}/{unknown[0]}", f"is not in the layout, which has {', '.join(ARRAYS)}")
    lengths: dict[str, int | None] = {"f": None, "n": int(size[1])}
    values = {}
    for name in ARRAYS:
        if name in there:
            values[name] = _read_array(file, f"/{group}/{name}", ARRAYS[name], lengths)
            lengths["f"] = len(values[name])
    values = _missing(values["order"], int(size[1])) | values
    check_values(values, f"{file.path}: /{group}")
    return values


def _read_array(file: CheckedFile, name: str, array: Array, lengths: dict[str, int | None]) -> np.ndarray:
    units = file.attribute(name, "units")
    if not isinstance(units, str) or units != array.units:
        file.refuse(name, f"has units {units!r}; they must be {array.units!r}")
    if file.stored_twice(name):
        file.refuse(name, "is linked to another array; store it on its own")
    return file.array(name, tuple(lengths[x] if x in lengths else int(x) for x in array.shape.split()), array.kinds)


def _missing(order: np.ndarray, size: int) -> dict[str, np.ndarray]:
    f = len(order)
    return {
        "energy": np.full(f, np.nan), "forces": np.full((f, size, 3), np.nan), "stress": np.full((f, 6), np.nan),
        "config_type": np.full(f, "unnamed"), "group_id": np.array([f"frame_{k:06d}" for k in order], dtype=np.str_),
        "weight": np.ones(f),
    }  # fmt: skip


def check_values(values: dict[str, np.ndarray], where: str) -> None:
    """Refuses values of a group that no data set may hold.

    Raises:
        DataError: other elements; what `check_atoms` refuses; a label or weight against its rule.
    """
    order = values["order"]
    foreign = np.flatnonzero((values["numbers"] != RUTHENIUM).any(axis=1))
    if len(foreign):
        raise DataError(
            f"{where}/numbers: frame {order[foreign[0]]} has elements other than ruthenium ({RUTHENIUM}); remove it"
        )
    f, n = values["numbers"].shape
    structures = Structures(values["positions"].reshape(-1, 3), values["cell"], values["pbc"], np.full(f, n))
    check_structures(structures, lambda k: f"{where}, frame {order[k]}: ")
    for name in LABELS:
        _check_rule(values, name, fine_labels(values[name]), LABEL_RULE, where)
    _check_rule(values, "weight", fine_weights(values["weight"]), WEIGHT_RULE, where)


def _check_rule(values: dict[str, np.ndarray], name: str, fine: np.ndarray, rule: str, where: str) -> None:
    if not fine.all():
        k = np.flatnonzero(~fine)[0]
        entries = values[name][k].reshape(-1)
        odd = entries[~fine_weights(np.abs(entries))][0] if name != "weight" else entries[0]
        raise DataError(
            f"{where}/{name}: frame {values['order'][k]} has {odd:g}; it must be {rule}: correct it or remove the frame"
        )
