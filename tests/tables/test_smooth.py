"""Envelope, splines and ZBL core in torch, against SciPy, autograd and the published formula."""

import numpy as np
import pytest
import torch

from ru_calc.tables.smooth import ZBLCore, envelope, smooth_step, smooth_step_slope, spline_slopes, splines
from ru_calc.tables.splines import DEGREE, spline_values


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_smooth_step_has_no_slope_and_no_curvature_at_its_ends(end):
    u = torch.tensor([end], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(smooth_step(u).sum(), u, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), u)
    assert float(smooth_step(u).detach()) == pytest.approx(1 - end, abs=1e-14)
    assert abs(float(slope.detach())) < 1e-13 and abs(float(curvature)) < 1e-12


def test_the_slope_of_the_smooth_step_is_its_derivative():
    u = torch.linspace(-0.5, 1.5, 41, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(smooth_step(u).sum(), u)
    torch.testing.assert_close(smooth_step_slope(u.detach()), slope, rtol=0, atol=1e-14)
    assert slope.min() < -1.8


@pytest.mark.parametrize(("of_t", "derivative"), [(splines, 0), (spline_slopes, 1)])
def test_splines_and_their_slopes_are_those_of_scipy(of_t, derivative):
    t = np.linspace(0.0, 0.999, 13)
    expected = spline_values(np.eye(1 + DEGREE), 1.0, t, derivative)
    found = torch.stack(of_t(torch.from_numpy(t)), dim=1).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(found[:, ::-1], expected, atol=1e-3)


def test_envelope_is_one_before_the_switch_and_zero_at_the_cutoff():
    values = envelope(torch.tensor([0.5, 3.79, 4.4, 5.0, 7.0]), 5.0, 1.2)
    assert values[0] == values[1] == 1 and values[3] == values[4] == 0 and 0.2 < values[2] < 0.8


def test_zbl_core_is_the_published_formula_at_short_range_and_nothing_beyond():
    core = ZBLCore(1.0, 1.8)
    # Ziegler, Biersack, Littmark (1985) for Z = 44 at 0.5 Å, evaluated term by term.
    a = 0.8854 * 0.529177210903 / (2 * 44**0.23)
    x = 0.5 / a
    phi = 0.18175 * np.exp(-3.1998 * x) + 0.50986 * np.exp(-0.94229 * x)
    phi += 0.28022 * np.exp(-0.4029 * x) + 0.02817 * np.exp(-0.20162 * x)
    values = core(torch.tensor([0.5, 1.8, 2.5], dtype=torch.float64)).numpy()
    assert values[0] == pytest.approx(44**2 * 14.399645478 / 0.5 * phi, rel=1e-9)
    assert values[1] == values[2] == 0
