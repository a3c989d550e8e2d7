"""The numbers of a logged step, and the CSV file that collects them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from ru_calc.md.growing import GrowingFile
from ru_calc.md.velocities import temperature_K
from ru_calc.structures import has_volume
from ru_calc.units import EV_PER_A3_IN_GPA

UNCERTAINTY = "uncertainty_eV_per_A"  # the largest of all atoms
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
    UNCERTAINTY,
)
Row = dict[str, float]


def thermo_row(atoms: Atoms, step: int, time_ps: float, dof: int, reservoir_eV: float) -> Row:
    """The `COLUMNS` of one frame, NaN where a value does not apply; no stress is computed without a volume.

    The uncertainty is left to the caller.
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
        np.nan,
    )
    return {name: float(value) for name, value in zip(COLUMNS, values, strict=True)}


def pressure_GPa(atoms: Atoms) -> float:
    """Pressure −tr σ / 3 with its kinetic part Σ p²/m / 3V; NaN without a volume or a stress from the calculator."""
    if not has_volume(atoms):
        return float("nan")
    try:
        stress = atoms.get_stress(include_ideal_gas=True)
    except PropertyNotImplementedError:
        return float("nan")
    return -float(stress[:3].mean()) * EV_PER_A3_IN_GPA


def as_arrays(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Columns by name."""
    return {name: np.array([row[name] for row in rows]) for name in COLUMNS}


class ThermoLog(GrowingFile):
    """`thermo.csv`: a header with units, then one line per logged step; missing values are left empty.

    Raises:
        OutputError: the log to be resumed is missing or shorter than its mark.
    """

    def __init__(self, path: Path, resume_at: int | None = None) -> None:
        super().__init__(path, resume_at)
        self._writer = csv.writer(self.file, lineterminator="\n")
        self._columns = COLUMNS if resume_at is None else _columns_of(path)
        if resume_at is None:
            self._writer.writerow(COLUMNS)

    def append(self, row: Row) -> None:
        """Adds a line, at once."""
        values = [row[name] for name in self._columns]
        line = [f"{value:.10g}" if np.isfinite(value) else "" for value in values]
        self._writer.writerow([str(int(row["step"])), *line[1:]])
        self.file.flush()


def read_thermo(path: Path) -> list[Row]:
    """The rows of a `thermo.csv`, with NaN in columns that older versions lack."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            dict.fromkeys(COLUMNS, float("nan")) | {key: float(value) for key, value in row.items() if value}
            for row in csv.DictReader(file)
        ]


def _columns_of(path: Path) -> tuple[str, ...]:
    """Those of a log that may be of an older version."""
    with open(path, newline="", encoding="utf-8") as file:
        return tuple(next(csv.reader(file), COLUMNS))
