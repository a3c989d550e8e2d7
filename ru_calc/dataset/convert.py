"""Converts files that ASE reads to a `Dataset`."""

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

from ru_calc.dataset.frames import LABELS, Dataset, labels_of
from ru_calc.dataset.levels import UNSTATED, stated_level
from ru_calc.dataset.values import WEIGHT_RULE, fine_weights
from ru_calc.errors import DataError, reason
from ru_calc.structures import check_atoms

ENERGIES = ("auto", "free_energy", "energy")
GROUPINGS = ("info", "file")
OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
INFO = ("config_type", "group_id", "weight")


@dataclass(frozen=True)
class ConvertSettings:
    """How labels and groups are taken.

    Attributes:
        energy: one of `ENERGIES`; see `labels_of`.
        group_by: `info` groups frames by their `group_id` (a frame without one is its own group), `file` by file.
        level_of_theory: of the labels, kept in the file; None takes what all frames state.
        energy_reference: zero of the energies, kept in the file.
        leave_out: config types whose frames are left out.
    """

    energy: str = "auto"
    group_by: str = "info"
    level_of_theory: str | None = None
    energy_reference: str = "as labelled"
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conversion:
    """A converted data set, and what happened to its labels.

    Attributes:
        dataset: all frames.
        energies: number of frames whose energy is `free_energy`, `energy` or `missing`.
        stress_dropped: number of frames whose stress was dropped, as they are not periodic in three directions.
        unlabelled: number of frames without any label.
        left_out: number of frames of each config type that was left out.
    """

    dataset: Dataset
    energies: dict[str, int]
    stress_dropped: int
    unlabelled: int
    left_out: dict[str, int]


def convert(paths: Sequence[str | Path], settings: ConvertSettings | None = None) -> Conversion:
    """The frames of all files that `ase.io.read` takes, also compressed (.gz, .bz2, .xz), in order.

    Raises:
        DataError: a file that is missing, empty or unreadable; a frame (named by file and number) with other elements,
            or with a position, cell, label or weight that is not finite; no label in any frame; frames that state
            different levels of theory, if none is given; a config type to leave out that no frame has.
    """
    settings = settings or ConvertSettings()
    frames: list[Atoms] = []
    energies: Counter[str] = Counter()
    levels: Counter[str | None] = Counter()
    left_out = Counter(dict.fromkeys(settings.leave_out, 0))
    dropped = 0
    for number, path in enumerate(paths):
        for k, atoms in enumerate(read_frames(path)):
            if atoms.info.get("config_type") in left_out:
                left_out[atoms.info["config_type"]] += 1
                continue
            frame, source, without_stress = clean_frame(atoms, settings.energy, f"{path}, frame {k}: ")
            if settings.group_by == "file":
                frame.info["group_id"] = f"{number:04d}_{Path(path).name}"
            frames.append(frame)
            levels[stated_level(atoms.info)] += 1
            energies[source] += 1
            dropped += without_stress
    absent = [name for name, count in left_out.items() if not count]
    if absent:
        raise DataError(f"no frame has the config type {absent[0]!r}, which was to be left out; check its spelling")
    # Every frame now has at most one energy.
    level = settings.level_of_theory or _common_level(levels)
    dataset = Dataset.from_atoms(frames, "energy", level, energy_reference=settings.energy_reference)
    bare = len(dataset) - int(np.any([dataset.has(label) for label in LABELS], axis=0).sum())
    if bare == len(dataset):
        raise DataError(
            f"none of the {bare} frames has {'an energy' if settings.energy == 'auto' else settings.energy}, forces or "
            "a stress, so there is nothing to learn from; convert files with the results of a calculation"
        )
    return Conversion(dataset, dict(energies), dropped, bare, dict(left_out))


def _common_level(levels: Counter[str | None]) -> str:
    stated = [f"{level} ({count} frames)" for level, count in levels.items() if level]
    if len(stated) > 1:
        raise DataError(
            f"the frames state different levels of theory: {', '.join(stated)}; convert each to a file of its "
            "own, or state one for all with --level-of-theory"
        )
    (level, *others) = levels or [None]
    return UNSTATED if others or not level else level


def read_frames(path: str | Path) -> list[Atoms]:
    """All frames of a file.

    Raises:
        DataError: the file is missing, empty, or not in a format that ASE reads.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}; check the path")
    try:
        frames = _read_compressed(path) if path.suffix in OPENERS else _read_plain(path)
    except Exception as problem:  # ase.io raises whatever its parsers run into
        raise DataError(
            f"{path} cannot be read ({reason(problem)}); is it complete, in a format that ASE reads?"
        ) from problem
    if not frames:
        raise DataError(f"{path} contains no frames; leave it out")
    return frames


def _read_compressed(path: Path) -> list[Atoms]:
    # ASE seeks within the stream, and 4000 frames would take minutes instead of seconds: unpack first.
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
    # ASE takes a blank line for the end of the file, and would silently drop the frames after it.
    text = path.read_text(errors="replace")
    blank = re.search(r"\n[ \t]*\n\s*\d+[ \t]*\n", text)
    if blank:
        line = text.count("\n", 0, blank.start()) + 2
        raise ValueError(f"line {line} is blank, and the frames after it would be lost: remove it")


def _read_database(path: Path) -> list[Atoms]:
    # ase.io drops the key-value pairs, including config_type and group_id.
    from ase.db import connect

    frames = []
    with connect(path) as database:
        for row in database.select():
            atoms = row.toatoms()
            atoms.info = dict(row.key_value_pairs)
            frames.append(atoms)
    return frames


def clean_frame(atoms: Atoms, energy: str = "auto", where: str = "") -> tuple[Atoms, str, bool]:
    """A frame with at most one energy, checked, and without a stress that has no meaning; see `labels_of`.

    Returns:
        The frame; `free_energy`, `energy` or `missing`; whether a stress was dropped.

    Raises:
        DataError: see `convert`.
    """
    if not len(atoms):
        raise DataError(f"{where}it has no atoms; remove the frame")
    check_atoms(atoms, where)
    labels, source = labels_of(atoms, energy, where)
    without_stress = "stress" in labels and not atoms.pbc.all()
    if without_stress:
        labels.pop("stress")
    frame = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    frame.info = _checked_info(atoms.info, where)
    frame.calc = SinglePointCalculator(frame, **labels)
    return frame, source, without_stress


def _checked_info(info: dict[str, Any], where: str) -> dict[str, Any]:
    kept = {name: info[name] for name in INFO if name in info}
    if "weight" in kept:
        try:
            weight = float(kept["weight"])
        except (TypeError, ValueError):
            weight = np.nan
        if not fine_weights(np.array(weight)):
            raise DataError(f"{where}its weight is {kept['weight']!r}; it must be {WEIGHT_RULE}")
    return kept
