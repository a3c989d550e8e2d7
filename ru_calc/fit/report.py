"""The end of a fit: errors on every split, a parity plot, and a warning of overfitting."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ru_calc import kernels
from ru_calc.dataset import Dataset
from ru_calc.evaluate.metrics import ALL, QUANTITIES, Comparison
from ru_calc.evaluate.report import parity_panels, quantity_table
from ru_calc.files import write_json
from ru_calc.modelfiles import open_model
from ru_calc.modelfiles.open import OpenModel
from ru_calc.predictor import predict_all
from ru_calc.reports.figures import parity_plot

DIVERGENCE = 1.5


def open_fitted(file: str | Path) -> OpenModel:
    """A model of a run folder as its users get it, in float64 on the CPU, on as many threads as torch uses."""
    engine = "auto" if kernels.fastest() else "reference"  # the fit has told if none was built
    return open_model(file, "float64", "cpu", torch.get_num_threads(), engine)


def final_report(
    file: Path, dataset: Dataset, split: Mapping[str, np.ndarray], output: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Errors of a model file per split: a table, warnings of overfitting, and the files `output` and `parity.png`.

    Args:
        output: the JSON file of errors, `metrics.json`; a number in its name is also in that of the plot.
    """
    model = open_fitted(file)
    say(f"predicting all {sum(map(len, split.values()))} frames in float64 by the {model.engine} engine")
    comparisons = {}
    for name, frames in split.items():
        if len(frames):
            part = dataset.select(frames)
            found = predict_all(model.predictor, part.structures, QUANTITIES)
            comparisons[name] = Comparison(part, found.energy, found.forces, found.stress)
    metrics = {name: comparison.row() for name, comparison in comparisons.items()}
    rows = [{"split": name, "config_type": ALL, **row} for name, row in metrics.items()]
    say(quantity_table(rows, f"errors of the best model: {dataset.level_of_theory}").text())
    for warning in divergence({name: comparison.errors() for name, comparison in comparisons.items()}):
        say(f"warning: {warning}")
    shown = "test" if "test" in comparisons else "validation"
    plot = output.with_name(output.name.replace("metrics", "parity")).with_suffix(".png")
    parity_plot(plot, parity_panels(comparisons[shown]), title=shown)
    write_json(output, metrics)
    return metrics


def fit_cost(folder: Path) -> dict[str, Any]:
    """Epochs of the fit in a run folder, and their CPU time in minutes, from its `log.csv`."""
    with open(folder / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {"epochs": len(rows), "cpu_min": sum(float(row["cpu_seconds"]) for row in rows) / 60}


def divergence(errors: Mapping[str, Any]) -> list[str]:
    """A warning for every quantity whose error on held-out frames is much larger than on the training frames."""
    found = []
    for name in ("validation", "test"):
        for quantity in QUANTITIES:
            if name in errors and errors[name][quantity].count and errors["train"][quantity].mae > 0:
                ratio = _on_scale(quantity, errors[name]) / _on_scale(quantity, errors["train"])
                if ratio > DIVERGENCE:
                    found.append(
                        f"{quantity}: the {name} MAE is {ratio:.1f} times that of training (relative to the labels of "
                        "each): the model overfits its training frames; use more data, fewer epochs or a smaller "
                        "network"
                    )
    return found


def _on_scale(quantity: str, errors: Mapping[str, Any]) -> float:
    """MAE over the rms of the labels; energies, whose zero is arbitrary, are left as they are."""
    e = errors[quantity]
    return e.mae if quantity == "energy" or not e.relative > 0 else e.mae * e.relative / e.rmse
