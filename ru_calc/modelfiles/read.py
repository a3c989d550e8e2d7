"""Model files, read without torch: names, headers and weights.

A file holds safetensors weights and a JSON header, and no pickle.  The header holds schema, family, hyperparameters,
units, level of theory, data hash, seed, metrics, licence, the SHA-256 of itself and of all weights, and golden values:
energies and forces of a few fixed structures, by which a damaged file or a change of the code is noticed before the
model is used.  Files of version 1 have five golden energies, no forces, and no hash.
"""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ru_calc.errors import ModelError
from ru_calc.files import content_sha256, shipped
from ru_calc.modelfiles.golden import check_golden
from ru_calc.modelfiles.header import VERSION, WAY_OUT, check_version, check_weights, checked_header
from ru_calc.predictor import Predictor
from ru_calc.tables.uncertainty import Uncertainty

BEST = "best.safetensors"  # in a run folder
HASH = "sha256"
MOST_BYTES, MOST_HEADER_BYTES = 64 * 2**20, 4 * 2**20
DTYPES = ("F32", "F64")


@dataclass(frozen=True)
class ModelFile:
    """A model file as read.

    Attributes:
        name: the name or path by which it was requested.
        path: the file.
        header: data, hyperparameters, metrics and golden predictions of the model.
        weights: arrays by name, float64.
        sha256: of header and weights: what a run remembers of its model.
    """

    name: str
    path: Path
    header: dict[str, Any]
    weights: dict[str, np.ndarray]
    sha256: str

    def check_golden(self, predictor: Predictor) -> None:
        """Compares predictions of this model in float64 with the golden values of its header.

        Raises:
            ModelError: they differ.
        """
        check_golden(predictor, self.header, str(self.path))


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


def find_model(model: str, sha256: str | None, folders: Iterable[Path]) -> str:
    """The model that a run was started with: by its path as it was given, or within one of `folders`.

    Args:
        sha256: of the model; None, for a run of an earlier version, takes the first that is found.

    Raises:
        ModelError: none is found, or only others.
    """
    others, problems = [], []
    names = [model, *(str(folder / name) for folder in folders for name in (model, Path(model).name))]
    for candidate in dict.fromkeys(names):
        try:
            found = read_model_file(candidate)
        except ModelError as problem:
            problems.append(str(problem))
            continue
        if sha256 in (None, found.sha256):
            return candidate
        others.append(f"{found.path} ({found.sha256[:12]})")
    if others:
        raise ModelError(
            f"the run was started with a model {model!r} of hash {str(sha256)[:12]}, and another one is in "
            f"{', '.join(others)}; give the model of the run by --model"
        )
    raise ModelError(f"{problems[0]}; give the model of the run by --model")


def read_header(model: str | Path) -> dict[str, Any]:
    """The header of a model file, without its weights.

    Raises:
        ModelError: no such model; a damaged, foreign or newer file; an entry that is missing or out of range.
    """
    return dict(read_model_file(model).header)


def read_model_file(model: str | Path = "default") -> ModelFile:
    """A shipped model by name, or a model file by path; a file is read again only after it has changed.

    Raises:
        ModelError: see `read_header`.
    """
    path = model_path(model)
    return ModelFile(str(model), path, *_parsed(path, stamp(path)))


def stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file does."""
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


@lru_cache(maxsize=64)
def _parsed(path: Path, _stamp: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, np.ndarray], str]:
    name = str(path)
    header, stored = _stored(path)
    check_version(header, name)
    written = header.pop(HASH, None)
    found = content_sha256(header, stored)
    if written != found and not (written is None and header["version"] == 1):
        raise ModelError(f"{name} is damaged: header and weights do not have the hash that is in it; {WAY_OUT}")
    if header["version"] == 1 and Uncertainty.PROJECTION not in stored:
        header.pop("uncertainty", None)  # files of version 1 may have kept that of another model
    header = checked_header(header, name)
    weights = {key: array.astype(np.float64) for key, array in stored.items()}
    check_weights(header, weights, name)
    if header["version"] < VERSION:
        warnings.warn(
            f"{name} is a model file of version {header['version']}, without a hash: of damage only its golden "
            f"energies tell; ru_calc.modelfiles.upgrade_model({name!r}) adds the hash",
            stacklevel=4,
        )
    return header, weights, found


def _stored(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """Header and weights as they are in a file, whatever they are."""
    try:
        _check_sizes(path)
        with safe_open(str(path), "np") as file:
            names = list(file.keys())
            for name in names:
                if file.get_slice(name).get_dtype() not in DTYPES:
                    raise ValueError(f"a weight is {file.get_slice(name).get_dtype()}, not {' or '.join(DTYPES)}")
            weights = {name: file.get_tensor(name) for name in names}
            return json.loads((file.metadata() or {}).get("ru_calc", "{}")), weights
    except RecursionError as problem:
        raise ModelError(f"{path} is not a whole model file (its header is nested too deep); {WAY_OUT}") from problem
    except (SafetensorError, OSError, ValueError) as problem:
        raise ModelError(f"{path} is not a whole model file ({str(problem)[:200]}); {WAY_OUT}") from problem


def _check_sizes(path: Path) -> None:
    """Refuses what would take much memory to look at."""
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"it has {size / 2**20:.0f} MiB, a model at most {MOST_BYTES // 2**20}")
    with open(path, "rb") as file:
        start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 0 < length <= min(size - 8, MOST_HEADER_BYTES):
        raise ValueError(f"its header has {length} bytes of {size}, at most {MOST_HEADER_BYTES} are allowed")
