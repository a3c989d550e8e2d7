"""From weights to arrays: what the tables hold, the widths, and the terms of the angular embedding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity import MODELS, model, settings, weights

from ru_calc.tables.harmonics import legendre_harmonics, triple_couplings
from ru_calc.tables.packing import PAD, Packing
from ru_calc.tables.splines import spline_values

DISTANCES = np.linspace(0.5, 4.9, 40)


def packing(name: str) -> Packing:
    return Packing(settings(name), weights(name))


@pytest.mark.parametrize("name", MODELS)
def test_arrays_are_plain_numbers_and_contiguous_float64(name: str) -> None:
    for key, value in packing(name).arrays(64).items():
        if isinstance(value, float):
            continue
        assert value.dtype == np.float64 and value.flags.c_contiguous, key
        assert np.isfinite(value).all(), key


@pytest.mark.parametrize("name", ["odd widths", "wide"])
def test_widths_are_filled_up_with_zeros(name: str) -> None:
    made = packing(name)
    arrays, channels, given = made.arrays(64), made.channels, MODELS[name]["channels"]
    assert channels % PAD == 0 and given < channels < given + PAD
    for key in ("filter_0", "source_1_in", "source_1_bias", "source_1_scale"):
        assert arrays[key].shape[-1] == channels
        assert not arrays[key][..., given:].any()
        assert arrays[key][..., :given].any()
    assert arrays["angular_table"].shape == (64 + 5, made.arrays(64)["angular_radial"])


def test_tables_hold_the_radial_functions_of_the_network() -> None:
    potential, made = model("angular"), packing("angular")
    gaussians = potential.radial.gaussians(torch.from_numpy(DISTANCES))
    with torch.no_grad():
        expected = {
            "angular_table": potential.embedding.radial(gaussians),
            "filter_0": potential.blocks[0].filter(gaussians),
            "filter_1": potential.blocks[1].filter(gaussians),
        }
    arrays = made.arrays(1024)
    assert set(expected) == set(made.functions)
    for name, values in expected.items():
        table = spline_values(arrays[name], made.cutoff_A, DISTANCES)[:, : values.shape[1]]
        np.testing.assert_allclose(table, values.numpy(), rtol=0, atol=1e-12)


def test_where_all_atoms_start_alike_the_first_dense_layer_is_in_the_first_table() -> None:
    name = "no angles, three blocks, no norm"
    potential, made = model(name), packing(name)
    block = potential.blocks[0]
    with torch.no_grad():
        filters = block.filter(potential.radial.gaussians(torch.from_numpy(DISTANCES)))
        expected = block.dense1(filters * block.incoming(potential.embedding.weight[0])) - block.dense1.bias
    arrays = made.arrays(1024)
    assert "source_0_in" not in arrays and "source_1_in" in arrays
    table = spline_values(arrays["filter_0"], made.cutoff_A, DISTANCES)[:, : expected.shape[1]]
    np.testing.assert_allclose(table, expected.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["angular", "angular, no norm", "wide"])
def test_triple_terms_sum_to_the_couplings(name: str) -> None:
    l_max, rng = settings(name)["l_max"], np.random.default_rng(0)
    once, twice = rng.normal(size=(2, (l_max + 1) ** 2))
    rows = packing(name).arrays(64)["triple_terms"]
    index = rows[:, :4].astype(int).T
    assert (index[2] <= index[3]).all() and len(np.unique(index, axis=1).T) == len(rows)
    found = np.bincount(index[0], once[index[1]] * twice[index[2]] * twice[index[3]] * rows[:, 4])
    for value, (_, terms) in zip(found, triple_couplings(l_max), strict=True):
        a, b, c = terms[:, :3].astype(int).T
        assert value == pytest.approx((once[a] * twice[b] * twice[c] * terms[:, 3]).sum(), abs=1e-12)


@pytest.mark.parametrize("name", ["angular", "wide"])
def test_raising_terms_climb_to_the_spherical_harmonics(name: str) -> None:
    l_max = settings(name)["l_max"]
    points = np.random.default_rng(0).normal(size=(20, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    cyclic = points[:, [1, 2, 0]]
    found = np.zeros((20, (l_max + 1) ** 2))
    found[:, 0], found[:, 1:4] = 1.0, 3**0.5 * cyclic
    for out, axis, into, weight in packing(name).arrays(64)["raising_terms"]:
        found[:, int(out)] += weight * cyclic[:, int(axis)] * found[:, int(into)]
    np.testing.assert_allclose(found, legendre_harmonics(points, l_max), rtol=0, atol=1e-12)
