"""Spherical harmonics and their couplings, against SciPy and against what they must fulfil."""

import numpy as np
import pytest
import torch

from ru_calc.tables.angular import spherical_harmonics
from ru_calc.tables.harmonics import legendre_harmonics, triple_couplings


def directions(n: int = 7) -> torch.Tensor:
    vectors = np.random.default_rng(0).normal(size=(n, 3))
    vectors[0] = [0, 0, 1]
    return torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_spherical_harmonics_are_scipys_real_combinations():
    ours = spherical_harmonics(directions(), 4).numpy()
    theirs = legendre_harmonics(directions().numpy(), 4)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(ours[:, ::-1], theirs, atol=1e-12)


def test_couplings_are_invariant_under_rotation():
    rotation = torch.linalg.qr(torch.from_numpy(np.random.default_rng(1).normal(size=(3, 3))))[0]
    before = spherical_harmonics(directions(), 3).sum(0).numpy()
    after = spherical_harmonics(directions() @ rotation, 3).sum(0).numpy()
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
