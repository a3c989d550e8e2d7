"""CalHousNet is a perceptron on standardised power spectra, no less and no more."""

import numpy as np
import pytest
from ase.build import bulk
from checks import evaluator, pairs_of, rattled, small_potential

from ru_calc.dataset import Dataset
from ru_calc.potentials.calhousnet import CalHousNetSettings


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def training_set() -> Dataset:
    return Dataset.from_atoms([rattled(bulk("Ru", "hcp", a=2.7, c=4.28) * (2, 2, 1), seed=k) for k in range(5)])


def test_energies_are_a_perceptron_of_standardised_descriptors():
    potential = small_potential("calhousnet", hidden=(6, 5), n_radial=4, l_max=2, core_outer_A=1.1)
    potential.prepare(training_set())
    atoms = rattled(bulk("Ru", "fcc", a=3.8, cubic=True))
    raw = potential.descriptors(pairs_of(atoms)).detach().numpy()
    seen = np.concatenate([potential.descriptors(pairs_of(training_set().atoms(k))).detach().numpy() for k in range(5)])
    x = np.vstack([raw, np.zeros_like(raw[:1])])
    x = (x - seen.mean(axis=0)) / seen.std(axis=0, ddof=1)
    weights = [parameter.detach().numpy() for parameter in potential.energy.parameters()]
    for k in range(0, len(weights), 2):
        x = (silu(x) if k else x) @ weights[k].T + weights[k + 1]
    expected = x[:-1, 0] - x[-1, 0]
    np.testing.assert_allclose(evaluator(potential)(atoms).energies, expected, atol=1e-7)
    potential.standardizer.mean[3] += 1e-2
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(evaluator(potential)(atoms).energies, expected, atol=1e-7)


def test_hidden_widths_may_come_from_a_file():
    assert CalHousNetSettings(hidden=[8, 4]) == CalHousNetSettings(hidden=(8, 4))
    potential = small_potential("calhousnet", hidden=[8, 4])
    assert [layer.out_features for layer in potential.energy[::2]] == [8, 4, 1]
