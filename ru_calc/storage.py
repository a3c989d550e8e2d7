"""Model files: safetensors weights, a JSON header, and golden predictions that are checked on loading.

No pickle is involved.  The header holds schema, family, hyper-parameters, units, level of theory, data hash, seed,
metrics and licence.  The golden predictions are energies of a few fixed structures, so that a file whose weights or
whose code have changed is noticed before it is used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ru_calc.derivatives import Reference, resolve_device
from ru_calc.errors import ModelError
from ru_calc.files import shipped, whole_file
from ru_calc.neighbors import find_pairs
from ru_calc.potentials import Potential, build_potential
from ru_calc.structures import Structures

SCHEMA, VERSION = "ru-calc/model", 1
UNITS = {"length": "Angstrom", "energy": "eV", "forces": "eV/Angstrom", "stress": "eV/Angstrom^3"}
GOLDEN_TOLERANCE_EV_PER_ATOM = 1e-6


@dataclass(frozen=True)
class StoredModel:
    """A model as read from its file.

    Attributes:
        name: what it was asked for.
        path: the file.
        potential: the module, float64, in evaluation mode.
        header: everything else the file says.
    """

    name: str
    path: Path
    potential: Potential
    header: dict[str, Any]


def model_names() -> list[str]:
    """Names of the models that come with the package."""
    return list(_shipped_models())


def _shipped_models() -> dict[str, Path]:
    return {path.stem: path for path in shipped("*.safetensors")}


def model_path(model: str | Path) -> Path:
    """The file of a shipped model's name, or the path itself.

    Raises:
        ModelError: neither a name nor a file.
    """
    known = _shipped_models()
    path = known.get(str(model), Path(model))
    if not path.is_file():
        raise ModelError(
            f"there is no model {str(model)!r}: it is neither a file nor one of the shipped models {', '.join(known)}"
        )
    return path


def golden_structures() -> Structures:
    """hcp, compressed fcc, a strained bcc cell, a dimer and a lone atom: the structures of the golden predictions."""
    a, c = 2.72, 4.29
    hcp = np.array([[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, c]])
    fcc = 3.75 * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    bcc = np.array([[3.1, 0.1, 0], [0, 3.05, 0.2], [-0.1, 0, 3.2]])
    positions = [
        np.array([[0, 0, 0], [1 / 3, 2 / 3, 0.51]]) @ hcp,
        np.zeros((1, 3)),
        np.array([[0, 0, 0], [0.5, 0.48, 0.5]]) @ bcc,
        np.array([[0, 0, 0], [2.2, 0.1, 0]]),
        np.zeros((1, 3)),
    ]
    return Structures(
        positions=np.concatenate(positions),
        cells=np.array([hcp, fcc, bcc, np.zeros((3, 3)), np.zeros((3, 3))]),
        pbc=np.array([[True] * 3] * 3 + [[False] * 3] * 2),
        counts=np.array([len(part) for part in positions]),
    )


def golden_energies(potential: Potential) -> np.ndarray:
    """Energies in eV of `golden_structures` in float64."""
    structures = golden_structures()
    pairs = find_pairs(structures, potential.cutoff_A)
    return Reference(potential).predict(structures, pairs, ("energy",)).energy


def save_model(path: str | Path, potential: Potential, header: dict[str, Any]) -> None:
    """Writes a model file.

    Args:
        potential: the module; its weights are stored in float32.
        header: JSON-able facts about the model (data, seed, metrics, licence, level of theory).

    Raises:
        OutputError: it cannot be written there.
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
    with whole_file(path) as temporary:
        save_file(weights, str(temporary), metadata={"ru_calc": json.dumps(full)})


def read_header(model: str | Path) -> dict[str, Any]:
    """The header of a model file, without its weights.

    Raises:
        ModelError: no such model, or not a whole file of this package.
    """
    path = model_path(model)
    try:
        with safe_open(str(path), "pt") as file:
            header = json.loads((file.metadata() or {}).get("ru_calc", "{}"))
    except (SafetensorError, OSError, ValueError) as problem:
        raise ModelError(f"{path} is not a whole model file ({problem}); copy or fit it again") from problem
    if header.get("schema") != SCHEMA or header.get("version") != VERSION:
        raise ModelError(
            f"{path} has schema {header.get('schema')!r} version {header.get('version')!r}; this version reads "
            f"{SCHEMA!r} version {VERSION}"
        )
    return header


def load_model(model: str | Path = "default") -> StoredModel:
    """A shipped model by name, or a model file by path.

    Raises:
        ModelError: no such model, a damaged or foreign file, or golden predictions that do not come out.
    """
    path = model_path(model)
    return StoredModel(str(model), path, *_load(path, path.stat().st_mtime_ns))


@cache
def _parsed(path: Path, _modified_ns: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    header = read_header(path)
    with safe_open(str(path), "pt") as file:
        weights = {name: file.get_tensor(name).double() for name in file.keys()}
    return header, weights


def _load(path: Path, modified_ns: int) -> tuple[Potential, dict[str, Any]]:
    header, weights = _parsed(path, modified_ns)
    potential = build_potential(header["family"], header["hyperparameters"]).double()
    try:
        potential.load_state_dict(weights)
    except RuntimeError as problem:
        raise ModelError(f"{path}: weights do not fit its header ({str(problem).splitlines()[0]})") from problem
    potential.eval()
    found, expected = golden_energies(potential), np.array(header["golden_energies_eV"])
    error = np.abs(found - expected) / golden_structures().counts
    if not (error < GOLDEN_TOLERANCE_EV_PER_ATOM).all():
        raise ModelError(
            f"{path}: golden energies differ by {error.max():.2g} eV/atom (at most {GOLDEN_TOLERANCE_EV_PER_ATOM:g} is "
            "allowed); the file is damaged or was made by another version: copy or fit it again"
        )
    return potential, header


def reference_predictor(model: str | Path = "default", dtype: str = "float64", device: str = "auto") -> Reference:
    """A shipped or stored model as a `Reference`.

    Args:
        dtype: of the network, `float32` or `float64`.
        device: `auto` (a CUDA device if there is one), `cpu`, `cuda` or `cuda:N`.

    Raises:
        ModelError: see `load_model`.
        SettingsError: see `resolve_device`.
    """
    return Reference(load_model(model).potential, getattr(torch, dtype), resolve_device(device))
