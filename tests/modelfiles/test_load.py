"""Potentials in model files: a written model comes back, and a wrong file is refused."""

import numpy as np
import pytest
import torch
from conftest import rewritten, small_model

from ru_calc.errors import ModelError, OutputError
from ru_calc.modelfiles import load_model, model_names
from ru_calc.modelfiles.golden import golden_values
from ru_calc.modelfiles.load import save_model
from ru_calc.potentials.derivatives import Reference


def test_a_model_comes_back_with_its_weights_and_header(model_file):
    stored, original = load_model(model_file), small_model()
    assert stored.header["seed"] == 7 and stored.header["family"] == "schnet" and stored.header["cutoff_A"] == 5.0
    for name, value in original.float().double().state_dict().items():
        assert torch.equal(stored.potential.state_dict()[name], value)
    for name, found in golden_values(Reference(stored.potential)).items():
        np.testing.assert_allclose(found, stored.header[name], atol=1e-12)


def test_two_loads_are_independent_modules(model_file):
    one, two = load_model(model_file).potential, load_model(model_file).potential
    next(one.parameters()).data.add_(1.0)
    assert not torch.equal(next(one.parameters()), next(two.parameters()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, weights: weights["energy.2.weight"].mul_(1.001), "golden energies differ"),
        (lambda header, weights: header["hyperparameters"].update(channels=8), "do not fit"),
    ],
)
def test_a_changed_weight_or_one_that_does_not_fit_the_header_is_refused(model_file, change, message):
    with pytest.raises(ModelError, match=message):
        load_model(rewritten(model_file, change))


def test_nothing_is_left_behind_where_a_model_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        save_model(tmp_path / "nowhere" / "m.safetensors", small_model(), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", model_names())
def test_every_shipped_model_reproduces_its_golden_energies_and_has_a_card(name):
    """Loading compares the energies."""
    stored = load_model(name)
    card = stored.path.with_suffix(".md").read_text()
    for word in ("Licence", "Data", "Command", "Seed", "not to trust"):
        assert word in card, f"the card of {name} lacks {word!r}"
