"""The table in the layout of the paper's Table 1, and the figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ru_calc.files import whole_file, write_json
from ru_calc.reports.markdown import markdown_table
from ru_calc.studies.paper.reading import reading
from ru_calc.studies.paper.settings import PAPER_SHARES, SPLITS, TABLE_1

HEADINGS = ("train", "val", "test")
MEASURES = ("mae", "mse")
MEAN = "mean of the training targets"
NONE = "–"


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
    results = results | {
        "paper": {
            name: {
                measure: dict(zip(SPLITS, values, strict=True)) for measure, values in zip(MEASURES, row, strict=True)
            }
            for name, row in TABLE_1.items()
        },
        "paper_components": {name: list(shares) for name, shares in PAPER_SHARES.items()},
    }
    results["reading"] = reading(results)
    write_json(folder / "results.json", results)
    with whole_file(folder / "table.md") as unfinished:
        unfinished.write_text(markdown(results), encoding="utf-8")
    draw(results, folder / "figure.png")
    return results


def markdown(results: Mapping[str, Any]) -> str:
    """The page: Table 1 with the paper's figures in brackets, energies and forces apart, training, components."""
    parts = [
        "# Table 1 of the starting paper, on our data",
        *(["A quick look: few frames, few epochs; the figures mean nothing."] if results["settings"]["quick"] else []),
        "Standardised units. Ours, and in brackets the paper's (doi 10.36922/ijamd.8291, Table 1).",
        markdown_table(
            _columns("MAE", "MSE"), [_compared(name, row, results) for name, row in _rows(results)], numbers=True
        ),
        "Energies and forces apart:",
        markdown_table(
            _columns("energy MAE", "energy MSE", "forces MAE", "forces MSE"),
            [
                [name, *_figures(row, "energy_mae", "energy_mse", "forces_mae", "forces_mse")]
                for name, row in _rows(results)
            ],
            numbers=True,
        ),
        "Training:",
        markdown_table(
            ["model", "parameters", "epochs", "best epoch", "optimiser steps", "CPU (s)"],
            [
                [
                    name,
                    *(str(row[key]) for key in ("parameters", "epochs", "best_epoch", "steps")),
                    f"{row['cpu_s']:.0f}",
                ]
                for name, row in results["rows"].items()
            ],
            numbers=True,
        ),
        results["reading"],
    ]
    return "\n\n".join(parts) + "\n"


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Test errors of all rows beside the paper's, and what energies and forces add to them.

    Raises:
        OutputError: it cannot be written there.
    """
    from matplotlib.figure import Figure

    names = list(results["rows"])
    places, mean = np.arange(len(names)), results["mean"]["errors"]["test"]
    figure = Figure(figsize=(13.2, 4.4), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, measure in zip(panels[:2], MEASURES, strict=True):
        ours = [results["rows"][name]["errors"]["test"][measure] for name in names]
        axes.bar(places - 0.2, ours, 0.4, label="ours, test")
        paper = [results["paper"].get(name, {}).get(measure, {}).get("test", np.nan) for name in names]
        axes.bar(places + 0.2, paper, 0.4, label="paper, test", color="tab:gray")
        axes.axhline(mean[measure], color="black", linestyle="--", linewidth=0.8, label=f"{MEAN}, ours")
        axes.set_title(f"{measure.upper()}, all targets")
    for shift, part in ((-0.2, "energy"), (0.2, "forces")):
        values = [results["rows"][name]["errors"]["test"][f"{part}_mse"] for name in names]
        (line,) = panels[2].bar(places + shift, values, 0.4, label=part)[:1]
        panels[2].axhline(mean[f"{part}_mse"], color=line.get_facecolor(), linestyle="--", linewidth=0.8)
    panels[2].set_title("MSE apart, ours, test; dashed: the mean")
    for axes in panels:
        axes.set_xticks(places, names)
        axes.tick_params(axis="x", rotation=30)
        axes.set_ylabel("standardised units")
        axes.legend(frameon=False, fontsize="small")
        axes.set_ylim(top=1.25 * axes.get_ylim()[1])
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=130)


def _rows(results: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [*results["rows"].items(), (MEAN, results["mean"])]


def _columns(*measures: str) -> list[str]:
    return ["model", *(f"{measure} {part}" for measure in measures for part in HEADINGS)]


def _figures(row: Mapping[str, Any], *measures: str) -> list[str]:
    return [f"{row['errors'][part][measure]:.2f}" for measure in measures for part in SPLITS]


def _compared(name: str, row: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    paper = results["paper"].get(name)
    theirs = [f"{paper[measure][part]:.2f}" if paper else NONE for measure in MEASURES for part in SPLITS]
    return [name, *(f"{ours} ({other})" for ours, other in zip(_figures(row, *MEASURES), theirs, strict=True))]
