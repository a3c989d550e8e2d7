"""Files that ASE reads, without what its readers lose or hide."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read
from ase.io.extxyz import key_val_str_to_dict

from ru_calc.dataset.reading import NONE, Reading
from ru_calc.errors import DataError

EXTXYZ = (".xyz", ".extxyz")
MATRIX = re.compile(r"""\b(stress|virial)=(["'{\[]?)([^"'}\]]*)["'}\]]?""")
# Keys that describe the atoms; ASE knows them in this spelling only, other programs (GPUMD) in any.
STRUCTURE_KEYS = {
    "Lattice": re.compile(r"""(?<!\S)lattice(?=\s*=\s*["'{\[]\s*[-+.\deE]+([\s,]+[-+.\deE]+){8})""", re.IGNORECASE),
    "Properties": re.compile(r"(?<!\S)properties(?=\s*=)", re.IGNORECASE),
    "pbc": re.compile(r"(?<!\S)pbc(?=\s*=)", re.IGNORECASE),
}
COLUMNS = re.compile(r"\b(species|pos)(?=:[SR]:\d)", re.IGNORECASE)
# Places of a matrix's entries among the six numbers.
MATRIX_FROM = {"ase": (0, 5, 4, 5, 1, 3, 4, 3, 2), "vasp": (0, 3, 5, 3, 1, 4, 5, 4, 2)}


def read_by_ase(path: Path, form: str, reading: Reading, index: slice) -> list[Atoms]:
    """Frames of a file in a format of ASE.

    Raises:
        DataError: a stress of six numbers whose order is not given, or a blank line that would hide frames.
        Exception: whatever ASE's readers raise.
    """
    options: dict[str, Any] = {}
    if form == "extxyz":
        refuse_blank_lines(path)
        options["properties_parser"] = _parser(reading)
    if form == "db":
        return _read_database(path)[index]
    frames = read(path, index=index, format=form, do_not_split_by_at_sign=True, **options)
    return [frames] if isinstance(frames, Atoms) else list(frames)


def refuse_blank_lines(path: Path) -> None:
    """Refuses a blank line before a frame.

    ASE takes it for the end of the file, and would silently drop the frames after it.

    Raises:
        DataError: naming the line.
    """
    text = path.read_text(errors="replace")
    if text.strip() and not text.partition("\n")[0].strip():
        raise DataError("line 1 is blank, but must be the number of atoms: remove it")
    blank = re.search(r"\n[ \t]*\n\s*\d+[ \t]*\n", text)
    if blank:
        line = text.count("\n", 0, blank.start()) + 2
        raise DataError(f"line {line} is blank, and the frames after it would be lost: remove it")


def spelled_as_ase(line: str) -> str:
    """An extxyz header with the keys and columns of cell, boundaries and positions as ASE spells them."""
    for name, pattern in STRUCTURE_KEYS.items():
        if not re.search(rf"(?<!\S){name}\s*=", line):
            line = pattern.sub(name, line, count=1)
    return COLUMNS.sub(lambda found: found[1].lower(), line)


def _parser(reading: Reading) -> Callable[[str], dict[str, Any]]:
    """ASE's parser of an extxyz header, which takes 9 numbers for a stress, and here 6 in a stated order."""

    def parse(line: str) -> dict[str, Any]:
        line = spelled_as_ase(line)
        try:
            return dict(key_val_str_to_dict(line))
        except ValueError:
            changed = MATRIX.sub(_nine, line)
            if changed == line:
                raise
            return dict(key_val_str_to_dict(changed))

    def _nine(found: re.Match[str]) -> str:
        numbers = found[3].split()
        if len(numbers) != 6:
            return found[0]
        name = found[1]
        if reading.keys(name) == (NONE,):
            return ""
        if reading.stress_order is None:
            raise DataError(
                f"its {name} has 6 numbers, not 9, and codes differ in their order: say --stress-order ase "
                f"(xx yy zz yz xz xy) or vasp (xx yy zz xy yz xz), or leave it out with --{name}-key none"
            )
        return f'{name}="{" ".join(numbers[k] for k in MATRIX_FROM[reading.stress_order])}"'

    return parse


def _read_database(path: Path) -> list[Atoms]:
    # ase.io drops the key-value pairs, including config_type and group_id.
    from ase.db import connect

    frames = []
    with connect(path) as database:
        for row in database.select():
            atoms = row.toatoms()
            atoms.info = dict(row.key_value_pairs)
            _take_data(atoms, row.data)
            frames.append(atoms)
    return frames


def _take_data(atoms: Atoms, data: Mapping[str, Any]) -> None:
    """What a row of a database holds beside its properties, by atom or by frame; labels may be among it."""
    from ru_calc.dataset.columns import label_of

    for name, value in data.items():
        array, label = np.asarray(value), label_of(name)
        of_frame = label is not None and label[0] != "forces"
        if array.ndim == 2 and len(array) == len(atoms) and array.dtype.kind in "fiu" and not of_frame:
            atoms.arrays.setdefault(name, array)
        else:
            atoms.info.setdefault(name, value)
