"""What compiled passes read of the pairs: splines under the envelope, harmonics, and refusals of what does not fit."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from ru_calc import kernels
from ru_calc.kernels.geometry import ORDERS, SPLINES, PairGeometry, Sphere, pair_harmonics, pair_weights
from ru_calc.tables.angular import spherical_harmonics
from ru_calc.tables.splines import RadialGrid, spline_values

KERNELS = list(kernels.available())
DTYPES = [torch.float64, torch.float32]
NEAR = {torch.float64: 1e-12, torch.float32: 1e-5}  # of the largest number
GRID = RadialGrid(cutoff_A=3.3, switch_A=0.9, intervals=6)
REFUSALS = (RuntimeError, TypeError, ValueError, BufferError, OverflowError)


@pytest.fixture(params=KERNELS, autouse=True)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = kernels.available()[request.param]
    monkeypatch.setattr(kernels, "fastest", lambda: module)
    return module


@pytest.fixture(params=DTYPES, ids=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def pair_vectors(pairs: int) -> np.ndarray:
    """(p, 3) of all lengths up to beyond the cutoff, some along axes."""
    vectors = np.random.default_rng(3).normal(size=(pairs, 3))
    vectors[:3] = np.eye(3)[:pairs]
    vectors[3:4] = [0, 0, -1]
    lengths = np.random.default_rng(4).permutation(np.linspace(0.4, 1.2 * GRID.cutoff_A, pairs))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * lengths[:, None]


def assert_near(found: Tensor, expected: Any, dtype: torch.dtype) -> None:
    found, expected = found.double().numpy(), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0.0) <= NEAR[dtype] * max(np.abs(expected).max(initial=0.0), 1.0)


def test_weights_are_splines_under_the_envelope(dtype: torch.dtype) -> None:
    step, cutoff = GRID.cutoff_A / GRID.intervals, GRID.cutoff_A
    r = np.concatenate([np.linspace(0.05, 1.2 * cutoff, 60), step * np.arange(1, 7), [cutoff - 0.9, cutoff - 0.45]])
    vectors = torch.from_numpy(r[:, None] * np.array([0.36, -0.48, 0.8])).to(dtype)
    interval, weights, units = pair_weights(vectors, GRID)
    r = np.linalg.norm(vectors.double().numpy(), axis=1)
    u = np.clip((r - cutoff + GRID.switch_A) / GRID.switch_A, 0, 1)
    fade = [Polynomial([1, 0, 0, -10, 15, -6]).deriv(d)(u)[:, None] / GRID.switch_A**d for d in range(ORDERS)]
    fade[1:] = [np.where((u > 0)[:, None] & (u < 1)[:, None], part, 0.0) for part in fade[1:]]
    b = [spline_values(np.eye(GRID.rows), cutoff, r, d) for d in range(ORDERS)]
    product = fade[0] * b[0], fade[1] * b[0] + fade[0] * b[1], fade[2] * b[0] + 2 * fade[1] * b[1] + fade[0] * b[2]
    places = interval[:, None] + torch.arange(SPLINES)
    assert interval.dtype == torch.int64 and interval.min() == 0 and interval.max() == GRID.intervals - 1
    assert (interval.numpy()[r > cutoff] == GRID.intervals - 1).all()
    for order, expected in enumerate(product):
        dense = weights.new_zeros(len(r), GRID.rows).scatter(1, places, weights[:, order])
        assert_near(dense, np.where(r[:, None] < cutoff, expected, 0.0), dtype)
    assert_near(units, vectors.double().numpy() / r[:, None], dtype)


@pytest.mark.parametrize("l_max", range(5))
def test_harmonics_and_their_slopes(dtype: torch.dtype, l_max: int) -> None:
    vectors = torch.from_numpy(pair_vectors(23)).to(dtype)
    y, dy = pair_harmonics(vectors, l_max)
    x = vectors.double()

    def summed(v: Tensor) -> Tensor:
        return spherical_harmonics(v / v.square().sum(dim=1, keepdim=True).sqrt(), l_max).sum(dim=0)

    assert_near(y, spherical_harmonics(x / x.norm(dim=1, keepdim=True), l_max), dtype)
    assert_near(dy, torch.autograd.functional.jacobian(summed, x).permute(1, 2, 0), dtype)
    assert_near(pair_harmonics(-vectors, l_max)[0], (y * Sphere.of(vectors, l_max).parity).double(), dtype)


def geometry() -> PairGeometry:
    atoms = np.random.default_rng(5).integers(0, 5, size=(2, 23))
    return PairGeometry.of(7, *torch.from_numpy(atoms), torch.from_numpy(pair_vectors(23)), GRID)


def test_weights_and_harmonics_refuse_what_does_not_fit(kernel: ModuleType) -> None:
    g = geometry()
    for call in (
        lambda: pair_harmonics(g.vectors, -1),
        lambda: kernel.pair_harmonics(64, 2**16 - 1, np.zeros(0), *3 * [np.zeros(0)]),
        lambda: pair_weights(g.vectors, RadialGrid(3.3, 0.9, 0)),
        lambda: pair_weights(g.vectors.half(), GRID),
    ):
        with pytest.raises(REFUSALS):
            call()


def test_a_missing_argument_is_refused(kernel: ModuleType) -> None:
    n = 3
    arguments = [64, 3.3, 0.9, 6, np.ones((n, 3)), np.zeros(n, np.int64), np.zeros((n, 3, 6)), np.zeros((n, 3))]
    kernel.pair_weights(*arguments)
    for count in range(len(arguments)):
        with pytest.raises(RuntimeError, match="an argument is missing"):
            kernel.pair_weights(*arguments[:count])
