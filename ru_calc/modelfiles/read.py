"""Model files, read without torch: names, headers and weights.

A file holds safetensors weights and a JSON header, and no pickle.  The header holds schema, family, hyperparameters,
units, level of theory, data hash, seed, metrics, licence, and golden predictions: energies of a few fixed structures,
by which a damaged file or a change of the code is noticed before the model is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ru_calc.errors import ModelError
from ru_calc.files import shipped
from ru_calc.structures import Structures

SCHEMA, VERSION = "ru-calc/model", 1
UNITS = {"length": "Angstrom", "energy": "eV", "forces": "eV/Angstrom", "stress": "eV/Angstrom^3"}
# Hyperparameters that older files lack.
EARLIER = {"schnet": {"spline_intervals": 0}}
GOLDEN_TOLERANCE_EV_PER_ATOM = 1e-6
BEST = "best.safetensors"  # in a run folder


@dataclass(frozen=True)
class ModelFile:
    """A model file as read.

    Attributes:
        name: the name or path by which it was requested.
        path: the file.
        header: data, hyperparameters, metrics and golden predictions of the model.
        weights: arrays by name, float64.
    """

    name: str
    path: Path
    header: dict[str, Any]
    weights: dict[str, np.ndarray]

    def check_golden(self, energies_eV: np.ndarray) -> None:
        """Compares energies in eV of `golden_structures` with those in the header.

        Raises:
            ModelError: they differ.
        """
        expected = np.array(self.header["golden_energies_eV"])
        error = np.abs(energies_eV - expected) / golden_structures().counts
        if not (error < GOLDEN_TOLERANCE_EV_PER_ATOM).all():
            raise ModelError(
                f"{self.path}: golden energies differ by {error.max():.2g} eV/atom (at most "
                f"{GOLDEN_TOLERANCE_EV_PER_ATOM:g} is allowed); the file is damaged or from another version: copy "
                "or fit it again"
            )


def model_names() -> list[str]:
    """Names of the shipped models."""
    return list(_shipped_models())


def _shipped_models() -> dict[str, Path]:
    return {path.stem: path for path in shipped("*.safetensors")}


def model_path(model: str | Path) -> Path:
    """The file of a shipped model, the best model of a run folder, or the path itself.

    Raises:
        ModelError: neither the name of a shipped model, nor a file, nor a folder with a model.
    """
    known = _shipped_models()
    path = known.get(str(model), Path(model))
    if path.is_dir():
        if not (path / BEST).is_file():
            members = sorted(str(file.parent) for file in path.glob(f"*/{BEST}"))
            instead = f"; give one of {', '.join(members)}" if members else ""
            raise ModelError(f"the folder {path} holds no model ({BEST}){instead}")
        return path / BEST
    if not path.is_file():
        raise ModelError(
            f"there is no model {str(model)!r}: it is neither a file nor one of the shipped models {', '.join(known)}"
        )
    return path


def golden_structures() -> Structures:
    """hcp, compressed fcc, a strained bcc cell, a dimer and a single atom: the structures of the golden predictions."""
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


def read_header(model: str | Path) -> dict[str, Any]:
    """The header of a model file, without its weights.

    Raises:
        ModelError: no such model, or not a complete file of this package and version.
    """
    return _read(model_path(model), with_weights=False)[0]


def _read(path: Path, with_weights: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with safe_open(str(path), "np") as file:
            header = json.loads((file.metadata() or {}).get("ru_calc", "{}"))
            names = file.keys() if with_weights else []
            weights = {name: file.get_tensor(name).astype(np.float64) for name in names}
    except (SafetensorError, OSError, ValueError) as problem:
        raise ModelError(f"{path} is not a whole model file ({problem}); copy or fit it again") from problem
    if header.get("schema") != SCHEMA or header.get("version") != VERSION:
        raise ModelError(
            f"{path} has schema {header.get('schema')!r} version {header.get('version')!r}; this version reads "
            f"{SCHEMA!r} version {VERSION}"
        )
    if "hyperparameters" in header:
        header["hyperparameters"] = complete(header["family"], header["hyperparameters"])
    return header, weights


def complete(family: str, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Stored hyperparameters, with those that older files lack."""
    return {**EARLIER.get(family, {}), **hyperparameters}


def read_model_file(model: str | Path = "default") -> ModelFile:
    """A shipped model by name, or a model file by path; a file is read again only after it has changed.

    Raises:
        ModelError: see `read_header`.
    """
    path = model_path(model)
    return ModelFile(str(model), path, *_parsed(path, path.stat().st_mtime_ns))


@cache
def _parsed(path: Path, _modified_ns: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return _read(path, with_weights=True)
