"""Potentials and model files: a potential is written to its file, and rebuilt from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from ru_calc.errors import ModelError
from ru_calc.files import whole_file
from ru_calc.modelfiles.read import SCHEMA, UNITS, VERSION, ModelFile, golden_structures, read_model_file
from ru_calc.potentials import Potential, build_potential
from ru_calc.potentials.derivatives import Reference
from ru_calc.tables.uncertainty import Uncertainty, network_weights


@dataclass(frozen=True)
class StoredModel:
    """A potential rebuilt from a `ModelFile`, in float64 and in evaluation mode; None for no uncertainty."""

    name: str
    path: Path
    potential: Potential
    header: dict[str, Any]
    uncertainty: Uncertainty | None


def golden_energies(potential: Potential) -> np.ndarray:
    """Energies in eV of `golden_structures` in float64."""
    return Reference(potential).predict(golden_structures(), None, ("energy",)).energy


def save_model(
    path: str | Path, potential: Potential, header: dict[str, Any], uncertainty: Uncertainty | None = None
) -> None:
    """Writes a model file.

    Args:
        potential: the module; its weights are stored in float32.
        header: JSON-serialisable facts about the model (data, seed, metrics, licence, level of theory).
        uncertainty: of the model; `header["uncertainty"]` then tells how it was calibrated.

    Raises:
        OutputError: the file cannot be written.
    """
    weights = {name: value.detach().cpu().float().contiguous() for name, value in potential.state_dict().items()}
    fresh = build_potential(potential.family, potential.hyperparameters())
    fresh.load_state_dict(weights)
    full = {
        **header,
        "schema": SCHEMA, "version": VERSION, "family": potential.family, "units": UNITS,
        "hyperparameters": potential.hyperparameters(), "cutoff_A": potential.cutoff_A,
        "conservative": potential.conservative, "golden_energies_eV": golden_energies(fresh).tolist(),
    }  # fmt: skip
    if uncertainty is not None:
        weights |= {name: torch.from_numpy(array) for name, array in uncertainty.weights().items()}
    with whole_file(path) as temporary:
        save_file(weights, str(temporary), metadata={"ru_calc": json.dumps(full)})


def load_model(model: str | Path = "default") -> StoredModel:
    """A shipped model by name, or a model file by path; a file is read and checked once, until it changes.

    Raises:
        ModelError: no such model, a damaged or foreign file, or golden predictions that are not reproduced.
    """
    file = read_model_file(model)
    _check(file.path, file.path.stat().st_mtime_ns)
    return StoredModel(file.name, file.path, _built(file), file.header, Uncertainty.among(file.weights))


@cache
def _check(path: Path, _modified_ns: int) -> None:
    file = read_model_file(path)
    file.check_golden(golden_energies(_built(file)))


def _built(file: ModelFile) -> Potential:
    with torch.random.fork_rng(devices=[]):  # a new module draws random weights
        potential = build_potential(file.header["family"], file.header["hyperparameters"]).double()
    own = network_weights(file.weights)
    try:
        potential.load_state_dict({name: torch.from_numpy(array) for name, array in own.items()})
    except RuntimeError as problem:
        raise ModelError(f"{file.path}: weights do not fit its header ({str(problem).splitlines()[0]})") from problem
    return potential.eval()
