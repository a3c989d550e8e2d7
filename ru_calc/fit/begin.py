"""The potential that a fit starts from: random weights, or those of a model with its zero of energy shifted."""

from __future__ import annotations

from typing import Any

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.evaluate.assessment import isolated_frames
from ru_calc.fit.report import open_fitted
from ru_calc.fit.runs import Log
from ru_calc.fit.settings import FitSettings
from ru_calc.fit.start import TABLES
from ru_calc.modelfiles import load_model
from ru_calc.potentials import Potential, build_potential
from ru_calc.predictor import predict_all

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
        return _with_zero_of(settings, dataset, train_set, start, init_from, say).requires_grad_(True)
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
    return start if wanted == own else rebuilt(start, wanted)


def _with_zero_of(
    settings: FitSettings, dataset: Dataset, train_set: Dataset, start: Potential, model: str, say: Log
) -> Potential:
    """The same weights, with the atomic energy of the settings or of the labels, or shifted to the zero of the labels.

    A labelled atom fixes the zero; energies of other frames may then be far off at the start, which the fit mends.
    """
    own, labelled = start.hyperparameters(), np.flatnonzero(train_set.has("energy"))
    asked = settings.model.get("atom_energy_eV", 0.0)
    if "atom_energy_eV" in own and asked not in (0.0, own["atom_energy_eV"]):
        return rebuilt(start, {**own, "atom_energy_eV": asked})
    if "atom_energy_eV" not in own or not len(labelled):
        return start
    alone = labelled_atom(dataset, say)
    if alone is not None:
        return rebuilt(start, {**own, "atom_energy_eV": alone})
    part = train_set.select(labelled)
    predicted = predict_all(open_fitted(model).predictor, part.structures, ("energy",)).energy
    shift = float(np.median((part.energy - predicted) / part.structures.counts))
    if abs(shift) < SAME_ZERO_EV:
        return start
    say(f"energies of {model} are shifted by {shift:.4f} eV/atom, their median difference from the training labels")
    return rebuilt(start, {**own, "atom_energy_eV": own["atom_energy_eV"] + shift})


def rebuilt(start: Potential, hyperparameters: dict[str, Any]) -> Potential:
    """A potential with other hyper-parameters and the same weights, in float64."""
    made = build_potential(start.family, hyperparameters).double()
    made.load_state_dict(start.state_dict())
    return made


def atom_energy(dataset: Dataset, say: Log = print) -> float:
    """Energy in eV of an isolated atom.

    As labelled, see `labelled_atom`; else the lowest energy per atom + 6.68 eV; without energies, 0.
    """
    if not dataset.has("energy").any():
        say("no frame has an energy: the zero of the model's energies is arbitrary")
        return 0.0
    alone = labelled_atom(dataset, say)
    if alone is not None:
        return alone
    lowest = float(np.nanmin(dataset.energy / dataset.structures.counts))
    say(f"no frame is an isolated atom: its energy is set to {lowest:.4f} + {COHESIVE_ENERGY_EV} eV")
    return lowest + COHESIVE_ENERGY_EV


def labelled_atom(dataset: Dataset, say: Log = print) -> float | None:
    """The lowest energy in eV of the frames of one atom without neighbours; None if there are none."""
    alone = dataset.energy[isolated_frames(dataset) & dataset.has("energy")]
    if not len(alone):
        return None
    if len(alone) > 1:
        say(f"isolated atom: {alone.min():.4f} eV, the lowest of {len(alone)} frames")
    return float(alone.min())
