"""LAMMPS dumps and data files: elements of types, units, and no energy that nobody computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ase import Atoms
from ase.data import atomic_numbers
from ase.io import read

from ru_calc.dataset.reading import Reading
from ru_calc.errors import DataError

DUMPS = ("lammps-dump-text", "lammps-dump-binary")
STYLES = ("metal", "real", "electron", "si", "cgs", "micro", "nano")


def read_dump(path: Path, form: str, reading: Reading) -> list[Atoms]:
    """Frames of a dump, `form` one of `DUMPS`.

    Raises:
        DataError: it names no elements, or its units are those of Lennard-Jones.
    """
    columns, style = _header(path) if form == DUMPS[0] else (["type"], "metal")
    if not {"element", "mass"} & set(columns) and not reading.elements:
        raise DataError(
            f"{path} numbers the types of its atoms and does not say which elements they are; give --elements Ru"
        )
    if style not in STYLES:
        raise DataError(f"{path} is in units {style!r}; they must be one of {', '.join(STYLES)}")
    options: dict[str, Any] = {"specorder": list(reading.elements)} if reading.elements else {}
    frames = read(path, index=":", format=form, units=style, do_not_split_by_at_sign=True, **options)
    for atoms in frames:
        if atoms.calc is not None:
            atoms.calc.results.pop("energy", None)  # 0.0, which ASE puts there
    return list(frames)


def _header(path: Path) -> tuple[list[str], str]:
    """Columns of the atoms and style of units, metal if none is stated."""
    style = "metal"
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("ITEM: UNITS"):
                style = next(file, "").strip()
            elif line.startswith("ITEM: ATOMS"):
                return line.split()[2:], style
    raise DataError(f"{path} is a LAMMPS dump without atoms")


def read_data(path: Path, reading: Reading) -> list[Atoms]:
    """The structure of a data file; elements from --elements, labels of types or masses.

    Raises:
        DataError: none of them tells the elements.
    """
    text = path.read_text(errors="replace")
    if not reading.elements and "Masses" not in text and "Atom Type Labels" not in text:
        raise DataError(
            f"{path} numbers the types of its atoms and does not say which elements they are; give --elements Ru"
        )
    types = {k: atomic_numbers[element] for k, element in enumerate(reading.elements, 1)} or None
    atoms = read(path, format="lammps-data", Z_of_type=types, units=_style(text), do_not_split_by_at_sign=True)
    assert isinstance(atoms, Atoms)
    atoms.info.pop("comment", None)
    return [atoms]


def _style(text: str) -> str:
    """The units that the first line of a data file states, metal if none."""
    first = text.partition("\n")[0]
    stated = first.partition("units =")[2].split()
    return stated[0].rstrip(",") if stated and stated[0] in STYLES else "metal"
