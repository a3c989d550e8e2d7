"""One fit per family, all of the same length in CPU time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ru_calc.dataset import Dataset
from ru_calc.files import make_folder, read_json, write_json
from ru_calc.fit.run import FitInput, finish_fit
from ru_calc.fit.runs import Log
from ru_calc.fit.settings import FitSettings, with_changes
from ru_calc.fit.timing import epoch_cpu_s
from ru_calc.modelfiles.read import BEST
from ru_calc.studies.compare.settings import MDProtocol
from ru_calc.studies.compare.start import LICENCE


def plan_fit(family: str, dataset: Dataset, folder: Path, protocol: MDProtocol) -> dict[str, Any]:
    """Number of epochs of a fit: chosen once from the time of an epoch, so that a resumed fit keeps it.

    Returns:
        The contents of `fits/FAMILY.plan.json`: `epochs`, and `epoch_cpu_s` (None if the protocol gives `epochs`).
    """
    path = folder / "fits" / f"{family}.plan.json"
    if path.is_file():
        return dict(read_json(path))
    make_folder(path.parent)
    plan: dict[str, Any] = {"epochs": protocol.epochs, "epoch_cpu_s": None}
    if protocol.epochs is None:
        pace_s = epoch_cpu_s(FitInput(dataset, path.parent / family, _settings(family, protocol)))
        plan = {"epochs": max(1, round(60 * protocol.budget_min / pace_s)), "epoch_cpu_s": pace_s}
    write_json(path, plan)
    return plan


def fit_family(
    family: str,
    dataset: Dataset,
    folder: Path,
    protocol: MDProtocol,
    licence: str = LICENCE,
    say: Log = print,
    bar: Any = None,
) -> Path:
    """Fits a family, or finishes or just finds its fit; returns the file of the model.

    Args:
        folder: of the comparison; the run folder is `fits/FAMILY` in it.
        licence: of the weights, for the model file.
    """
    run = folder / "fits" / family
    plan = plan_fit(family, dataset, folder, protocol)
    job = FitInput(dataset, run, _settings(family, protocol, plan["epochs"]), licence=licence)
    pace = "" if plan["epoch_cpu_s"] is None else f" of {plan['epoch_cpu_s']:.1f} s of CPU time"
    finish_fit(job, f"{plan['epochs']} epochs{pace}", say, bar)
    return run / BEST


def _settings(family: str, protocol: MDProtocol, epochs: int = FitSettings.epochs) -> FitSettings:
    changes = {"family": family, "epochs": epochs, "seed": protocol.seed, "split": protocol.split}
    return with_changes("md", changes)
