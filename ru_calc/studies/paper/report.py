"""The table in the layout of the paper's Table 1, and the figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ru_calc.files import write_json, write_text
from ru_calc.reports.figures import dots
from ru_calc.reports.style import drawn
from ru_calc.reports.tables import NONE, Table, page, tabulate, text
from ru_calc.studies.paper.reading import reading
from ru_calc.studies.paper.settings import PAPER_SHARES, SPLITS, TABLE_1

HEADINGS = ("train", "val", "test")
MEASURES = ("mae", "mse")
MEAN = "mean of the training targets"
TRAINING = ("parameters", "epochs", "best_epoch")


def errors_of(predicted: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """MAE and MSE over all targets together, of the energies and of the force components, in the targets' units.

    Args:
        predicted, targets: (n, 1 + k), the energy first.
    """
    difference = np.asarray(predicted, dtype=float) - np.asarray(targets, dtype=float)
    found: dict[str, float] = {}
    for prefix, part in (("", difference), ("energy_", difference[:, :1]), ("forces_", difference[:, 1:])):
        found |= {f"{prefix}mae": float(np.abs(part).mean()), f"{prefix}mse": float((part**2).mean())}
    return found


def write_report(results: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Adds the paper's figures and the reading to the results; writes `results.json`, `table.md` and `figure.png`."""
    paper = {
        name: {measure: dict(zip(SPLITS, values, strict=True)) for measure, values in zip(MEASURES, row, strict=True)}
        for name, row in TABLE_1.items()
    }
    components = {name: list(shares) for name, shares in PAPER_SHARES.items()}
    results = results | {"paper": paper, "paper_components": components}
    results["reading"] = reading(results)
    write_json(folder / "results.json", results)
    write_text(folder / "table.md", markdown(results))
    draw(results, folder / "figure.png")
    return results


def markdown(results: Mapping[str, Any]) -> str:
    """The page: Table 1 with the paper's figures in brackets, energies and forces apart, training, components."""
    rows = [*results["rows"].items(), (MEAN, results["mean"])]
    apart = {f"{part} {kind.upper()}": f"{part}_{kind}" for part in ("energy", "forces") for kind in MEASURES}
    training = {"model": text("model"), **{name.replace("_", " "): text(name) for name in TRAINING}}
    training |= {"optimiser steps": text("steps"), "CPU (s)": lambda row: f"{row['cpu_s']:.0f}"}
    return page(
        "# Table 1 of the starting paper, on our data",
        "A quick look: few frames, few epochs; the figures mean nothing." if results["settings"]["quick"] else "",
        "Standardised units. Ours, and in brackets the paper's (doi 10.36922/ijamd.8291, Table 1).",
        Table(_columns("MAE", "MSE"), [_compared(name, row, results) for name, row in rows]).markdown(),
        "Energies and forces apart:",
        Table(_columns(*apart), [[name, *_figures(row, *apart.values())] for name, row in rows]).markdown(),
        "Training:",
        tabulate([{"model": name, **row} for name, row in results["rows"].items()], training).markdown(),
        results["reading"],
    )


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Test errors of all rows beside the paper's, and those of energies and forces apart.

    Raises:
        OutputError: it cannot be written there.
    """
    rows, mean = results["rows"], results["mean"]["errors"]["test"]
    with drawn(path, (12.0, 1.6 + 0.45 * len(rows)), f"Test errors in standardised units; dashed: {MEAN}") as figure:
        panels = figure.subplots(1, 3, sharey=True)
        for axes, measure in zip(panels, MEASURES, strict=False):
            paper = [results["paper"].get(name, {}).get(measure, {}).get("test", float("nan")) for name in rows]
            dots(axes, [*rows], {"ours": _test(rows, measure), "paper": paper}, [mean[measure]])
            axes.set_title(f"{measure.upper()}, all targets")
        apart = {part: _test(rows, f"{part}_mse") for part in ("energy", "forces")}
        dots(panels[2], [*rows], apart, [mean[f"{part}_mse"] for part in apart])
        panels[2].set_title("MSE apart, ours")


def _test(rows: Mapping[str, Any], measure: str) -> list[float]:
    return [row["errors"]["test"][measure] for row in rows.values()]


def _columns(*measures: str) -> list[str]:
    return ["model", *(f"{measure} {part}" for measure in measures for part in HEADINGS)]


def _figures(row: Mapping[str, Any], *measures: str) -> list[str]:
    return [f"{row['errors'][part][measure]:.2f}" for measure in measures for part in SPLITS]


def _compared(name: str, row: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    paper = results["paper"].get(name)
    theirs = [f"{paper[measure][part]:.2f}" if paper else NONE for measure in MEASURES for part in SPLITS]
    return [name, *(f"{ours} ({other})" for ours, other in zip(_figures(row, *MEASURES), theirs, strict=True))]
