"""What is particular to the KAN: its splines against SciPy, its learned knots, and inputs beyond them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from ru_calc.potentials.kan import DEGREE, KAN, KANLayer, KANSettings, spline_basis

UNIFORM = np.linspace(-4.0, 4.0, 12)
UNEVEN = np.array([-4.0, -3.7, -2.0, -1.9, -1.0, 0.3, 0.5, 1.5, 2.9, 3.0, 3.9, 4.5])


def layer(fan_in: int = 3, fan_out: int = 2, seed: int = 0) -> KANLayer:
    """Random knots and coefficients, float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = KANLayer(fan_in, fan_out, 5, 2.0).double()
        with torch.no_grad():
            made.shift.normal_(std=0.3)
            made.log_increments.normal_(std=0.5)
        return made


def ours(x: np.ndarray, knots: np.ndarray) -> list[torch.Tensor]:
    """(m, k) values, first and second derivatives of the basis."""
    at = torch.from_numpy(x).requires_grad_(True)
    value = spline_basis(at[:, None], torch.from_numpy(knots)[None])[:, 0]
    first, second = [], []
    for column in value.T:
        (slope,) = torch.autograd.grad(column.sum(), at, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), at, retain_graph=True)
        first.append(slope.detach())
        second.append(bend)
    return [value.detach(), torch.stack(first, dim=1), torch.stack(second, dim=1)]


def scipys(x: np.ndarray, knots: np.ndarray) -> list[np.ndarray]:
    """The same from SciPy, zero beyond the knots."""
    n = len(knots) - DEGREE - 1
    found = []
    for order in range(3):
        one = (BSpline.basis_element(knots[k : k + DEGREE + 2], extrapolate=False) for k in range(n))
        columns = [spline.derivative(order)(x) for spline in one]
        found.append(np.nan_to_num(np.stack(columns, axis=1)))
    return found


@pytest.mark.parametrize("knots", [UNIFORM, UNEVEN], ids=["uniform", "uneven"])
def test_splines_and_their_derivatives_are_scipys(knots: np.ndarray) -> None:
    # At a knot the one-sided third derivatives differ, lower ones do not.
    x = np.concatenate([np.linspace(-5, 5, 101), knots, np.nextafter(knots[-1:], -9), np.nextafter(knots[:1], 9)])
    for found, expected in zip(ours(x, knots), scipys(x, knots), strict=True):
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-11)
    bent = knots.copy()
    bent[5] += 1e-3
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(ours(x, bent)[0].numpy(), scipys(x, knots)[0], rtol=0, atol=1e-5)


def test_splines_sum_to_one_on_the_grid() -> None:
    x = torch.linspace(UNEVEN[DEGREE], UNEVEN[-DEGREE - 1], 50, dtype=torch.float64)
    total = spline_basis(x[:, None], torch.from_numpy(UNEVEN)[None]).sum(dim=2)
    np.testing.assert_allclose(total.numpy(), 1.0, rtol=1e-13)


def test_a_layer_is_the_sum_over_its_edges() -> None:
    made = layer()
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(9, 3)))
    knots, coefficients, base = (t.detach().numpy() for t in (made.knots(), made.coefficients, made.base))
    expected = np.zeros((9, 2))
    for o, i in np.ndindex(2, 3):
        one = x[:, i].numpy()
        spline = scipys(one, knots[i])[0] @ coefficients[o, i]
        expected[:, o] += base[o, i] * one / (1 + np.exp(-one)) + spline
    np.testing.assert_allclose(made(x).detach().numpy(), expected, rtol=1e-11)


def test_knots_start_evenly_over_the_grid_and_stay_sorted_whatever_is_learned() -> None:
    fresh = KANLayer(2, 1, 8, 3.0)
    np.testing.assert_allclose(
        fresh.knots()[:, DEGREE:-DEGREE].detach().numpy(), np.linspace([-3, -3], [3, 3], 9).T, atol=1e-5
    )
    with torch.no_grad():
        fresh.log_increments.normal_(std=3.0)
        fresh.shift.normal_(std=5.0)
    assert (fresh.knots().diff(dim=1) > 0).all()


def test_knots_have_the_right_gradients() -> None:
    made = layer()
    x = torch.from_numpy(np.random.default_rng(2).normal(size=(4, 3))).requires_grad_(True)

    def output(x, shift, log_increments):
        return torch.func.functional_call(made, {"shift": shift, "log_increments": log_increments}, (x,))

    inputs = (x, made.shift, made.log_increments)
    assert torch.autograd.gradcheck(output, inputs)
    assert torch.autograd.gradgradcheck(output, inputs)


def test_beyond_the_knots_only_silu_is_left() -> None:
    made = layer()
    x = torch.tensor([[50.0, 60.0, 70.0], [-50.0, -60.0, -70.0]], dtype=torch.float64)
    expected = torch.nn.functional.silu(x) @ made.base.T
    np.testing.assert_allclose(made(x).detach().numpy(), expected.detach().numpy(), rtol=0, atol=1e-14)


def test_the_network_has_the_widths_of_the_settings() -> None:
    model = KAN(KANSettings(hidden=(7, 5), radial_shells=4, angular_shells=3, angles=2, intervals=6))
    layers = [part for part in model.energy if isinstance(part, KANLayer)]
    assert [part.coefficients.shape for part in layers] == [(7, 10, 9), (5, 7, 9), (1, 5, 9)]
