"""Reads a file in whatever layout it has."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype, ioformats

from ru_calc.dataset.hdf5 import SCHEMA, read_dataset
from ru_calc.dataset.layouts import arrays, deepmd, espresso, h5md, lammps, mace, vasp
from ru_calc.dataset.layouts.ase_files import EXTXYZ, read_by_ase
from ru_calc.dataset.layouts.contents import Contents
from ru_calc.dataset.layouts.hdf5_files import opened
from ru_calc.dataset.layouts.occupancy import check_occupancy
from ru_calc.dataset.layouts.paths import Source, files_of, locate
from ru_calc.dataset.levels import UNSTATED
from ru_calc.dataset.reading import Reading
from ru_calc.dataset.text_heaps import check_text_heaps
from ru_calc.errors import DataError, RuCalcError, reason

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
NATIVE = "ru-calc"
# Layouts by name: those that ASE lacks, and those whose reader of ASE needs help.
FORMATS = (NATIVE, "h5md", "deepmd", "mace", "arrays", "lammps-dump-text", "lammps-data", "vasp-xml", "vasp-out")
HDF5_LAYOUTS = {"h5md": h5md.is_h5md, "deepmd": deepmd.is_hdf5, "mace": mace.is_mace, "arrays": arrays.is_grouped}
LAMMPS_DATA = re.compile(r"^\s*\d+\s+atoms\b.*?^.*\bxlo\s+xhi\b", re.M | re.S)
ALL, LAST = slice(None), slice(-1, None)
AS_FOUND = Reading()
NEW_GPAW = b" |__||  | ||/\\| - "  # in the head of the text of GPAW 26.7, which ASE 3.29 does not read


def read_frames(path: str | Path, reading: Reading = AS_FOUND) -> list[Atoms]:
    """All frames of a file, `FILE@INDEX` or a folder, also of those that are structures but no data.

    Raises:
        DataError: see `read_contents`.
    """
    sources, _ = files_of(path, reading.format is not None)
    return [atoms for source in sources for atoms in read_contents(source, reading).frames]


def read_last(path: str | Path, reading: Reading = AS_FOUND) -> Atoms:
    """The last frame of a file, or the one that `FILE@INDEX` names.

    Raises:
        DataError: see `read_contents`; or the index names several frames.
    """
    source = locate(path)
    found = read_contents(source if source.index else Source(source.path, LAST), reading).frames
    if len(found) > 1:
        raise DataError(f"{path} names {len(found)} frames; name one, as {source.path}@0")
    return found[0]


def read_contents(source: Source, reading: Reading = AS_FOUND) -> Contents:
    """The frames of a file, and which of them are no data.

    Raises:
        DataError: the file is empty, damaged, or in no layout that is known; a site is partly occupied.
    """
    path, index = source.path, source.index or ALL
    try:
        if path.suffix in OPENERS:
            contents = _read_compressed(path, reading, index)
        else:
            contents = _read_plain(path, reading, index)
    except RuCalcError as problem:
        raise problem if str(path) in str(problem) else DataError(f"{path}: {problem}") from problem
    except Exception as problem:  # ase.io raises whatever its parsers run into
        raise DataError(
            f"{path} cannot be read ({reason(problem)}); is it complete, in a format that ASE reads? --format names one"
        ) from problem
    if not contents.frames:
        whole = source.index in (None, LAST)
        what = "contains no frames; give another file, or leave it out" if whole else "has no frames of that index"
        raise DataError(f"{path} {what}")
    for number, atoms in zip(contents.numbers, contents.frames, strict=True):
        check_occupancy(atoms, f"{path}, frame {number}: ")
    return contents


def _read_compressed(path: Path, reading: Reading, index: slice) -> Contents:
    # ASE seeks within the stream, and 4000 frames would take minutes instead of seconds: unpack first.
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        with OPENERS[path.suffix](path, "rb") as packed, open(plain, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        try:
            return _read_plain(plain, reading, index)
        except RuCalcError as problem:
            raise DataError(str(problem).replace(str(plain), str(path))) from problem


def layout_of(path: Path) -> str:
    """One of `FORMATS`, or a format of ASE.

    Raises:
        DataError: an HDF5 file in no layout that is known.
        UnknownFileTypeError: ASE does not know the format.
    """
    if path.is_dir():
        return "deepmd"
    if path.suffix in EXTXYZ:
        return "extxyz"
    if path.suffix == ".npz":
        return "arrays"
    if path.suffix in (".h5", ".hdf5") or (path.suffix != ".nc" and h5py.is_hdf5(path)):
        return _hdf5_layout(path)
    if path.suffix in (".data", ".lmp", "") or path.name.startswith("data."):
        with open(path, encoding="utf-8", errors="replace") as file:
            if LAMMPS_DATA.search(file.read(4000)):
                return "lammps-data"
    with open(path, "rb") as start:
        if NEW_GPAW in start.read(200):
            raise DataError(
                f"{path} is the text output of a GPAW whose format ASE does not read; give the trajectory of the run "
                "(.traj), or one written from its .gpw file"
            )
    try:
        form = str(filetype(str(path)))
    except UnknownFileTypeError:
        form = ""
    if form not in ioformats:  # ASE takes any suffix for a format
        raise ValueError("the format is not known")
    return form


def _hdf5_layout(path: Path) -> str:
    if not h5py.is_hdf5(path):
        return NATIVE
    try:
        check_text_heaps(path)
        with h5py.File(path) as file:
            native = file.attrs.get("schema") == SCHEMA
    except Exception:  # h5py raises almost anything on damaged files, of which the native reader says what is wrong
        native = True
    if native:
        return NATIVE
    with opened(path) as file:
        return next((name for name, fits in HDF5_LAYOUTS.items() if fits(file)), NATIVE)


def _read_plain(path: Path, reading: Reading, index: slice) -> Contents:
    form = reading.format or layout_of(path)
    if form not in FORMATS and form not in ioformats:
        raise DataError(f"--format is {form!r}; it must be one of {', '.join(FORMATS)}, or a format of ASE")
    if form == "vasp-xml":
        return vasp.read_vasprun(path).part(index)
    if form == "vasp-out":
        return vasp.read_outcar(path).part(index)
    if form == "espresso-out":
        return espresso.read_output(path).part(index)
    if form in lammps.DUMPS:
        return _numbered(lammps.read_dump(path, form, reading), index)
    if form in FORMATS:
        return _numbered(_own(form, path, reading), index)
    if index in (ALL, LAST):
        return Contents(read_by_ase(path, form, reading, index))
    return _numbered(read_by_ase(path, form, reading, ALL), index)


def _numbered(frames: list[Atoms], index: slice) -> Contents:
    return Contents(frames).part(index)


def _own(form: str, path: Path, reading: Reading) -> list[Atoms]:
    if form == "h5md":
        return h5md.read_h5md(path, reading)
    if form == "deepmd":
        return deepmd.read_folder(path, reading) if path.is_dir() else deepmd.read_hdf5(path, reading)
    if form == "mace":
        return mace.read_mace(path)
    if form == "arrays":
        return arrays.read_npz(path, reading) if path.suffix == ".npz" else arrays.read_grouped(path, reading)
    if form == "lammps-data":
        return lammps.read_data(path, reading)
    return _native(path)


def _native(path: Path) -> list[Atoms]:
    dataset = read_dataset(path)
    frames = []
    for k in range(len(dataset)):
        atoms = dataset.atoms(k)
        atoms.info["weight"] = float(dataset.weight[k])
        if dataset.level_of_theory != UNSTATED:
            atoms.info["level_of_theory"] = dataset.level_of_theory
        frames.append(atoms)
    return frames
