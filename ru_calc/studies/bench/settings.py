"""Settings of the benchmark."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ru_calc.errors import DataError, SettingsError
from ru_calc.structures.size import check_size

PEERS = ("schnetpack", "emt", "lammps")
SIZES = (64, 500, 4000, 32000, 100000)


@dataclass(frozen=True)
class BenchSettings:
    """What is timed.

    Attributes:
        atoms: about how many atoms, of each system.
        threads: numbers of CPU threads, one table each.
        models: names or files of models.
        peers: names of `PEERS`, or `auto` for all that are installed, or `none`.
        repeats: rounds in which every contestant runs once; the table shows the median.
        eam_file: EAM/FS file of ruthenium for LAMMPS; none is shipped.
        budget_s: a contestant drops out at the size at which one call would take longer.
    """

    atoms: tuple[int, ...] = SIZES
    threads: tuple[int, ...] = (1,)
    models: tuple[str, ...] = ("default", "plain")
    peers: tuple[str, ...] = ("auto",)
    repeats: int = 5
    eam_file: Path | None = None
    budget_s: float = 20.0

    def __post_init__(self) -> None:
        for name in ("atoms", "threads", "models", "peers"):
            values = tuple(dict.fromkeys(getattr(self, name)))
            if not values:
                raise SettingsError(f"{name} is empty; name at least one")
            object.__setattr__(self, name, values)
        for name, least in (("atoms", min(self.atoms)), ("threads", min(self.threads)), ("repeats", self.repeats)):
            if least < 1:
                raise SettingsError(f"{name} is {least}; it must be 1 or more")
        check_size(max(self.atoms), f"atoms is {max(self.atoms)}")
        object.__setattr__(self, "atoms", tuple(sorted(self.atoms)))
        if not 0 < self.budget_s < math.inf:
            raise SettingsError(f"budget_s is {self.budget_s}; it must be a number of seconds above 0")
        for name in self.peers:
            if name not in (*PEERS, "auto", "none"):
                raise SettingsError(f"there is no peer {name!r}; choose auto, none, or some of {', '.join(PEERS)}")
            if name in ("auto", "none") and len(self.peers) > 1:
                raise SettingsError(f"the peers are {', '.join(self.peers)}; give {name} alone")
        if self.eam_file is not None:
            object.__setattr__(self, "eam_file", Path(self.eam_file))
            _check_eam(Path(self.eam_file))
        elif "lammps" in self.peers:
            raise SettingsError("the peer lammps needs an EAM/FS file of ruthenium: give --eam-file Ru.eam.fs")


def _check_eam(path: Path) -> None:
    """Reads the head of the file, as LAMMPS may end the whole process over one that it cannot read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            elements = [next(file, "") for _ in range(4)][3].split()[1:]
    except OSError as problem:
        raise DataError(f"the EAM file {path} cannot be read ({problem.strerror}); give --eam-file a file") from problem
    if "Ru" not in elements:
        raise DataError(f"{path} is not an EAM/FS file of ruthenium: its fourth line does not name Ru")
