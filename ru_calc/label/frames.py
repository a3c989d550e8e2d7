"""Identity of frames, and how a labelled frame is written."""

from __future__ import annotations

import io
from collections.abc import Sequence
from numbers import Number
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ru_calc.errors import DataError
from ru_calc.label.tasks import Outcome
from ru_calc.structures import check_atoms
from ru_calc.structures.identity import geometry_hash

# What a labelled frame records, and an earlier label must not leave behind.
RECORD = (
    "level_of_theory", "code", "version", "settings", "cpu_s", "wall_s", "attempt", "scf_steps", "kpts", "kdens",
    "magmom", "spinpol", "spin_starts", "stress_raw", "n_ibz", "free_energy_fc",
)  # fmt: skip
SAME_A = 2e-6


def check_frames(frames: Sequence[Atoms], path: object) -> None:
    """Refuses frames without atoms, and those that `check_atoms` refuses.

    Raises:
        DataError: naming the frame.
    """
    for k, atoms in enumerate(frames):
        where = f"{path}, frame {k}: "
        if not len(atoms):
            raise DataError(f"{where}it has no atoms; remove the frame")
        check_atoms(atoms, where)


def uid_of(atoms: Atoms) -> str:
    """`info["uid"]`, or "g" and the `geometry_hash`."""
    if "uid" in atoms.info:
        return str(atoms.info["uid"])
    return f"g{geometry_hash(atoms)}"


def same_geometry(one: Atoms, other: Atoms) -> bool:
    """Whether two frames are the same within what extxyz keeps of them."""
    return (
        np.array_equal(one.numbers, other.numbers)
        and np.array_equal(one.pbc, other.pbc)
        and np.allclose(one.cell.array, other.cell.array, rtol=0, atol=SAME_A)
        and np.allclose(one.positions, other.positions, rtol=0, atol=SAME_A)
    )


def labelled_text(atoms: Atoms, uid: str, level: str, outcome: Outcome) -> str:
    """A frame with its labels in extxyz; of `info`, the single values are kept."""
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    kept = {name: value for name, value in atoms.info.items() if name not in RECORD and _single(value)}
    times = {"cpu_s": outcome.cpu_s, "wall_s": outcome.wall_s}
    frame.info = {**kept, "uid": uid, "level_of_theory": level, **outcome.record, **times}
    frame.calc = SinglePointCalculator(frame, **outcome.results)
    text = io.StringIO()
    write(text, frame, format="extxyz")
    return text.getvalue()


def _single(value: Any) -> bool:
    return isinstance(value, str | bool | Number | np.generic)
