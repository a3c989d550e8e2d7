"""Whether LAMMPS computes what the ASE calculator computes, on this machine, on several numbers of processes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms

from ru_calc.calculator import RuCalculator
from ru_calc.checks.run import Line
from ru_calc.checks.subject import evaluate as evaluate_by_ase
from ru_calc.checks.tolerance import TOLERANCE, UNITS, Figure, deviations, worst
from ru_calc.errors import reason
from ru_calc.lammps.build import built_plugin
from ru_calc.lammps.launch import LammpsError
from ru_calc.lammps.single_point import evaluate
from ru_calc.lammps.tables_file import write_tables
from ru_calc.predictor import Prediction

CLAIMS = {
    "energy": "Energies, of the atoms too, are those of the calculator.",
    "forces": "Forces are those of the calculator.",
    "stress": "Stress from LAMMPS's pressure is that of the calculator.",
    "stresses": "Stresses of the atoms are those of the calculator.",
}


def run_checks(model: str, structures: Mapping[str, Atoms], ranks: Sequence[int], dtype: str) -> Iterator[Line]:
    """For each number of processes a line for each claim: the worst of all structures.

    Raises:
        ModelError: no such model, or one of another family.
        SettingsError: LAMMPS is not installed, or the plugin could not be compiled.
    """
    with tempfile.TemporaryDirectory() as folder:
        tables = Path(folder) / "ru.tables"
        write_tables(tables, model, dtype)
        built_plugin()
        calculator = RuCalculator(model, device="cpu", dtype=dtype, engine="compiled")
        expected = {name: _by_ase(calculator, atoms) for name, atoms in structures.items()}
        for count in ranks:
            yield from _lines(structures, expected, tables, count, dtype)


def _lines(
    structures: Mapping[str, Atoms], expected: Mapping[str, Prediction], tables: Path, ranks: int, dtype: str
) -> Iterator[Line]:
    where = f"on {ranks} {'process' if ranks == 1 else 'processes'}"
    figures: list[Figure] = []
    try:
        for name, atoms in structures.items():
            found = evaluate(atoms, tables, ranks)
            figures += (figure.at(name) for figure in _figures(found, expected[name], dtype))
    except LammpsError as problem:
        yield Line(f"LAMMPS {where}", "LAMMPS runs.", "FAILED", remark=reason(problem))
        return
    for quantity, claim in CLAIMS.items():
        own = [figure for figure in figures if figure.of == quantity]
        if own:
            figure = worst(own)
            yield Line(f"{quantity} {where}", claim, "passed" if figure.passed else "FAILED", figure)
        else:
            yield Line(f"{quantity} {where}", claim, "skipped", remark="it needs a cell with a volume")


def _by_ase(calculator: RuCalculator, atoms: Atoms) -> Prediction:
    found = evaluate_by_ase(calculator, atoms)
    return found if found.stress is None else replace(found, stresses=calculator.get_property("stresses", atoms))


def _figures(found: Prediction, expected: Prediction, dtype: str) -> Iterator[Figure]:
    if expected.stress is None:  # without a volume
        found = replace(found, stress=None)
    else:
        error, size = np.abs(found.stresses - expected.stresses).max(), max(1.0, np.abs(expected.stresses).max())
        yield Figure(float(error), float(size * TOLERANCE[dtype]["stress"]), UNITS["stress"], "stresses")
    yield from deviations(found, expected, dtype)
