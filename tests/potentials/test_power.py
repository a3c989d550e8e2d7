"""The power spectrum against sums over angles, and what it must tell apart."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from checks import pairs_of
from scipy.special import eval_legendre

from ru_calc.potentials.power import PowerPotential, PowerSettings, PowerSpectrum


def spectra(atoms: Atoms, **changes) -> np.ndarray:
    return PowerPotential(PowerSettings(**changes)).descriptors(pairs_of(atoms)).detach().numpy()


def cluster() -> Atoms:
    """Seven atoms, some of them out of each other's reach, none closer than 2 Å."""
    positions = 2.6 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [2, 1, 0], [2, 2, 1]])
    return Atoms("Ru7", positions + np.random.default_rng(5).uniform(-0.2, 0.2, (7, 3)))


def sums_over_angles(atoms: Atoms, settings: PowerSettings) -> np.ndarray:
    """asinh of Σ_j R_n and √(2l + 1) Σ_jk R_n(r_j) R_n'(r_k) P_l(cos θ_jk), atom by atom, with every j and k."""
    centers = np.linspace(settings.core_inner_A, settings.cutoff_A, settings.n_radial)
    rows = []
    for i, center in enumerate(atoms.positions):
        vectors = np.delete(atoms.positions, i, axis=0) - center
        r = np.linalg.norm(vectors, axis=1)
        u = np.clip((r - settings.cutoff_A + settings.switch_A) / settings.switch_A, 0, 1)
        radial = np.exp(-0.5 * ((r[:, None] - centers) / (centers[1] - centers[0])) ** 2)
        radial *= (1 - 10 * u**3 + 15 * u**4 - 6 * u**5)[:, None]
        cosines = np.clip(vectors @ vectors.T / np.outer(r, r), -1, 1)
        row = list(radial.sum(axis=0))
        for degree in range(settings.l_max + 1):
            power = np.sqrt(2 * degree + 1) * radial.T @ eval_legendre(degree, cosines) @ radial
            row += list(power[np.triu_indices(settings.n_radial)])
        rows.append(np.arcsinh(row))
    return np.array(rows)


def test_power_spectra_are_sums_of_legendre_polynomials_of_the_angles():
    settings = PowerSettings(n_radial=5, l_max=4)
    found, expected = spectra(cluster(), n_radial=5, l_max=4), sums_over_angles(cluster(), settings)
    assert found.shape == (7, 5 + 15 * 5)
    np.testing.assert_allclose(found, expected, atol=1e-11)
    broken = PowerPotential(settings)
    broken.power.by_degree.values[2] *= 1.001
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(broken.descriptors(pairs_of(cluster())).detach(), expected, atol=1e-11)


def test_angles_tell_fcc_from_hcp_where_distances_do_not():
    bond = 2.7
    fcc = bulk("Ru", "fcc", a=bond * 2**0.5)
    hcp = bulk("Ru", "hcp", a=bond, c=bond * (8 / 3) ** 0.5)
    first_shell = {"cutoff_A": 1.2 * bond, "switch_A": 0.1 * bond}

    def gap(l_max: int) -> float:
        one, other = (spectra(atoms, l_max=l_max, **first_shell)[0] for atoms in (fcc, hcp))
        return float(np.abs(one - other).max())

    # Twelve neighbours each; only hcp lacks inversion, hence l = 3.
    assert gap(l_max=2) < 1e-9
    assert gap(l_max=3) > 0.1


def test_second_derivatives_are_finite_in_straight_chains_and_for_a_lone_atom():
    chain = Atoms("Ru4", [[0, 0, 0], [2.5, 0, 0], [5.0, 0, 0], [50.0, 0, 0]])
    pairs = pairs_of(chain)
    values = PowerPotential(PowerSettings()).descriptors(pairs)
    assert float(values[3].detach().abs().max()) == 0.0
    (slope,) = torch.autograd.grad(values.sum(), pairs.vectors, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.square().sum(), pairs.vectors)
    assert torch.isfinite(curvature).all() and float(curvature.abs().max()) > 0


def test_pairs_may_be_absent_altogether():
    lone = pairs_of(Atoms("Ru2", [[0, 0, 0], [9.0, 0, 0]]))
    assert PowerSpectrum(3, 2)(lone, torch.zeros(0, 3, dtype=torch.float64)).shape == (2, 3 + 6 * 3)
