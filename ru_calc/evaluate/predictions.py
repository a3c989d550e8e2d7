"""Predictions for a data set, by a model in batches or by any ASE calculator frame by frame."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ru_calc.dataset import LABELS, Dataset
from ru_calc.errors import SettingsError, reason
from ru_calc.units import to_voigt

if TYPE_CHECKING:
    from ase import Atoms

    from ru_calc.predictor import Predictor

Advance = Callable[[int], Any]


@dataclass(frozen=True)
class Failure:
    """A label without a prediction: index of the frame, quantity and reason."""

    frame: int
    quantity: str
    reason: str


@dataclass(frozen=True)
class Predictions:
    """Predicted values, NaN where the prediction failed.

    Attributes:
        energy: (f,) eV.
        forces: (n, 3) eV/Å.
        stress: (f, 6) eV/Å³.
        failures: in the order of frames.
    """

    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray
    failures: list[Failure] = field(default_factory=list)


def predict_by_model(
    predictor: Predictor, dataset: Dataset, batch_atoms: int = 1000, advance: Advance = lambda frames: None
) -> Predictions:
    """Predictions of a `Predictor`; `advance` is called with the number of frames just done."""
    from ru_calc.predictor import predict_all

    refused: dict[int, str] = {}
    found = predict_all(
        predictor, dataset.structures, batch_atoms=batch_atoms, advance=advance, refuse=refused.__setitem__
    )
    result = Predictions(found.energy, found.forces, found.stress)
    result.failures.extend(_not_finite(result, dataset, refused))
    return result


def _not_finite(result: Predictions, dataset: Dataset, refused: Mapping[int, str]) -> list[Failure]:
    """One failure for each label whose prediction is not finite, with the reason why the frame was refused."""
    failures = []
    frame_of_atom = dataset.structures.frame_of_atom
    for name in LABELS:
        label, predicted = getattr(dataset, name), getattr(result, name)
        rows = np.flatnonzero((np.isfinite(label) & ~np.isfinite(predicted)).reshape(len(label), -1).any(axis=1))
        frames = np.unique(frame_of_atom[rows]) if name == "forces" else rows
        failures += [Failure(int(k), name, refused.get(int(k), "the prediction is not finite")) for k in frames]
    return sorted(failures, key=lambda failure: failure.frame)


def load_calculator(path: str, arguments: dict[str, Any] | None = None) -> Any:
    """An ASE calculator by import path.

    Args:
        path: `module.path:Class`, such as `ase.calculators.eam:EAM`; modules of the current folder are found, too.
        arguments: keyword arguments of the class.

    Raises:
        SettingsError: the path cannot be imported, or the class refuses the arguments.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise SettingsError(
            f"the calculator is {path!r}; write it as module.path:Class, such as ase.calculators.eam:EAM"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # a module of the user's in the folder where the command is given
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except Exception as problem:  # someone else's module may fail in any way
        raise SettingsError(f"the calculator {path!r} cannot be imported ({reason(problem)[:200]})") from problem
    try:
        calculator = factory(**(arguments or {}))
    except Exception as problem:
        raise SettingsError(f"{path}(**{arguments or {}}) failed ({reason(problem)[:200]})") from problem
    if not hasattr(calculator, "get_property"):
        raise SettingsError(f"{path} makes a {type(calculator).__name__}, which is not an ASE calculator")
    return calculator


def predict_by_calculator(calculator: Any, dataset: Dataset, advance: Advance = lambda frames: None) -> Predictions:
    """Predictions of an ASE calculator for all labels; those it cannot give are listed in `failures`.

    The energy is the force-consistent `free_energy` if the calculator has one.
    """
    s = dataset.structures
    energy, forces, stress = (np.full(np.shape(getattr(dataset, name)), np.nan) for name in LABELS)
    result = Predictions(energy, forces, stress)
    offers = getattr(calculator, "implemented_properties", ())
    energy_name = "free_energy" if "free_energy" in offers else "energy"
    for k in range(len(dataset)):
        atoms = dataset.atoms(k)
        atoms.calc = calculator
        mine = slice(s.offsets[k], s.offsets[k + 1])
        for name, asked, target, index in (
            ("energy", energy_name, result.energy, k),
            ("forces", "forces", result.forces, mine),
            ("stress", "stress", result.stress, k),
        ):
            if np.isfinite(getattr(dataset, name)[index]).any():
                value = _ask(calculator, atoms, asked)
                if isinstance(value, str):
                    result.failures.append(Failure(k, name, value))
                else:
                    target[index] = value
        advance(1)
    return result


def _ask(calculator: Any, atoms: Atoms, name: str) -> np.ndarray | str:
    """The property, or the reason why there is none."""
    shape = {"forces": (len(atoms), 3), "stress": (6,)}.get(name, ())
    try:
        value = np.asarray(calculator.get_property(name, atoms), dtype=float)
        value = to_voigt(value) if name == "stress" and value.shape == (3, 3) else value
    except Exception as problem:  # another calculator may fail in any way, which is a result
        if hasattr(calculator, "reset"):
            calculator.reset()  # or the next property may come from results that the failure left behind
        return reason(problem)[:200]
    if value.shape != shape:
        return f"{name} has shape {value.shape}, not {shape}"
    return value if np.isfinite(value).all() else "the prediction is not finite"
