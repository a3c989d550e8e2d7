"""One row of numbers per logged step, and the CSV file that collects them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from ru_calc.errors import OutputError
from ru_calc.md.ensembles import has_volume
from ru_calc.md.monitor import temperature_K
from ru_calc.units import EV_PER_A3_IN_GPA

COLUMNS = (
    "step",
    "time_ps",
    "temperature_K",
    "potential_eV_per_atom",
    "kinetic_eV_per_atom",
    "conserved_eV_per_atom",
    "pressure_GPa",
    "volume_A3_per_atom",
    "cell_a_A",
    "cell_b_A",
    "cell_c_A",
)
Row = dict[str, float]


def thermo_row(atoms: Atoms, step: int, time_ps: float, dof: int, reservoir_eV: float) -> Row:
    """The `COLUMNS` of one frame; what has no meaning for it is NaN.

    The stress is asked for only if the atoms fill space.
    """
    n, potential, kinetic = len(atoms), atoms.get_potential_energy(), atoms.get_kinetic_energy()
    volume = atoms.get_volume() / n if has_volume(atoms) else np.nan
    values = (
        step,
        time_ps,
        temperature_K(kinetic, dof),
        potential / n,
        kinetic / n,
        (potential + kinetic + reservoir_eV) / n,
        pressure_GPa(atoms),
        volume,
        *atoms.cell.lengths(),
    )
    return {name: float(value) for name, value in zip(COLUMNS, values, strict=True)}


def pressure_GPa(atoms: Atoms) -> float:
    """−tr σ / 3 with the kinetic part Σ p²/m / 3V; NaN without a volume or where the calculator knows no stress."""
    if not has_volume(atoms):
        return float("nan")
    try:
        stress = atoms.get_stress(include_ideal_gas=True)
    except PropertyNotImplementedError:
        return float("nan")
    return -float(stress[:3].mean()) * EV_PER_A3_IN_GPA


def as_arrays(rows: Iterable[Row]) -> dict[str, np.ndarray]:
    """Columns by name."""
    rows = list(rows)
    return {name: np.array([row[name] for row in rows]) for name in COLUMNS}


class ThermoLog:
    """`thermo.csv`: a header with units, then one line per logged step; an empty field where there is no value."""

    def __init__(self, path: Path, resume_at: int | None = None) -> None:
        """Opens a new log, or an old one cut off at the `mark` that it had.

        Raises:
            OutputError: the old log is missing or shorter than it was.
        """
        if resume_at is not None:
            cut(path, resume_at)
        self._file = open(path, "a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        if resume_at is None:
            self._writer.writerow(COLUMNS)

    def append(self, row: Row) -> None:
        values = [row[name] for name in COLUMNS]
        line = [f"{value:.10g}" if np.isfinite(value) else "" for value in values]
        self._writer.writerow([str(int(row["step"])), *line[1:]])
        self._file.flush()

    def mark(self) -> int:
        """The length in bytes to which a restart from here cuts the file."""
        self._file.flush()
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()


def read_thermo(path: Path) -> list[Row]:
    """The rows of a `thermo.csv`."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {key: float(value) if value else float("nan") for key, value in row.items()} for row in csv.DictReader(file)
        ]


def cut(path: Path, length: int) -> None:
    """Cuts a file that grew since, to `length` bytes.

    Raises:
        OutputError: it is missing or shorter.
    """
    size = path.stat().st_size if path.is_file() else -1
    if size < length:
        found = "is missing" if size < 0 else f"has {size} bytes, {length} were written"
        raise OutputError(f"{path} {found}: the run cannot be continued in place; start a new one from its last frame")
    with open(path, "r+b") as file:
        file.truncate(length)
