"""The end of a fit: errors on every split, a parity plot, and a plain word where they diverge."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ru_calc import kernels
from ru_calc.dataset import Dataset
from ru_calc.evaluate.metrics import QUANTITIES, SCALES, Comparison
from ru_calc.files import write_json
from ru_calc.modelfiles import open_model
from ru_calc.modelfiles.open import OpenModel
from ru_calc.predictor import predict_all
from ru_calc.reports.plots import parity_plot
from ru_calc.units import EV_PER_A3_IN_GPA

DIVERGENCE = 1.5


def open_fitted(file: str | Path) -> OpenModel:
    """A model of a run folder as its users get it, in float64 on the CPU and on as many threads as torch has."""
    engine = "auto" if kernels.fastest() else "reference"  # that none was built, the fit has said
    return open_model(file, "float64", "cpu", torch.get_num_threads(), engine)


def final_report(
    file: Path, dataset: Dataset, split: Mapping[str, np.ndarray], folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Errors of the model in a file: writes `metrics.json` and `parity.png`, says the table, warns of overfitting."""
    model = open_fitted(file)
    say(f"predicting all {sum(map(len, split.values()))} frames in float64 by the {model.engine} engine")
    comparisons = {}
    for name, frames in split.items():
        if len(frames):
            part = dataset.select(frames)
            found = predict_all(model.predictor, part.structures, QUANTITIES)
            comparisons[name] = Comparison(part, found.energy, found.forces, found.stress)
    errors = {name: comparison.errors() for name, comparison in comparisons.items()}
    for name, of_split in errors.items():
        for quantity in QUANTITIES:
            e, scale = of_split[quantity], SCALES[quantity]
            if e.count:
                say(
                    f"{name:>10} {quantity:>6}: MAE {e.mae * scale.factor:9.3f} RMSE {e.rmse * scale.factor:9.3f} "
                    f"{_read(scale.unit)}, MSE {e.mse * scale.squared_factor:.3g} {_read(scale.squared)}"
                )
    for warning in divergence(errors):
        say(f"warning: {warning}")
    metrics = {name: comparison.row() for name, comparison in comparisons.items()}
    write_json(folder / "metrics.json", metrics)
    last = comparisons.get("test", comparisons["validation"])
    parity_plot(folder / "parity.png", _panels(last), title="test" if "test" in comparisons else "validation")
    return metrics


def _read(unit: str) -> str:
    return unit.replace("_per_A", "/Å").replace("_per_", "/").replace("2", "²")


def fit_cost(folder: Path) -> dict[str, Any]:
    """Epochs of the fit in a run folder, and their CPU time in minutes, from its `log.csv`."""
    with open(folder / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {"epochs": len(rows), "cpu_min": sum(float(row["cpu_seconds"]) for row in rows) / 60}


def divergence(errors: Mapping[str, Any]) -> list[str]:
    """Sentences for every quantity whose error off the training set is much larger than on it."""
    found = []
    for name in ("validation", "test"):
        for quantity in QUANTITIES:
            if name in errors and errors[name][quantity].count and errors["train"][quantity].mae > 0:
                ratio = _on_scale(quantity, errors[name]) / _on_scale(quantity, errors["train"])
                if ratio > DIVERGENCE:
                    found.append(
                        f"{quantity}: the {name} MAE is {ratio:.1f} times that of training (on the scale of the labels "
                        "of each); the fit follows its training frames too closely: more data, fewer epochs or a "
                        "smaller network"
                    )
    return found


def _on_scale(quantity: str, errors: Mapping[str, Any]) -> float:
    """MAE over the root mean square of the labels; energies have no scale of their own."""
    e = errors[quantity]
    return e.mae if quantity == "energy" or not e.relative > 0 else e.mae * e.relative / e.rmse


def _panels(comparison: Comparison) -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    panels = {}
    for quantity, unit, factor in (
        ("energy", "eV/atom", 1.0),
        ("forces", "eV/Å", 1.0),
        ("stress", "GPa", EV_PER_A3_IN_GPA),
    ):
        label, predicted = comparison.values(quantity)
        panels[quantity] = (label.ravel() * factor, predicted.ravel() * factor, unit)
    return panels
