"""An evaluation on the terminal and as files: tables, parity plots, the worst frames with labels and predictions."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write
from rich.table import Table

from ru_calc.errors import OutputError
from ru_calc.evaluate.assessment import Evaluation
from ru_calc.evaluate.metrics import ALL, QUANTITIES, SCALES
from ru_calc.files import check_writable, make_folder, whole_file, write_json
from ru_calc.reports.plots import parity_plot
from ru_calc.units import EV_PER_A3_IN_GPA

SHOWN = {"meV_per_atom": "meV/atom", "meV_per_A": "meV/Å", "GPa": "GPa", "eV2_per_atom2": "eV²/atom²",
         "eV2_per_A2": "eV²/Å²", "GPa2": "GPa²"}  # fmt: skip
PANELS = {"energy": ("eV/atom", 1.0), "forces": ("eV/Å", 1.0), "stress": ("GPa", EV_PER_A3_IN_GPA)}
TABLE_FILES = ("errors.csv", "errors.json", "failures.csv")


def tables(evaluation: Evaluation) -> list[Table]:
    """Every quantity per split, and the main errors per config type: of the test split where there is one."""
    splits = [row["split"] for row in evaluation.rows]
    rows = [row for row in evaluation.rows if "test" not in splits or row["split"] == "test"]
    return [_split_table(evaluation.rows), _type_table(rows)]


def _split_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="errors per split", title_justify="left")
    for name in ("split", "frames", "quantity", "MAE", "RMSE", "max", "unit", "MSE", "unit ", "values", "missing"):
        table.add_column(name, justify="left" if name in ("split", "quantity", "unit", "unit ") else "right")
    table.add_column("not predicted", justify="right")
    for row in rows:
        if row["config_type"] != ALL:
            continue
        for quantity in QUANTITIES:
            scale = SCALES[quantity]
            errors = [_number(row[f"{quantity}_{kind}_{scale.unit}"]) for kind in ("MAE", "RMSE", "max")]
            counts = [str(row[f"{quantity}_{kind}"]) for kind in ("count", "missing", "unpredicted")]
            squared = [_number(row[f"{quantity}_MSE_{scale.squared}"]), SHOWN[scale.squared]]
            table.add_row(row["split"], str(row["frames"]), quantity, *errors, SHOWN[scale.unit], *squared, *counts)
        table.add_section()
    return table


def _type_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="errors per config type", title_justify="left")
    table.add_column("split")
    table.add_column("config type")
    for name in (
        "frames",
        "E MAE\nmeV/atom",
        "E RMSE",
        "F MAE\nmeV/Å",
        "F RMSE",
        "F RMSE /\nrms force",
        "σ MAE\nGPa",
        "σ RMSE",
    ):
        table.add_column(name, justify="right")
    split = None
    for row in rows:
        if split not in (None, row["split"]):
            table.add_section()
        split = row["split"]
        cells = [
            _number(row[f"{quantity}_{kind}_{SCALES[quantity].unit}"])
            for quantity in QUANTITIES
            for kind in ("MAE", "RMSE")
        ]
        cells.insert(4, "–" if np.isnan(row["forces_relative"]) else f"{100 * row['forces_relative']:.1f} %")
        table.add_row(split, row["config_type"], str(row["frames"]), *cells)
    return table


def _number(value: float) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def output_files(folder: Path, overwrite: bool) -> Path:
    """Makes the folder, and refuses one that holds an evaluation already, or cannot be written.

    Raises:
        OutputError: in those cases.
    """
    make_folder(folder)
    if (folder / "errors.json").exists() and not overwrite:
        raise OutputError(f"{folder} already holds an evaluation; use --overwrite, or another folder")
    check_writable(folder / "errors.json")
    return folder


def write_report(evaluation: Evaluation, folder: Path, n_worst: int = 20) -> list[Path]:
    """Writes everything.

    Args:
        n_worst: how many of the worst frames, by force and by energy.

    Returns:
        `errors.csv`, `errors.json`, `failures.csv`, `parity*.png`, `worst_*.extxyz`, as far as there is something to
        write.

    Raises:
        OutputError: the folder cannot be written.
    """
    written = [_write_csv(folder / "errors.csv", evaluation.rows), _write_json(evaluation, folder / "errors.json")]
    failures = [vars(failure) for failure in evaluation.failures]
    (folder / "failures.csv").unlink(missing_ok=True)
    if failures:
        written.append(_write_csv(folder / "failures.csv", failures))
    return written + _write_parity(evaluation, folder) + _write_worst(evaluation, folder, n_worst)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with whole_file(path) as unfinished, open(unfinished, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _write_json(evaluation: Evaluation, path: Path) -> Path:
    content = {
        **evaluation.about,
        "shift": evaluation.shift,
        "shift_eV_per_atom": evaluation.shift_eV_per_atom,
        "errors": evaluation.rows,
        "failures": [vars(failure) for failure in evaluation.failures],
    }
    return write_json(path, content)


def _write_parity(evaluation: Evaluation, folder: Path) -> list[Path]:
    written, name = [], Path(str(evaluation.about.get("predictor", "predictor"))).name
    for split, places in evaluation.splits.items():
        if not len(places):
            continue
        panels = {}
        for quantity, (unit, factor) in PANELS.items():
            chosen = evaluation.dataset.structures.atoms_of(places) if quantity == "forces" else places
            label, predicted = (values[chosen].ravel() * factor for values in evaluation.comparison.values(quantity))
            panels[quantity] = (label, predicted, unit)
        path = folder / ("parity.png" if split == ALL else f"parity_{split}.png")
        parity_plot(path, panels, title=f"{name} – {split}")
        written.append(path)
    return written


def _write_worst(evaluation: Evaluation, folder: Path, n_worst: int) -> list[Path]:
    written = []
    for quantity in ("forces", "energy"):
        error = evaluation.comparison.frame_rms(quantity)
        order = np.argsort(np.where(np.isnan(error), -1.0, error), kind="stable")[::-1][:n_worst]
        order = order[np.isfinite(error[order])]
        if len(order):
            path = folder / f"worst_{quantity}.extxyz"
            with whole_file(path) as unfinished:
                write(unfinished, [annotated(evaluation, int(k)) for k in order], format="extxyz")
            written.append(path)
    return written


def annotated(evaluation: Evaluation, k: int) -> Atoms:
    """Evaluated frame `k` with its labels as results, and predictions as `predicted_*`, in eV, eV/Å, eV/Å³."""
    dataset, comparison = evaluation.dataset, evaluation.comparison
    atoms = dataset.atoms(k)
    atoms.info["frame"] = int(evaluation.frames[k])
    atoms.info["split"] = next((name for name, places in evaluation.splits.items() if k in places), "none")
    for quantity in ("forces", "energy"):
        scale = SCALES[quantity]
        error = comparison.frame_rms(quantity)[k] * scale.factor
        if np.isfinite(error):
            atoms.info[f"{quantity}_rms_error_{scale.unit}"] = float(error)
    energy_per_atom, forces, stress = (comparison.values(quantity)[1] for quantity in QUANTITIES)
    if np.isfinite(energy_per_atom[k]):
        atoms.info["predicted_energy"] = float(energy_per_atom[k] * len(atoms))
    if np.isfinite(stress[k]).all():
        atoms.info["predicted_stress"] = stress[k]
    own = forces[dataset.structures.atoms_of([k])]
    if np.isfinite(own).all():
        atoms.set_array("predicted_forces", own)
    return atoms
