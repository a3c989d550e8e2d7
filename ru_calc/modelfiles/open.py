"""A model ready to predict, by the compiled engine where possible and by the reference otherwise."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ru_calc import kernels
from ru_calc.devices import CHOICES, chosen, resolve_device
from ru_calc.engine.engine import Engine
from ru_calc.errors import ModelError, SettingsError
from ru_calc.modelfiles.read import ModelFile, read_model_file, stamp
from ru_calc.predictor import Predictor

NOT_BUILT = "it could not be built at installation"
GOLDEN_INTERVALS = 512  # enough for the tolerance of the golden predictions, in float64


@dataclass(frozen=True)
class OpenModel:
    """A predictor, the header of its model file, its engine (`compiled` or `reference`) and its device."""

    predictor: Predictor
    header: dict[str, Any]
    engine: str
    device: str


def open_model(
    model: str | Path = "default",
    dtype: str = "float32",
    device: str = "auto",
    threads: int = 1,
    engine: str = "auto",
) -> OpenModel:
    """A shipped or stored model, ready to predict.

    Args:
        dtype: of the network, `float32` or `float64`.
        device: `auto` (a CUDA device if there is one), `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads of a prediction, by either engine; torch's own number stays as it is.
        engine: `compiled`, from tables: C++ on the CPU, torch on a CUDA device; `reference`, the network itself in
            torch, on any device; `auto`, compiled where possible, and the reference otherwise.

    Raises:
        ModelError: no such model, a damaged or foreign file, or golden predictions that are not reproduced.
        SettingsError: an unknown device, dtype, engine or number of threads, or a compiled engine that cannot evaluate
            this model here.
    """
    for name, value in (("engine", engine), ("dtype", dtype)):
        chosen(name, value, CHOICES[name])
    where = resolve_device(device)
    file = read_model_file(model)
    reason = obstacle(file, where)
    if engine == "compiled" and reason:
        raise SettingsError(f"engine is 'compiled', but {reason}; use engine='auto' or 'reference'")
    if not reason and engine != "reference":
        _check_compiled(file.path, stamp(file.path), where)
        return OpenModel(_engine(file, dtype, where, threads), file.header, "compiled", where)
    if engine == "auto" and reason == NOT_BUILT:
        warnings.warn(
            "ru-calc was installed without its compiled engine (no C++20 compiler), so the network runs on the "
            "reference path, about 20 times slower; reinstall ru-calc with a compiler, or pass engine='reference' to "
            "silence this warning",
            stacklevel=2,
        )
    return _reference(model, dtype, where, threads)


def obstacle(file: ModelFile, device: str) -> str | None:
    """Why the compiled engine cannot evaluate a model, or None if it can."""
    if file.header["family"] != "schnet":
        return f"it only evaluates the family schnet, and {file.name} is of family {file.header['family']}"
    return NOT_BUILT if device == "cpu" and kernels.fastest() is None else None


@lru_cache(maxsize=64)
def _check_compiled(path: Path, _stamp: tuple[int, ...], device: str) -> None:
    file = read_model_file(path)
    file.check_golden(_engine(file, "float64", device, intervals=GOLDEN_INTERVALS))


def _engine(file: ModelFile, dtype: str, device: str, threads: int = 1, intervals: int | None = None) -> Predictor:
    settings, weights = file.header["hyperparameters"], file.weights
    try:
        if device == "cpu":
            return Engine(settings, weights, dtype, threads, intervals=intervals)
        from ru_calc.engine.device import DeviceEngine

        return DeviceEngine(settings, weights, dtype, device, intervals)
    except (KeyError, ValueError) as problem:
        raise ModelError(f"{file.path}: weights do not fit its header ({problem})") from problem


def _reference(model: str | Path, dtype: str, device: str, threads: int) -> OpenModel:
    import torch

    from ru_calc.modelfiles.load import load_model
    from ru_calc.potentials.derivatives import Reference

    stored = load_model(model)
    predictor = Reference(stored.potential, getattr(torch, dtype), device, threads, stored.uncertainty)
    return OpenModel(predictor, stored.header, "reference", device)
