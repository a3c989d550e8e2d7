"""Potentials and model files: a potential is written to its file, and rebuilt from it."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ru_calc.errors import ModelError
from ru_calc.files import content_sha256, whole_file
from ru_calc.modelfiles.golden import golden_values
from ru_calc.modelfiles.header import SCHEMA, UNITS, VERSION, WAY_OUT, check_shapes
from ru_calc.modelfiles.read import HASH, ModelFile, read_model_file, stamp
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
        **{name: value for name, value in header.items() if name not in (HASH, "uncertainty")},
        "schema": SCHEMA, "version": VERSION, "family": potential.family, "units": UNITS,
        "hyperparameters": potential.hyperparameters(), "cutoff_A": potential.cutoff_A,
        "conservative": potential.conservative, **golden_values(Reference(fresh)),
    }  # fmt: skip
    if uncertainty is not None:
        full["uncertainty"] = header["uncertainty"]
        weights |= {name: torch.from_numpy(array) for name, array in uncertainty.weights().items()}
    full = json.loads(json.dumps(full))
    full[HASH] = content_sha256(full, {name: value.numpy() for name, value in weights.items()})
    with whole_file(path) as temporary:
        save_file(weights, str(temporary), metadata={"ru_calc": json.dumps(full)})


def upgrade_model(file: str | Path) -> None:
    """Rewrites a model file of an earlier version as one of this version, with the same weights, bit for bit.

    Raises:
        ModelError: see `load_model`.
        OutputError: the file cannot be written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the earlier version
        stored = load_model(file)
    save_model(stored.path, stored.potential, stored.header, stored.uncertainty)


def load_model(model: str | Path = "default") -> StoredModel:
    """A shipped model by name, or a model file by path; a file is read and checked once, until it changes.

    Raises:
        ModelError: no such model, a damaged or foreign file, or golden predictions that are not reproduced.
    """
    file = read_model_file(model)
    _check(file.path, stamp(file.path))
    return StoredModel(file.name, file.path, _built(file), file.header, Uncertainty.among(file.weights))


@lru_cache(maxsize=64)
def _check(path: Path, _stamp: tuple[int, ...]) -> None:
    file = read_model_file(path)
    file.check_golden(Reference(_built(file)))


def _built(file: ModelFile) -> Potential:
    family, own = file.header["family"], network_weights(file.weights)
    with torch.device("meta"):  # shapes only: a wrong hyper-parameter allocates nothing
        planned = build_potential(family, file.header["hyperparameters"]).state_dict()
    check_shapes({name: tuple(value.shape) for name, value in planned.items()}, own, str(file.path))
    with torch.random.fork_rng(devices=[]):  # a new module draws random weights
        potential = build_potential(family, file.header["hyperparameters"]).double()
    if file.header["conservative"] != potential.conservative:
        raise ModelError(
            f"{file.path}: conservative of its header is {file.header['conservative']}; it must be "
            f"{potential.conservative} for the family {family}: {WAY_OUT}"
        )
    potential.load_state_dict({name: torch.from_numpy(array) for name, array in own.items()})
    return potential.eval()
