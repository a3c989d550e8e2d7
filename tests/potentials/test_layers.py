"""Smooth functions, spherical harmonics and their couplings, against SciPy and against what they must fulfil."""

import numpy as np
import pytest
import torch

from ru_calc.potentials.layers import GaussianBasis, Standardizer, ZBLCore
from ru_calc.tables.harmonics import legendre_harmonics, triple_couplings
from ru_calc.tables.smooth import SphericalHarmonics, envelope, smooth_step


def directions(n: int = 7) -> torch.Tensor:
    vectors = np.random.default_rng(0).normal(size=(n, 3))
    vectors[0] = [0, 0, 1]
    return torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_spherical_harmonics_are_scipys_real_combinations():
    ours = SphericalHarmonics(4)(directions()).numpy()
    theirs = legendre_harmonics(directions().numpy(), 4)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(ours[:, ::-1], theirs, atol=1e-12)


def test_couplings_are_invariant_under_rotation():
    rotation = torch.linalg.qr(torch.from_numpy(np.random.default_rng(1).normal(size=(3, 3))))[0]
    harmonics = SphericalHarmonics(3)
    before = harmonics(directions()).sum(0).numpy()
    after = harmonics(directions() @ rotation).sum(0).numpy()
    for degrees, rows in triple_couplings(3):
        index = rows[:, :3].astype(int).T
        scalars = [(v[index[0]] * v[index[1]] * v[index[2]] * rows[:, 3]).sum() for v in (before, after)]
        assert abs(scalars[0]) > 1e-3, degrees
        np.testing.assert_allclose(*scalars, rtol=1e-10)
        broken = rows[:, 3] * np.where(np.arange(len(rows)) == 0, -1, 1)
        odd = [(v[index[0]] * v[index[1]] * v[index[2]] * broken).sum() for v in (before, after)]
        assert abs(odd[0] - odd[1]) > 1e-6


def test_couplings_list_every_even_triangle_once():
    assert [degrees for degrees, _ in triple_couplings(3)] == [(1, 1, 2), (1, 2, 3), (2, 2, 2), (2, 3, 3)]


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_smooth_step_has_no_slope_and_no_curvature_at_its_ends(end):
    u = torch.tensor([end], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(smooth_step(u).sum(), u, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), u)
    assert float(smooth_step(u).detach()) == pytest.approx(1 - end, abs=1e-14)
    assert abs(float(slope.detach())) < 1e-13 and abs(float(curvature)) < 1e-12


def test_envelope_is_one_before_the_switch_and_zero_at_the_cutoff():
    values = envelope(torch.tensor([0.5, 3.79, 4.4, 5.0, 7.0]), 5.0, 1.2)
    assert values[0] == values[1] == 1 and values[3] == values[4] == 0 and 0.2 < values[2] < 0.8


def test_gaussians_are_one_at_their_centre():
    basis = GaussianBasis(5, 1.0, 5.0)
    np.testing.assert_allclose(basis(torch.from_numpy(basis.centers.values)).diagonal().numpy(), 1.0)


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


def test_a_standardizer_brings_columns_to_mean_0_and_spread_1_and_silences_flat_ones():
    values = torch.from_numpy(np.random.default_rng(0).normal([3.0, -1.0, 7.0], [2.0, 0.1, 0.0], (500, 3)))
    standardizer = Standardizer(3).double()
    standardizer.adopt(values)
    found = standardizer(values)
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(found.std(dim=0), torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
