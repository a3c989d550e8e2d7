"""Cross-validation: members that are each tested on another fold of the frames, and the mean of their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ru_calc.dataset.groups import group_of
from ru_calc.errors import DataError
from ru_calc.evaluate.metrics import QUANTITIES, Comparison, error_table
from ru_calc.evaluate.report import parity_panels
from ru_calc.fit.begin import rebuilt
from ru_calc.fit.members import member_folder, settings_of
from ru_calc.fit.report import open_fitted
from ru_calc.fit.run import FitInput, splits_of
from ru_calc.fit.runs import Log
from ru_calc.fit.uncertainty import add_pooled_uncertainty
from ru_calc.modelfiles.load import load_model, save_model
from ru_calc.modelfiles.read import BEST
from ru_calc.predictor import predict_all
from ru_calc.reports.figures import parity_plot


def warn_of_seen_frames(job: FitInput, say: Log) -> None:
    """Says so if the start may have been fitted to frames that the folds hold out."""
    if job.init_from is None or not job.settings.folds:
        return
    level = load_model(job.init_from).header.get("level_of_theory")
    if level == job.dataset.level_of_theory:
        say(
            f"warning: {job.init_from} was fitted to labels of the same level of theory; if these frames were among "
            "them, the errors of the folds are too small: start from a model that has not seen them"
        )


def pooled(job: FitInput) -> dict[str, Any]:
    """`errors` of `held_out`, as `error_table` gives them, and `groups`, the same by group; draws `parity.png`."""
    comparison, order = held_out(job)
    parity_plot(job.folder / "parity.png", parity_panels(comparison), title="held out")
    tested = {"test": np.arange(len(order))}
    return {"errors": error_table(comparison, tested), "groups": error_table(comparison, tested, group_of)}


def held_out(job: FitInput) -> tuple[Comparison, np.ndarray]:
    """Predictions of every frame by the member of the folds that has not seen it, and the indices of these frames."""
    dataset, settings = job.dataset, job.settings
    parts, found = [], []
    for k in range(1, settings.folds + 1):
        member = replace(job, folder=member_folder(job.folder, k), settings=settings_of(settings, k))
        parts.append(splits_of(member)[0]["test"])
        predictor = open_fitted(member.folder / BEST).predictor
        found.append(predict_all(predictor, dataset.select(parts[-1]).structures, QUANTITIES))
    order = np.concatenate(parts)
    predicted = (np.concatenate([getattr(one, name) for one in found]) for name in QUANTITIES)
    return Comparison(dataset.select(order), *predicted), order


def save_mean(files: Sequence[Path], path: Path) -> None:
    """Writes the mean of the weights of several models that were fitted from one start."""
    models = [load_model(file) for file in files]
    states = [model.potential.state_dict() for model in models]
    own = models[0].potential.hyperparameters()
    if "atom_energy_eV" in own:  # taken from the training frames of each
        own["atom_energy_eV"] = float(np.mean([model.potential.settings.atom_energy_eV for model in models]))
    mean = rebuilt(models[0].potential, own)
    mean.load_state_dict({name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]})
    header = {name: value for name, value in models[0].header.items() if name != "metrics"}
    save_model(path, mean, {**header, "mean_of": len(models)})


def add_uncertainty_of_folds(job: FitInput, say: Log) -> None:
    """Gives the mean of the folds an uncertainty, from the errors of its members on the frames they have not seen."""
    if job.settings.family != "schnet" or not job.settings.folds:
        return
    members = []
    for k in range(1, job.settings.folds + 1):
        split = splits_of(replace(job, settings=settings_of(job.settings, k)))[0]
        seen, unseen = (job.dataset.select(split[part]) for part in ("train", "test"))
        members.append((member_folder(job.folder, k) / BEST, seen, unseen))
    try:
        add_pooled_uncertainty(job.folder / BEST, job.dataset, members, say)
    except DataError as problem:
        say(f"the model gets no uncertainty: {problem}")
