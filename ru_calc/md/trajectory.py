"""Trajectory writers: each appends frames, and can be reopened at a mark, an integer that a checkpoint keeps."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory

from ru_calc.errors import OutputError
from ru_calc.files import whole_file
from ru_calc.md.growing import GrowingFile
from ru_calc.md.h5md import H5MDWriter


def frame_of(atoms: Atoms, energy_eV: float, forces: np.ndarray, step: int, time_fs: float) -> Atoms:
    """A copy with raw energy and forces (n, 3) in eV/Å, and `info` with `step` and `time_fs`.

    Other arrays of `atoms` are left out: a restart does not know them and would write different frames.
    """
    frame = Atoms(
        numbers=atoms.numbers,
        positions=atoms.positions,
        momenta=atoms.get_momenta(),
        cell=atoms.cell,
        pbc=atoms.pbc,
        info={"step": step, "time_fs": time_fs},
    )
    if atoms.has("masses"):
        frame.set_masses(atoms.get_masses())
    frame.set_constraint(atoms.constraints)
    frame.calc = SinglePointCalculator(frame, energy=energy_eV, forces=forces)
    return frame


class ExtxyzWriter(GrowingFile):
    """Extended XYZ text."""

    def append(self, frame: Atoms) -> None:
        ase.io.write(self.file, frame, format="extxyz")
        self.file.flush()


class TrajWriter:
    """ASE's binary trajectory."""

    def __init__(self, path: Path, resume_at: int | None = None) -> None:
        self._count = resume_at or 0
        if resume_at is not None:
            keep_frames(path, resume_at)
        self._file = Trajectory(str(path), "a" if resume_at is not None else "w")

    def append(self, frame: Atoms) -> None:
        self._file.write(frame)
        self._count += 1

    def mark(self) -> int:
        return self._count

    def close(self) -> None:
        self._file.close()


def keep_frames(path: Path, count: int) -> None:
    """Rewrites an ASE trajectory with its first `count` frames, if it has more.

    Raises:
        OutputError: it has fewer frames, or cannot be read.
    """
    try:
        with Trajectory(str(path)) as old:
            if len(old) == count:
                return
            with whole_file(path) as temporary, Trajectory(str(temporary), "w") as new:
                for k in range(count):
                    new.write(old[k])
    except (OSError, IndexError, ValueError) as problem:
        raise OutputError(f"{path} no longer holds its {count} frames: {problem}; start a new run") from problem


Writer = ExtxyzWriter | TrajWriter | H5MDWriter


def open_trajectory(path: Path, atoms: Atoms, resume_at: int | None = None) -> Writer:
    """The writer of frames of `atoms` for the suffix of `path`, .extxyz, .traj or .h5.

    It goes on at `resume_at`, the mark of an earlier writer; None starts a new file.

    Raises:
        OutputError: the file holds less than it did at the mark.
    """
    if path.suffix == ".h5":
        return H5MDWriter(path, atoms, resume_at)
    return (TrajWriter if path.suffix == ".traj" else ExtxyzWriter)(path, resume_at)
