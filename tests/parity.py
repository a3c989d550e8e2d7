"""The engine held against the reference: models, structures, and the check that tests of the engine share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from checks import assert_same, frames, rattled, small_potential

from ru_calc import kernels
from ru_calc.engine.device import DeviceEngine
from ru_calc.engine.engine import BOUNDS, Engine
from ru_calc.modelfiles import load_model
from ru_calc.potentials import Potential
from ru_calc.potentials.derivatives import Reference
from ru_calc.predictor import Prediction
from ru_calc.tables.packing import Packing
from ru_calc.tables.splines import refine

KERNELS = list(kernels.available())
FINEST = (1e-13, 5e-12)  # bounds of tables that are as good as float64 itself
SHIPPED = ("default", "plain")
MODELS: dict[str, dict] = {
    "angular": dict(),
    "angular, three blocks": dict(blocks=3, readout=(8, 6)),
    "angular, one block, linear": dict(blocks=1, readout=(), triple=0),
    "angular, no norm": dict(layer_norm=False, l_max=2),
    "angular, no blocks": dict(blocks=0),
    "angular, lowest degree": dict(l_max=1),  # without couplings
    "no angles": dict(angular=False),
    "no angles, three blocks, no norm": dict(angular=False, blocks=3, layer_norm=False, readout=(8, 6)),
    "no angles, one block, linear": dict(angular=False, blocks=1, readout=()),
    "no angles, no blocks": dict(angular=False, blocks=0),
    "odd widths": dict(
        channels=20, n_radial=9, filter_hidden=7, angular_radial=5, l_max=3, triple=2, readout=(5, 3), cutoff_A=4.7,
        switch_A=0.9,
    ),
    "splines": dict(spline_intervals=32),
    "splines, no angles, three blocks": dict(spline_intervals=40, angular=False, blocks=3, readout=(8, 6)),
    "wide": dict(channels=150, angular_radial=18, triple=17, l_max=5, blocks=1, readout=(40,)),
}  # fmt: skip

# Trained from tables far too coarse for anything.
TRAINED: dict[str, dict] = {
    "trained": dict(spline_intervals=16),
    "trained, no norm": dict(spline_intervals=16, layer_norm=False, l_max=2, triple=0),
    "trained, no angles": dict(spline_intervals=16, angular=False),
    "trained, no angles, three blocks, no norm": dict(
        spline_intervals=16, angular=False, blocks=3, layer_norm=False, readout=(8, 6)
    ),
    "trained, odd widths": dict(
        spline_intervals=16, channels=21, n_radial=9, filter_hidden=7, angular_radial=5, cutoff_A=4.7, switch_A=0.9
    ),
}


def structures() -> dict[str, Atoms]:
    """One of each kind of boundary, size and shape, and one with more neighbours than the passes take at once."""
    sheared = bulk("Ru", "fcc", a=3.8, cubic=True)
    sheared.set_cell(sheared.cell.array @ (np.eye(3) + [[0, 0.6, 0], [0, 0, 0.4], [0.2, 0, 0]]), scale_atoms=True)
    return {
        **frames(),
        "perfect hcp": bulk("Ru", "hcp", a=2.72, c=4.29),
        "sheared": rattled(sheared),
        "small cell of one atom": Atoms("Ru", cell=[[2.5, 0, 0], [0.4, 2.6, 0], [0.1, -0.3, 2.4]], pbc=True),
        "600 neighbours": bulk("Ru", "fcc", a=1.5),
        "1000 atoms": rattled(bulk("Ru", "hcp", a=2.72, c=4.29) * (10, 10, 5)),
    }


@cache
def dimers(cutoff_A: float) -> dict[str, Atoms]:
    """Two atoms from within the ZBL core to beyond the cutoff, also at either side of where a formula changes."""
    ends = np.array([1.0, 1.8, cutoff_A - 1.2, cutoff_A])
    distances = np.concatenate([np.arange(0.9, 1.9, 0.05), np.arange(1.95, 5.2, 0.13), ends - 1e-7, ends, ends + 1e-7])
    return {f"dimer of {r:.7f} Å": Atoms("Ru2", [[0.3, -0.2, 0.1], [0.3, -0.2, 0.1 + r]]) for r in distances}


STRUCTURES = structures()
SMALL = {label: atoms for label, atoms in STRUCTURES.items() if len(atoms) < 100}


@cache
def model(name: str) -> Potential:
    """A shipped model, or a random one of MODELS or TRAINED, in which no scale is 1 and no offset 0."""
    if name in SHIPPED:
        return load_model(name).potential
    made, noise = small_potential(**(MODELS | TRAINED)[name]), torch.Generator().manual_seed(1)
    for part, parameter in made.named_parameters():
        if ".norm." in part:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=noise, dtype=parameter.dtype)
    return made


def settings(name: str) -> dict:
    return model(name).hyperparameters()


def weights(name: str) -> dict[str, np.ndarray]:
    return {part: value.numpy().copy() for part, value in model(name).state_dict().items()}


@cache
def intervals(name: str, bound: tuple[float, float]) -> int:
    """Of tables within a bound."""
    packing = Packing(settings(name), weights(name))
    if packing.intervals:
        return packing.intervals
    return refine(list(packing.functions.values()), packing.cutoff_A, bound)


def engine(name: str, dtype: str = "float64", kernel: str = "", threads: int = 1, **changes: object) -> Engine:
    """A new engine of a model, with its own tables; `changes` are further arguments of it."""
    chosen = kernels.available()[kernel] if kernel else None
    if "intervals" not in changes:
        changes["intervals"] = intervals(name, BOUNDS[dtype])
    return Engine(settings(name), weights(name), dtype, threads, kernel=chosen, **changes)


def device_engine(name: str, dtype: str = "float64", device: str = "cpu", **changes: object) -> DeviceEngine:
    """The same in torch, on a device."""
    if "intervals" not in changes:
        changes["intervals"] = intervals(name, BOUNDS[dtype])
    return DeviceEngine(settings(name), weights(name), dtype, device, **changes)


def nudge(rows: np.ndarray) -> np.ndarray:
    """A table with one entry changed by a thousandth."""
    rows[len(rows) // 2, 1] += 1e-3
    return rows


def break_arrays(patch: pytest.MonkeyPatch, key: str, change: Callable) -> None:
    """Changes one array on its way to the model of an engine."""

    class Broken(Packing):
        def arrays(self, intervals: int) -> dict:
            arrays = super().arrays(intervals)
            return {**arrays, key: change(arrays[key])}

    patch.setattr("ru_calc.engine.engine.Packing", Broken)


@cache
def truth(name: str, label: str) -> Prediction:
    """What the reference gives in float64 for a structure or dimer."""
    return Reference(model(name)).predict((STRUCTURES | dimers(model(name).cutoff_A))[label])


def check_parity(
    predict: Callable[[Atoms], Prediction], name: str, row: str, chosen: Mapping[str, Atoms] | None = None
) -> None:
    """`predict` gives what the reference gives for a model, for every structure and dimer or those that are chosen."""
    for label, atoms in (STRUCTURES | dimers(model(name).cutoff_A) if chosen is None else chosen).items():
        assert_same(predict(atoms), truth(name, label), row, f"of {label}")
