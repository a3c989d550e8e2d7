"""A network that was trained from tables is deployed with the same tables: no error lies between the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from checks import frames, small_potential
from parity import KERNELS, assert_near

from ru_calc import kernels
from ru_calc.engine.device import DeviceEngine
from ru_calc.engine.engine import Engine
from ru_calc.potentials.derivatives import Reference
from ru_calc.potentials.schnet import SchNet
from ru_calc.predictor import Prediction
from ru_calc.tables.packing import Packing
from ru_calc.tables.splines import spline_error

COARSE = 16
SHAPES: dict[str, dict[str, Any]] = {
    "angular": dict(),
    "angular, no norm": dict(layer_norm=False, l_max=2, triple=0),
    "no angles": dict(angular=False),
    "no angles, three blocks, no norm": dict(angular=False, blocks=3, layer_norm=False, readout=(8, 6)),
    "odd widths": dict(channels=21, n_radial=9, filter_hidden=7, angular_radial=5, cutoff_A=4.7, switch_A=0.9),
}
FRAMES = frames()
COMPILED = pytest.mark.skipif(not KERNELS, reason="there is no compiled module")


@cache
def trained(shape: str, intervals: int = COARSE) -> SchNet:
    made = small_potential(**SHAPES[shape], spline_intervals=intervals)
    assert isinstance(made, SchNet)
    return made


@cache
def truth(shape: str) -> dict[str, Prediction]:
    reference = Reference(trained(shape))
    return {name: reference.predict([atoms]) for name, atoms in FRAMES.items()}


def packed(shape: str) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
    model = trained(shape)
    return model.hyperparameters(), {name: value.numpy() for name, value in model.state_dict().items()}


def tables(model: SchNet) -> dict[str, np.ndarray]:
    """What training reads, by the names that the engine has for it."""
    like, found = torch.zeros(0, dtype=torch.float64), {}
    with torch.no_grad():
        for k, block in enumerate(model.blocks):
            found[f"filter_{k}"] = model.radial.table(block.filter, like)
        if model.settings.angular:
            found["angular_table"] = model.radial.table(model.embedding.radial, like)
        else:
            # Every atom starts alike: what the first dense layer makes of the filters is a table too.
            first = model.blocks[0]
            weight = first.dense1.weight
            weight = weight - weight.mean(dim=0) if model.settings.layer_norm else weight
            found["filter_0"] = found["filter_0"] * first.incoming(model.embedding.weight[0]) @ weight.T
    return {name: table.numpy() for name, table in found.items()}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_engine_holds_the_tables_of_training(shape: str) -> None:
    packing = Packing(*packed(shape))
    assert packing.intervals == COARSE
    arrays, expected = packing.arrays(packing.intervals), tables(trained(shape))
    assert set(expected) == set(packing.functions)
    for name, table in expected.items():
        assert arrays[name].shape[0] == len(table) == COARSE + 5
        found, size = arrays[name][:, : table.shape[1]], np.abs(table).max()
        assert size > 0.01
        np.testing.assert_allclose(found, table, rtol=0, atol=1e-14 * max(size, 1.0), err_msg=name)


def test_so_coarse_a_table_is_not_the_network() -> None:
    """Or the tests here would say nothing."""
    packing = Packing(*packed("angular"))
    for name, function in packing.functions.items():
        table = packing.arrays(COARSE)[name][:, : function(np.ones(1)).shape[1]]
        assert spline_error(function, table, packing.cutoff_A)[0] > 1e-5


def check(predict: Callable[[list[Atoms]], Prediction], shape: str, row: str = "float64") -> None:
    for name, atoms in FRAMES.items():
        assert_near(predict([atoms]), truth(shape)[name], row, f"of {name}")


@COMPILED
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_compiled_engine_is_the_reference(shape: str, kernel: str) -> None:
    check(Engine(*packed(shape), "float64", kernel=kernels.available()[kernel]).predict, shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_engine_on_a_device_is_the_reference(shape: str) -> None:
    check(DeviceEngine(*packed(shape), "float64", "cpu").predict, shape)


@COMPILED
@pytest.mark.parametrize("make", [Engine, lambda *model: DeviceEngine(*model[:3], "cpu", model[4])])
def test_nobody_gives_it_other_tables(make: Callable) -> None:
    finer = make(*packed("angular"), "float64", 1, 512)
    assert finer.intervals == COARSE
    check(finer.predict, "angular")
    settings, weights = packed("angular")
    free = {**settings, "spline_intervals": 0}
    assert make(free, weights, "float64", 1, 512).intervals == 512
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check(make(free, weights, "float64", 1, 512).predict, "angular")


@pytest.mark.parametrize("shape", ["angular", "no angles, three blocks, no norm"])
def test_tables_converge_to_the_networks_with_the_sixth_order(shape: str) -> None:
    """Of their spacing: at each halving the error of the energies falls some 64 times."""
    atoms = [FRAMES["hcp"], FRAMES["dimer"], FRAMES["cluster"]]
    exact = Reference(trained(shape, 0)).predict(atoms, None, ("energies",)).energies
    errors = [
        np.abs(Reference(trained(shape, n)).predict(atoms, None, ("energies",)).energies - exact).max()
        for n in (32, 64, 128)
    ]
    assert 1e-3 > errors[0] > 30 * errors[1] > 900 * errors[2] > 0.0
