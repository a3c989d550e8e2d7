"""Model files: what they keep, and what makes them refuse to load."""

import json

import numpy as np
import pytest
import torch
from conftest import small_model
from safetensors import safe_open
from safetensors.torch import save_file

from ru_calc.errors import ModelError, OutputError
from ru_calc.modelfile import model_names, model_path, read_header
from ru_calc.storage import golden_energies, load_model, save_model


@pytest.fixture
def model_file(tmp_path):
    save_model(tmp_path / "m.safetensors", small_model(), {"seed": 7, "licence": "MIT"})
    return tmp_path / "m.safetensors"


def rewritten(path, change):
    """The same file with `change(header, weights)` applied."""
    with safe_open(str(path), "pt") as file:
        header = json.loads(file.metadata()["ru_calc"])
        weights = {name: file.get_tensor(name) for name in file.keys()}
    change(header, weights)
    save_file(weights, str(path), metadata={"ru_calc": json.dumps(header)})
    return path


def test_a_model_comes_back_with_its_weights_and_header(model_file):
    stored, original = load_model(model_file), small_model()
    assert stored.header["seed"] == 7 and stored.header["family"] == "schnet" and stored.header["cutoff_A"] == 5.0
    for name, value in original.float().double().state_dict().items():
        assert torch.equal(stored.potential.state_dict()[name], value)
    np.testing.assert_allclose(golden_energies(stored.potential), stored.header["golden_energies_eV"], atol=1e-12)


def test_header_holds_no_pickle_and_says_units(model_file):
    assert read_header(model_file)["units"]["energy"] == "eV"
    assert b"pickle" not in model_file.read_bytes()


def test_two_loads_are_independent_modules(model_file):
    one, two = load_model(model_file).potential, load_model(model_file).potential
    next(one.parameters()).data.add_(1.0)
    assert not torch.equal(next(one.parameters()), next(two.parameters()))


def test_a_changed_weight_fails_the_golden_check(model_file):
    def change(_header, weights):
        weights["energy.2.weight"] *= 1.001

    with pytest.raises(ModelError, match="golden energies differ"):
        load_model(rewritten(model_file, change))


def test_weights_that_do_not_fit_the_header_are_refused(model_file):
    with pytest.raises(ModelError, match="do not fit"):
        load_model(rewritten(model_file, lambda header, _: header["hyperparameters"].update(channels=8)))


@pytest.mark.parametrize("content", [b"", b"no model at all", None])
def test_foreign_and_truncated_files_are_refused(model_file, content):
    data = model_file.read_bytes()
    model_file.write_bytes(data[: len(data) // 2] if content is None else content)
    with pytest.raises(ModelError, match="not a whole model file"):
        load_model(model_file)


def test_a_safetensors_file_of_something_else_is_refused(tmp_path):
    save_file({"x": torch.zeros(2)}, str(tmp_path / "x.safetensors"))
    with pytest.raises(ModelError, match="schema None"):
        load_model(tmp_path / "x.safetensors")


def test_the_shipped_files_are_listed_once_to_find_a_model(monkeypatch, model_file):
    asked = []
    monkeypatch.setattr("ru_calc.modelfile.shipped", lambda pattern: asked.append(pattern) or [model_file])
    assert model_path("m") == model_file and len(asked) == 1


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ModelError, match=", ".join(model_names())):
        load_model("no-such-model")


def test_nothing_is_left_behind_where_a_model_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        save_model(tmp_path / "nowhere" / "m.safetensors", small_model(), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", model_names())
def test_every_shipped_model_loads_and_has_a_card(name):
    stored = load_model(name)
    card = stored.path.with_suffix(".md").read_text()
    for word in ("Licence", "Data", "Command", "Seed", "not to trust"):
        assert word in card, f"the card of {name} lacks {word!r}"
