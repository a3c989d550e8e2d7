"""An evaluation on the terminal and as files: tables, parity plots, the worst frames with labels and predictions."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write

from ru_calc.errors import OutputError
from ru_calc.evaluate.assessment import Evaluation
from ru_calc.evaluate.metrics import ALL, QUANTITIES, SCALES, Comparison
from ru_calc.files import check_writable, make_folder, whole_file, write_json
from ru_calc.reports.figures import Panels, parity_plot
from ru_calc.reports.tables import Cell, Record, Table, share, spelled, tabulate, text, value
from ru_calc.units import EV_PER_A3_IN_GPA

ERROR_COLUMNS: dict[str, Cell] = {
    "E MAE\n(meV/atom)": value("energy_MAE_meV_per_atom"), "E RMSE": value("energy_RMSE_meV_per_atom"),
    "F MAE\n(meV/Å)": value("forces_MAE_meV_per_A"), "F RMSE": value("forces_RMSE_meV_per_A"),
    "F RMSE /\nrms force": share("forces_relative"), "F error\nper frame": share("forces_frame_error"),
    "σ MAE\n(GPa)": value("stress_MAE_GPa"), "σ RMSE": value("stress_RMSE_GPa"),
}  # fmt: skip
UNITS = {"energy": ("eV/atom", 1.0), "forces": ("eV/Å", 1.0), "stress": ("GPa", EV_PER_A3_IN_GPA)}
COUNTS = {"values": "count", "missing": "missing", "not predicted": "unpredicted"}


def tables(evaluation: Evaluation) -> list[Table]:
    """Every quantity per split, and the main errors per config type: of the test split where there is one."""
    named = {"split": text("split"), "config type": text("config_type"), "frames": text("frames")}
    return [
        quantity_table(evaluation.rows),
        tabulate(tested(evaluation.rows), named | ERROR_COLUMNS, "errors per config type", section="split"),
        group_table(tested(evaluation.groups)),
    ]


def tested(rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Those of the test split if there are any, else all."""
    return [row for row in rows if row["split"] == "test"] or rows


def group_table(rows: Sequence[Record]) -> Table:
    """The main errors of each group of config types; rows as `error_table` gives them, by `group_of`."""
    named = {"split": text("split"), "group": text("config_type"), "frames": text("frames")}
    return tabulate(rows, named | ERROR_COLUMNS, "errors per group of config types", section="split")


def quantity_table(rows: Sequence[Record], title: str = "errors per split") -> Table:
    """Mean absolute, root mean square, largest and mean square errors of each quantity, per split."""
    found = [_of_quantity(row, name) for row in rows if row["config_type"] == ALL for name in QUANTITIES]
    columns = {name: text(name) for name in ("split", "frames", "quantity")}
    columns |= {name: value(name) for name in ("MAE", "RMSE", "max")} | {"unit": text("unit"), "MSE": value("MSE")}
    columns |= {"unit of\nMSE": text("squared")} | {name: text(name) for name in COUNTS}
    return tabulate(found, columns, title, section="split")


def _of_quantity(row: Record, quantity: str) -> dict[str, Any]:
    scale = SCALES[quantity]
    return {
        "split": row["split"], "frames": row["frames"], "quantity": quantity, "unit": spelled(scale.unit),
        "squared": spelled(scale.squared), "MSE": row[f"{quantity}_MSE_{scale.squared}"],
        **{kind: row[f"{quantity}_{kind}_{scale.unit}"] for kind in ("MAE", "RMSE", "max")},
        **{name: row[f"{quantity}_{count}"] for name, count in COUNTS.items()},
    }  # fmt: skip


def parity_panels(comparison: Comparison, frames: np.ndarray | None = None) -> Panels:
    """Labels and predictions of the frames with the given indices (all by default), as `parity_plot` takes them."""
    panels = {}
    for quantity, (unit, factor) in UNITS.items():
        label, predicted = comparison.values(quantity, frames)
        panels[quantity] = (label.ravel() * factor, predicted.ravel() * factor, unit)
    return panels


def output_files(folder: Path, overwrite: bool) -> Path:
    """Makes the folder of an evaluation.

    Raises:
        OutputError: it holds an evaluation already, or cannot be written.
    """
    make_folder(folder)
    if (folder / "errors.json").exists() and not overwrite:
        raise OutputError(f"{folder} already holds an evaluation; use --overwrite, or another folder")
    check_writable(folder / "errors.json")
    return folder


def write_report(evaluation: Evaluation, folder: Path, n_worst: int = 20) -> list[Path]:
    """Writes tables, figures and the frames with the largest errors.

    Args:
        n_worst: how many of these frames, by force and by energy.

    Returns:
        `errors.csv`, `errors.json`, and where there is something to show `failures.csv`, `parity*.png` and
        `worst_*.extxyz`.

    Raises:
        OutputError: the folder cannot be written.
    """
    failures = [vars(failure) for failure in evaluation.failures]
    content = {
        **evaluation.about, "shift": evaluation.shift, "shift_eV_per_atom": evaluation.shift_eV_per_atom,
        "errors": evaluation.rows, "groups": evaluation.groups, "failures": failures,
    }  # fmt: skip
    written = [_write_csv(folder / "errors.csv", evaluation.rows), write_json(folder / "errors.json", content)]
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


def _write_parity(evaluation: Evaluation, folder: Path) -> list[Path]:
    written, name = [], Path(str(evaluation.about.get("predictor", "predictor"))).name
    for split, frames in evaluation.splits.items():
        if len(frames):
            path = folder / ("parity.png" if split == ALL else f"parity_{split}.png")
            parity_plot(path, parity_panels(evaluation.comparison, frames), title=f"{name} – {split}")
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
    comparison, dataset = evaluation.comparison, evaluation.comparison.dataset
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
