"""The potential that a fit starts from: random weights, or those of a model with its zero of energy shifted."""

from __future__ import annotations

from typing import Any

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.fit.report import open_fitted
from ru_calc.fit.runs import Log
from ru_calc.fit.settings import FitSettings
from ru_calc.fit.start import TABLES
from ru_calc.modelfiles import load_model
from ru_calc.potentials import Potential, build_potential
from ru_calc.predictor import predict_all
from ru_calc.structures.neighbors import find_pairs

SAME_ZERO_EV = 0.05  # per atom; a smaller median difference is an error of the model, not another zero
COHESIVE_ENERGY_EV = 6.68  # PBE: Angsten et al., New J. Phys. 16, 015018 (2014)


def first_potential(
    settings: FitSettings, dataset: Dataset, train_set: Dataset, init_from: str | None, say: Log
) -> Potential:
    """The potential before the first step.

    Args:
        dataset: all frames, for the energy of an isolated atom.
        train_set: frames to fit, from which a family may take means and scales.
        init_from: name or file of the model to start from; None means random weights.
        say: prints how the zero of energy was chosen, if it had to be.
    """
    if init_from is not None:
        start = _with_tables(load_model(init_from).potential, settings)
        return _with_zero_of(settings, train_set, start, init_from, say).requires_grad_(True)
    hyperparameters = dict(settings.model)
    if hyperparameters.get("atom_energy_eV") == 0.0:
        hyperparameters["atom_energy_eV"] = atom_energy(dataset, say)
    potential = build_potential(settings.family, hyperparameters)
    potential.prepare(train_set)
    return potential


def _with_tables(start: Potential, settings: FitSettings) -> Potential:
    """The same weights, with the tables of the settings."""
    own = start.hyperparameters()
    wanted = own | {name: settings.model[name] for name in TABLES if name in own and name in settings.model}
    return start if wanted == own else _rebuilt(start, wanted)


def _with_zero_of(settings: FitSettings, train_set: Dataset, start: Potential, model: str, say: Log) -> Potential:
    """The same weights, with the atomic energy of the settings, or shifted to the zero of the labels."""
    own, labelled = start.hyperparameters(), np.flatnonzero(train_set.has("energy"))
    asked = settings.model.get("atom_energy_eV", 0.0)
    if "atom_energy_eV" in own and asked not in (0.0, own["atom_energy_eV"]):
        return _rebuilt(start, {**own, "atom_energy_eV": asked})
    if "atom_energy_eV" not in own or not len(labelled):
        return start
    part = train_set.select(labelled)
    predicted = predict_all(open_fitted(model).predictor, part.structures, ("energy",)).energy
    shift = float(np.median((part.energy - predicted) / part.structures.counts))
    if abs(shift) < SAME_ZERO_EV:
        return start
    say(f"energies of {model} are shifted by {shift:.4f} eV/atom, their median difference from the training labels")
    return _rebuilt(start, {**own, "atom_energy_eV": own["atom_energy_eV"] + shift})


def _rebuilt(start: Potential, hyperparameters: dict[str, Any]) -> Potential:
    made = build_potential(start.family, hyperparameters).double()
    made.load_state_dict(start.state_dict())
    return made


def atom_energy(dataset: Dataset, say: Log = print, reach_A: float = 7.0) -> float:
    """Energy in eV of an isolated atom.

    The lowest energy of the frames of one atom without neighbours; without such frames, the lowest energy per atom
    + 6.68 eV; without energies, 0.
    """
    s = dataset.structures
    if not dataset.has("energy").any():
        say("no frame has an energy: the zero of the model's energies is arbitrary")
        return 0.0
    single = [int(k) for k in np.flatnonzero((s.counts == 1) & dataset.has("energy"))]
    alone = [k for k in single if not len(find_pairs(s.frame(k), reach_A))]
    if alone:
        chosen = min(alone, key=lambda k: dataset.energy[k])
        if len(alone) > 1:
            say(f"isolated atom: {dataset.energy[chosen]:.4f} eV, the lowest of {len(alone)} frames")
        return float(dataset.energy[chosen])
    lowest = float(np.nanmin(dataset.energy / s.counts))
    say(f"no frame is an isolated atom: its energy is set to {lowest:.4f} + {COHESIVE_ENERGY_EV} eV")
    return lowest + COHESIVE_ENERGY_EV
