"""From files that ASE reads to a `Dataset`: which energy is taken, what is missing, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from ru_calc.dataset import LABELS, Dataset
from ru_calc.errors import DataError
from ru_calc.structures import check_atoms

ENERGIES = ("auto", "free_energy", "energy")
GROUPINGS = ("info", "file")
OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
INFO = ("config_type", "group_id", "weight")


@dataclass(frozen=True)
class ConvertSettings:
    """How labels are taken.

    Attributes:
        energy: `free_energy`, `energy`, or `auto`: the force-consistent `free_energy` where a frame has one.
        group_by: `info` takes each frame's `group_id`, or makes it a group of its own; `file` makes one of each file.
        level_of_theory, energy_reference: what the labels are, kept in the file.
    """

    energy: str = "auto"
    group_by: str = "info"
    level_of_theory: str = "not stated"
    energy_reference: str = "as labelled"


@dataclass(frozen=True)
class Conversion:
    """A data set, and what became of the labels on the way.

    Attributes:
        energies: frames whose energy is `free_energy`, `energy`, or `missing`.
        stress_dropped: frames whose stress was left out, because they are not periodic in three directions.
        unlabelled: frames with neither energy nor forces nor stress.
    """

    dataset: Dataset
    energies: dict[str, int]
    stress_dropped: int
    unlabelled: int


def convert(paths: Sequence[str | Path], settings: ConvertSettings | None = None) -> Conversion:
    """Reads files one after the other.

    Args:
        paths: anything `ase.io.read` takes, also compressed (.gz, .bz2, .xz).

    Raises:
        DataError: a file that is missing, empty or unreadable; a frame with other elements than ruthenium, or with a
            position, cell, label or weight that is not finite (the message names file and frame); no label at all.
    """
    settings = settings or ConvertSettings()
    frames: list[Atoms] = []
    energies: Counter[str] = Counter()
    dropped = 0
    for number, path in enumerate(paths):
        for k, atoms in enumerate(read_frames(path)):
            frame, source, without_stress = clean_frame(atoms, settings.energy, f"{path}, frame {k}: ")
            if settings.group_by == "file":
                frame.info["group_id"] = f"{number:04d}_{Path(path).name}"
            frames.append(frame)
            energies[source] += 1
            dropped += without_stress
    # Every frame now has at most one energy.
    dataset = Dataset.from_atoms(frames, "energy", settings.level_of_theory, energy_reference=settings.energy_reference)
    bare = len(dataset) - int(np.any([dataset.has(label) for label in LABELS], axis=0).sum())
    if bare == len(dataset):
        raise DataError(
            f"none of the {bare} frames has {'an energy' if settings.energy == 'auto' else settings.energy}, forces or "
            "a stress, so there is nothing to learn from; convert files that hold the results of a calculation"
        )
    return Conversion(dataset, dict(energies), dropped, bare)


def read_frames(path: str | Path) -> list[Atoms]:
    """All frames of a file.

    Raises:
        DataError: the file is missing, empty, or in no format that ASE knows.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}; check the path")
    try:
        frames = _read_compressed(path) if path.suffix in OPENERS else _read_plain(path)
    except Exception as problem:  # ase.io raises whatever its parsers run into
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise DataError(
            f"{path} cannot be read ({type(problem).__name__}: {reason}); is it whole, and of a format that ASE reads?"
        ) from problem
    if not frames:
        raise DataError(f"{path} holds no frames; leave it out")
    return frames


def _read_compressed(path: Path) -> list[Atoms]:
    # Unpacked first: ASE seeks within the stream, which makes 4000 frames take minutes instead of seconds.
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        with OPENERS[path.suffix](path, "rb") as packed, open(plain, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        return _read_plain(plain)


def _read_plain(path: Path) -> list[Atoms]:
    if path.suffix == ".db":
        return _read_database(path)
    if path.suffix in (".xyz", ".extxyz"):
        _refuse_blank_lines(path)
    frames = read(path, index=":", do_not_split_by_at_sign=True)
    return [frames] if isinstance(frames, Atoms) else list(frames)


def _refuse_blank_lines(path: Path) -> None:
    # ASE takes a blank line for the end of the file, and would leave out the frames behind it without a word.
    text = path.read_text(errors="replace")
    blank = re.search(r"\n[ \t]*\n\s*\d+[ \t]*\n", text)
    if blank:
        line = text.count("\n", 0, blank.start()) + 2
        raise ValueError(f"line {line} is blank, and frames behind it would be lost: remove it")


def _read_database(path: Path) -> list[Atoms]:
    # ase.io leaves out the key-value pairs, and with them config_type and group_id.
    from ase.db import connect

    frames = []
    with connect(path) as database:
        for row in database.select():
            atoms = row.toatoms()
            atoms.info = dict(row.key_value_pairs)
            frames.append(atoms)
    return frames


def clean_frame(atoms: Atoms, energy: str = "auto", where: str = "") -> tuple[Atoms, str, bool]:
    """A frame with one energy, checked, and without a stress that has no meaning.

    Args:
        energy: as in `ConvertSettings`.
        where: put before every message.

    Returns:
        The frame; `free_energy`, `energy` or `missing`; whether a stress was left out.

    Raises:
        DataError: as in `convert`.
    """
    if not len(atoms):
        raise DataError(f"{where}it has no atoms; remove the frame")
    check_atoms(atoms, where)
    results = dict(getattr(atoms.calc, "results", {}))
    choices = ("free_energy", "energy") if energy == "auto" else (energy,)
    source = next((key for key in choices if results.get(key) is not None), "missing")
    labels = {"energy": results.get(source), "forces": results.get("forces"), "stress": results.get("stress")}
    labels = {name: value for name, value in labels.items() if value is not None}
    for name, value in labels.items():
        _check_label(source if name == "energy" else name, value, len(atoms), where)
    without_stress = "stress" in labels and not atoms.pbc.all()
    if without_stress:
        labels.pop("stress")
    frame = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    frame.info = _checked_info(atoms.info, where)
    frame.calc = SinglePointCalculator(frame, **labels)
    return frame, source, without_stress


def _check_label(name: str, value: Any, n_atoms: int, where: str) -> None:
    known: dict[str, list[tuple[int, ...]]] = {"forces": [(n_atoms, 3)], "stress": [(6,), (3, 3), (9,)]}
    shapes = known.get(name, [()])
    if np.shape(value) not in shapes:
        raise DataError(f"{where}its {name} has shape {np.shape(value)}; it must be {' or '.join(map(str, shapes))}")
    if not np.isfinite(np.asarray(value, dtype=float)).all():
        raise DataError(f"{where}its {name} is not finite; remove the frame or the label")


def _checked_info(info: dict[str, Any], where: str) -> dict[str, Any]:
    kept = {name: info[name] for name in INFO if name in info}
    if "weight" in kept:
        try:
            weight = float(kept["weight"])
        except (TypeError, ValueError):
            weight = np.nan
        if not (np.isfinite(weight) and weight >= 0):
            raise DataError(f"{where}its weight is {kept['weight']!r}; it must be a number that is not negative")
    return kept
