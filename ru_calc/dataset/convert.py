"""Converts files in any layout that is known to a `Dataset`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ru_calc.dataset.account import Account
from ru_calc.dataset.columns import columns_of
from ru_calc.dataset.frames import Dataset
from ru_calc.dataset.labels import FrameLabels, labels_of
from ru_calc.dataset.layouts import Source, files_of, read_contents
from ru_calc.dataset.levels import UNSTATED, stated_level
from ru_calc.dataset.reading import Reading
from ru_calc.dataset.values import WEIGHT_RULE, fine_weights
from ru_calc.errors import DataError
from ru_calc.structures import check_atoms

GROUPINGS = ("info", "file")
INFO = ("config_type", "group_id", "weight")
# Columns of every structure, which an error about missing labels need not name.
STRUCTURE = {"numbers", "positions", "step", "time_fs", *INFO}


@dataclass(frozen=True)
class ConvertSettings:
    """How labels and groups are taken.

    Attributes:
        reading: layout, columns, units and signs.
        group_by: `info` groups frames by their `group_id` (a frame without one is its own group), `file` by file.
        level_of_theory: of the labels, kept in the file; None takes what all frames state.
        energy_reference: zero of the energies, kept in the file.
        leave_out: config types whose frames are left out.
    """

    reading: Reading = field(default_factory=Reading)
    group_by: str = "info"
    level_of_theory: str | None = None
    energy_reference: str = "as labelled"
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conversion:
    """A converted data set, and what happened to its labels.

    Attributes:
        dataset: all frames.
        files: how many were read.
        account: columns that were taken and left out.
        unlabelled: number of frames without any label.
    """

    dataset: Dataset
    files: int
    account: Account
    unlabelled: int

    @property
    def energies(self) -> dict[str, int]:
        """Number of frames whose energy is of each column, or `missing`."""
        return dict(self.account.taken["energy"])

    def lines(self) -> list[str]:
        """What was taken and what was left out, in words."""
        files = "1 file" if self.files == 1 else f"{self.files} files"
        lines = [f"read {len(self.dataset)} frames from {files}", *self.account.lines()]
        if self.unlabelled:
            lines.append(
                f"warning: {self.unlabelled} of {len(self.dataset)} frames have no label; "
                "a fit learns nothing from them"
            )
        return lines


def convert(paths: Sequence[str | Path], settings: ConvertSettings | None = None) -> Conversion:
    """The frames of files, of `FILE@INDEX` and of all files in folders, in order.

    Raises:
        DataError: a file that is missing, empty or unreadable; a frame (named by file and number) with other elements,
            or with a position, cell, label or weight that is not finite; no label in any frame; frames that state
            different levels of theory, if none is given; a config type to leave out that no frame has.
    """
    settings = settings or ConvertSettings()
    account = Account(left_out=Counter(dict.fromkeys(settings.leave_out, 0)))
    frames: list[Atoms] = []
    levels: Counter[str | None] = Counter()
    files = 0
    for number, path in enumerate(paths):
        sources, unread = files_of(path, settings.reading.format is not None)
        account.unread += unread
        files += len(sources)
        for k, source in enumerate(sources):
            group = f"{number:04d}_{f'{k:04d}_' if len(sources) > 1 else ''}{source.path.name}"
            for frame, level in _labelled(source, settings, account):
                if settings.group_by == "file":
                    frame.info["group_id"] = group
                frames.append(frame)
                levels[level] += 1
    return _conversion(frames, levels, files, account, settings)


def _labelled(source: Source, settings: ConvertSettings, account: Account) -> Iterator[tuple[Atoms, str | None]]:
    """Each frame of a file that is data, and the level of theory that it states."""
    contents = read_contents(source, settings.reading)
    for k, (number, atoms) in enumerate(zip(contents.numbers, contents.frames, strict=True)):
        where, kind = f"{source}, frame {number}: ", atoms.info.get("config_type")
        if k in contents.unfit:
            account.unfit.append(f"{where}{contents.unfit[k]}")
        elif kind in settings.leave_out:
            account.left_out[kind] += 1
        else:
            frame, labels = clean_frame(atoms, settings.reading, where)
            account.add(labels, [name for name in columns_of(atoms) if name not in STRUCTURE])
            yield frame, stated_level(atoms.info)


def _conversion(
    frames: list[Atoms], levels: Counter[str | None], files: int, account: Account, settings: ConvertSettings
) -> Conversion:
    absent = [name for name, count in account.left_out.items() if not count]
    if absent:
        raise DataError(f"no frame has the config type {absent[0]!r}, which was to be left out; check its spelling")
    if not frames:
        raise DataError("all frames were left out" + "".join(f"; {line}" for line in account.unfit[:3]))
    unlabelled = sum(not frame.calc.results for frame in frames)
    if unlabelled == len(frames):
        raise DataError(_nothing_to_learn(frames, account, settings.reading))
    level = settings.level_of_theory or _common_level(levels)
    dataset = Dataset.from_atoms(frames, level, settings.energy_reference)
    return Conversion(dataset, files, account, unlabelled)


def _nothing_to_learn(frames: Sequence[Atoms], account: Account, reading: Reading) -> str:
    wanted = " or ".join(reading.energy_key) or "an energy"
    columns = ", ".join(sorted(account.columns)) or "none but elements and positions"
    return (
        f"none of the {len(frames)} frames has {wanted}, forces or a stress, so there is nothing to learn from; their "
        f"columns are: {columns}; name those of labels with --energy-key, --forces-key, --stress-key or --virial-key, "
        "or convert files with the results of a calculation"
    )


def _common_level(levels: Counter[str | None]) -> str:
    stated = [f"{level} ({count} frames)" for level, count in levels.items() if level]
    if len(stated) > 1:
        raise DataError(
            f"the frames state different levels of theory: {', '.join(stated)}; convert each to a file of its "
            "own, or state one for all with --level-of-theory"
        )
    (level, *others) = levels or [None]
    return UNSTATED if others or not level else level


def clean_frame(atoms: Atoms, reading: Reading | None = None, where: str = "") -> tuple[Atoms, FrameLabels]:
    """A frame in Å with its labels in eV and Å as results, checked; and how they were found.

    Raises:
        DataError: see `convert`.
    """
    if not len(atoms):
        raise DataError(f"{where}it has no atoms; remove the frame")
    labels = labels_of(atoms, reading or Reading(), where)
    frame = Atoms(
        atoms.numbers, positions=atoms.positions * labels.length, cell=atoms.cell.array * labels.length, pbc=atoms.pbc
    )
    check_atoms(frame, where)
    frame.info = _checked_info(atoms.info, where)
    frame.calc = SinglePointCalculator(frame, **labels.values)
    return frame, labels


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
