"""Settings of the benchmarks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ru_calc.errors import DataError, SettingsError

PEERS = ("schnetpack", "emt", "lammps")
SIZES = (64, 500, 4000, 32000, 100000)


@dataclass(frozen=True)
class BenchSettings:
    """What is timed of force calls and dynamics.

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
        _check_counts(atoms=self.atoms, threads=self.threads, repeats=(self.repeats,))
        object.__setattr__(self, "atoms", tuple(sorted(self.atoms)))
        if not 0 < self.budget_s < math.inf:
            raise SettingsError(f"budget_s is {self.budget_s}; it must be a number of seconds above 0")
        _check_peers(self.peers)
        if self.eam_file is not None:
            object.__setattr__(self, "eam_file", Path(self.eam_file))
            _check_eam(Path(self.eam_file))
        elif "lammps" in self.peers:
            raise SettingsError("the peer lammps needs an EAM/FS file of ruthenium: give --eam-file Ru.eam.fs")


@dataclass(frozen=True)
class TrainingSettings:
    """What is timed of training.

    Attributes:
        data: name or file of the data set.
        batches: in each turn, drawn at random from the training part.
        repeats, peers: see `BenchSettings`; of the peers only SchNetPack can be trained.
        epoch: also take a whole epoch of the first row, for its memory.
        changes: of the fit's settings, for all rows.
    """

    data: str = "distilled"
    batches: int = 20
    repeats: int = 5
    peers: tuple[str, ...] = ("auto",)
    epoch: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_counts(batches=(self.batches,), repeats=(self.repeats,))
        _check_peers(self.peers)


def _check_counts(**counts: tuple[int, ...]) -> None:
    for name, values in counts.items():
        if min(values) < 1:
            raise SettingsError(f"{name} is {min(values)}; it must be 1 or more")


def _check_peers(peers: tuple[str, ...]) -> None:
    for name in peers:
        if name not in (*PEERS, "auto", "none"):
            raise SettingsError(f"there is no peer {name!r}; choose auto, none, or some of {', '.join(PEERS)}")
        if name in ("auto", "none") and len(peers) > 1:
            raise SettingsError(f"the peers are {', '.join(peers)}; give {name} alone")


def _check_eam(path: Path) -> None:
    """Reads the head of the file, as LAMMPS may end the whole process over one that it cannot read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            elements = [next(file, "") for _ in range(4)][3].split()[1:]
    except OSError as problem:
        raise DataError(f"the EAM file {path} cannot be read ({problem.strerror}); give --eam-file a file") from problem
    if "Ru" not in elements:
        raise DataError(f"{path} is not an EAM/FS file of ruthenium: its fourth line does not name Ru")
