"""Gaussians of the distance, and standardisation."""

import numpy as np
import torch

from ru_calc.potentials.layers import GaussianBasis, Standardizer


def test_gaussians_are_one_at_their_centre():
    basis = GaussianBasis(5, 1.0, 5.0)
    np.testing.assert_allclose(basis(torch.from_numpy(basis.centers.values)).diagonal().numpy(), 1.0)


def test_a_standardizer_brings_columns_to_mean_0_and_spread_1_and_silences_flat_ones():
    values = torch.from_numpy(np.random.default_rng(0).normal([3.0, -1.0, 7.0], [2.0, 0.1, 0.0], (500, 3)))
    standardizer = Standardizer(3).double()
    standardizer.adopt(values)
    found = standardizer(values)
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(found.std(dim=0), torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
