"""A network that was trained from tables is deployed with the same tables: no error lies between the two."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from checks import frames, small_potential
from parity import KERNELS, TRAINED, check_parity, device_engine, engine, model, settings, weights

from ru_calc.potentials.derivatives import Reference
from ru_calc.potentials.schnet import SchNet
from ru_calc.tables.packing import Packing
from ru_calc.tables.splines import spline_error

COARSE, FRAMES = 16, frames()
COMPILED = pytest.mark.skipif(not KERNELS, reason="there is no compiled module")


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


@pytest.mark.parametrize("name", TRAINED)
def test_the_engine_holds_the_tables_of_training(name: str) -> None:
    packing = Packing(settings(name), weights(name))
    assert packing.intervals == COARSE
    arrays, expected = packing.arrays(packing.intervals), tables(model(name))
    assert set(expected) == set(packing.functions)
    for part, table in expected.items():
        assert arrays[part].shape[0] == len(table) == COARSE + 5
        found, size = arrays[part][:, : table.shape[1]], np.abs(table).max()
        assert size > 0.01
        np.testing.assert_allclose(found, table, rtol=0, atol=1e-14 * max(size, 1.0), err_msg=part)


def test_so_coarse_a_table_is_not_the_network() -> None:
    """Or the tests here would say nothing."""
    packing = Packing(settings("trained"), weights("trained"))
    for name, function in packing.functions.items():
        table = packing.arrays(COARSE)[name][:, : function(np.ones(1)).shape[1]]
        assert spline_error(function, table, packing.cutoff_A)[0] > 1e-5


@pytest.mark.parametrize("kernel", [*KERNELS, "on a device"])
@pytest.mark.parametrize("name", TRAINED)
def test_the_engines_are_the_reference(name: str, kernel: str) -> None:
    made = device_engine(name) if kernel == "on a device" else engine(name, kernel=kernel)
    check_parity(made.predict, name, "float64", FRAMES)


@pytest.mark.parametrize("make", [pytest.param(engine, marks=COMPILED), device_engine])
def test_nobody_gives_it_other_tables(make: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    finer = make("trained", intervals=512)
    assert finer.intervals == COARSE
    check_parity(finer.predict, "trained", "float64", FRAMES)
    monkeypatch.setattr("parity.settings", lambda name: {**settings(name), "spline_intervals": 0})
    free = make("trained", intervals=512)
    assert free.intervals == 512
    with pytest.raises(AssertionError, match="not within"):
        check_parity(free.predict, "trained", "float64", FRAMES)


@pytest.mark.parametrize("shape", [{}, TRAINED["trained, no angles, three blocks, no norm"]])
def test_tables_converge_to_the_networks_with_the_sixth_order(shape: dict) -> None:
    """Of their spacing: at each halving the error of the energies falls some 64 times."""
    atoms = [FRAMES["hcp"], FRAMES["dimer"], FRAMES["cluster"]]
    exact, *found = (
        Reference(small_potential(**{**shape, "spline_intervals": n})).predict(atoms, None, ("energies",)).energies
        for n in (0, 32, 64, 128)
    )
    errors = [np.abs(energies - exact).max() for energies in found]
    assert 1e-3 > errors[0] > 30 * errors[1] > 900 * errors[2] > 0.0
