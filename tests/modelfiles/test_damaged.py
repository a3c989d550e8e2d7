"""Damaged and hostile model files: one `ModelError`, at once, that names what is wrong; files of version 1."""

from __future__ import annotations

import json
import math
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import as_version_1, rewritten, small_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ru_calc.errors import ModelError
from ru_calc.modelfiles import load_model, open_model, upgrade_model
from ru_calc.modelfiles.load import save_model
from ru_calc.modelfiles.read import MOST_BYTES, read_header, read_model_file
from ru_calc.potentials import FAMILIES, build_potential
from ru_calc.potentials.schnet import SchNet, SchNetSettings
from ru_calc.tables.uncertainty import Uncertainty


def hyper(**changes: object) -> Callable[[dict, dict], None]:
    return lambda header, _: header["hyperparameters"].update(changes)


def without(*names: str) -> Callable[[dict, dict], None]:
    return lambda header, _: [header.pop(name) for name in names]


# The hash


@pytest.mark.parametrize(
    "change",
    [
        hyper(core_outer_A=0.8), hyper(atom_energy_eV=-2.0854), lambda header, _: header.update(licence="GPL"),
        lambda header, _: header.update(level_of_theory="LDA"), lambda header, _: header.update(new=1),
        without("seed"), without("sha256"),
        lambda _, weights: weights["energy.0.weight"][1].mul_(1 + 1e-7),
        lambda _, weights: weights.update({"energy.0.bias": weights["energy.0.bias"].double()}),
        lambda _, weights: weights.update({"energy.9.bias": torch.zeros(1)}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("read", [read_header, open_model])
def test_whatever_is_changed_in_header_or_weights_is_noticed(model_file: Path, change, read) -> None:
    read(model_file)
    with pytest.raises(ModelError, match=r"m.safetensors is damaged: .* hash .*; copy or fit it again"):
        read(rewritten(model_file, change, seal=False))


def test_every_bit_of_the_header_counts_or_changes_nothing(model_file: Path) -> None:
    """A bit of every third byte of the hyper-parameters."""
    whole, header = model_file.read_bytes(), read_header(model_file)
    start = whole.index(b"hyperparameters")
    for k in range(0, whole.index(b"}", start) - start, 3):
        damaged = bytearray(whole)
        damaged[start + k] ^= 1 << k % 8
        model_file.write_bytes(damaged)
        try:
            assert read_header(model_file) == header
        except ModelError:
            continue


def test_a_hash_tells_models_apart_and_not_their_files(model_file: Path, tmp_path: Path) -> None:
    stored = load_model(model_file)
    save_model(tmp_path / "copy.safetensors", stored.potential, dict(reversed(stored.header.items())))
    assert read_model_file(tmp_path / "copy.safetensors").sha256 == read_model_file(model_file).sha256
    save_model(tmp_path / "other.safetensors", small_model(seed=1), stored.header)
    assert read_model_file(tmp_path / "other.safetensors").sha256 != read_model_file(model_file).sha256


# Header fields, with the hash of what the file holds: as somebody would write it


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("hyperparameters"), "its header has no hyperparameters; copy or fit"),
        (without("golden_energies_eV"), "its header has no golden_energies_eV"),
        (without("golden_forces_eV_per_A"), "its header has no golden_forces_eV_per_A"),
        (without("conservative"), "its header has no conservative"),
        (without("family"), "its header has no family"),
        (without("units"), "its header has no units"),
        (without("version"), "has schema 'ru-calc/model' version 0"),
        (lambda header, _: header.update(version=True), "version True"),
        (lambda header, _: header.update(version="2"), "version '2'"),
        (lambda header, _: header.update(version=99), "version 99; .* upgrade ru-calc"),
        (lambda header, _: header.update(golden_energies_eV=[]), r"golden_energies_eV .* is \[\]; it must be 15 ent"),
        (lambda header, _: header["golden_energies_eV"].__setitem__(0, math.nan), "must be a list of numbers in eV"),
        (lambda header, _: header["golden_forces_eV_per_A"].__setitem__(0, [1, 2]), "must be a list of vectors in"),
        (lambda header, _: header["units"].update(length="nm"), "units of its header is .*nm.*must be .*Angstrom"),
        (lambda header, _: header.update(conservative="yes"), "conservative of its header is 'yes'; it must"),
        (lambda header, _: header.update(conservative=False), "conservative of its header is False; it must be true"),
        (lambda header, _: header.update(cutoff_A=5.1), "cutoff_A of its header is 5.1; it must be that of"),
        (lambda header, _: header.update(cutoff_A=None), "cutoff_A of its header is None; it must be a number in Å"),
        (lambda header, _: header.update(family="lstm"), "there is no family 'lstm'; choose one of ani,"),
        (lambda header, _: header.update(family=7), "family of its header is 7"),
        (lambda header, _: header.update(seed="x"), "seed of its header is 'x'; it must be a whole number"),
        (lambda header, _: header.update(metrics=[]), r"metrics of its header is \[\]; it must be an object"),
        (lambda header, _: header.update(uncertainty={}), "threshold_eV_per_A of its header is None; .* above 0"),
        (lambda header, _: header.update(hyperparameters=[1]), r"hyperparameters of its header is \[1\]"),
        (lambda header, _: header["hyperparameters"].pop("core_outer_A"), "'core_outer_A', which is missing"),
        (hyper(depth=3), "'depth', which the family schnet does not have"),
        (hyper(channels=None), "hyperparameters.channels of its header is None; it must be a whole number: copy"),
        (hyper(channels=16.0), "hyperparameters.channels of its header is 16.0; it must be a whole number"),
        (hyper(channels=10**9), "channels is 1000000000; it must be at most 1024"),
        (hyper(channels=10**400), "it must be at most 1024"),
        (hyper(blocks=10**6), "blocks is 1000000; it must be at most"),
        (hyper(readout=[10**9]), "it must be at most 1024"),
        (hyper(readout=[8] * 1000), "readout is 1000 widths; it must be at most"),
        (hyper(spline_intervals=10**9), "spline_intervals is 1000000000; it must be at most"),
        (hyper(l_max=40), "l_max is 40; it must be at most 12"),
        (hyper(angular="yes"), "hyperparameters.angular of its header is 'yes'; it must be true or false"),
        (hyper(cutoff_A=-1), "must lie between 0 and cutoff_A"),
        (hyper(cutoff_A=1e9), "cutoff_A is 1000000000.0; it must be at most 15"),
        (hyper(cutoff_A=math.inf), "cutoff_A is inf; it must be finite"),
        (hyper(switch_A=math.nan), "switch_A of its header is nan; it must be a number"),
        (hyper(core_outer_A=0.5), "core_inner_A is 1.0 and core_outer_A 0.5"),
        (hyper(atom_energy_eV=1e9), "atom_energy_eV is 1000000000.0; it must be at most"),
        (lambda _, weights: weights["energy.0.bias"].__setitem__(0, math.nan), "weight 'energy.0.bias' is not finite"),
        (lambda _, weights: weights["energy.0.bias"].__setitem__(0, -math.inf), "weight 'energy.0.bias' is not finite"),
        (lambda _, weights: weights.pop("energy.0.bias"), r"do not fit its header \('energy.0.bias' is missing\)"),
        (lambda _, weights: weights.update(more=torch.zeros(3)), r"do not fit its header \('more' is not part of it\)"),
        (lambda _, weights: weights.update({"energy.0.bias": torch.zeros(8, 1)}), r"the shape \(8, 1\) instead"),
        (lambda _, weights: weights.update({"energy.0.bias": torch.arange(8)}), "a weight is I64, not F32"),
        (lambda _, weights: weights.update({"energy.0.bias": torch.zeros(8).half()}), "a weight is F16, not F32"),
        (lambda _, weights: weights.update({Uncertainty.OFFSET: torch.zeros(4)}), "do not fit its .*uncertainty"),
    ],
)  # fmt: skip
def test_a_field_that_is_missing_or_absurd_is_named(model_file: Path, change, message: str) -> None:
    rewritten(model_file, change)
    for read in (read_header, open_model):
        with pytest.raises(ModelError, match=message) as refused:
            read(model_file)
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "schnet"])
def test_other_families_are_held_to_their_own_ranges_and_shapes(tmp_path: Path, family: str) -> None:
    path = tmp_path / "m.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(path, build_potential(family, {}).double().eval(), {})
    load_model(path)
    sizes = [name for name, value in read_header(path)["hyperparameters"].items() if type(value) is int]
    assert sizes
    for name in sizes:
        for value, message in ((10**9, f"{name} is 1000000000; it must be"), (None, f"hyperparameters.{name} of its")):
            before = path.read_bytes()
            with pytest.raises(ModelError, match=message):
                read_header(rewritten(path, hyper(**{name: value})))
            path.write_bytes(before)
    name = "n_radial" if "n_radial" in sizes else "angles"
    rewritten(path, hyper(**{name: read_header(path)["hyperparameters"][name] + 1}))
    with pytest.raises(ModelError, match="weights do not fit its header"):
        load_model(path)


@pytest.mark.parametrize(
    "changes", [{}, {"angular": False}, {"triple": 0, "layer_norm": False}, {"readout": (), "blocks": 0}]
)
def test_the_shapes_of_a_network_follow_from_its_hyperparameters(changes: dict) -> None:
    settings = SchNetSettings(**{"channels": 6, "blocks": 2, "l_max": 5, "layer_norm": True, **changes})
    potential = SchNet(settings)
    assert settings.shapes() == {name: tuple(value.shape) for name, value in potential.state_dict().items()}
    if settings.angular or settings.blocks:
        from checks import frames

        from ru_calc.fit.uncertainty import features
        from ru_calc.structures import Structures

        assert next(features(potential.double(), Structures.from_atoms(frames()["hcp"]))).shape[1] == settings.features


# The container


def stored(path: Path, header: bytes, body: bytes = b"", length: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + body)
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b"\x80\x04\x95" + b"c__builtin__\neval\n." * 20),
        lambda path: stored(path, b"{}", length=10**12),
        lambda path: stored(path, b"{}", length=2**64 - 1),
        lambda path: stored(path, b"{}", length=0),
        lambda path: stored(path, b"[" * 10**6),
        lambda path: stored(path, b'{"a":' * 10**5 + b"1" + b"}" * 10**5),
        lambda path: stored(path, json.dumps({"__metadata__": {"ru_calc": "[" * 10**5 + "]" * 10**5}}).encode()),
        lambda path: stored(path, json.dumps({"__metadata__": {"ru_calc": "9" * 10**5}}).encode()),
        lambda path: stored(path, json.dumps({"__metadata__": {"ru_calc": '"' + "x" * 5 * 10**6 + '"'}}).encode()),
        lambda path: stored(path, json.dumps({"__metadata__": {"ru_calc": "[1, 2]"}}).encode()),
        lambda path: stored(path, b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4]}}', b"0000"),
        lambda path: stored(path, b'{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}}'),
        lambda path: stored(path, b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}', b"0000"),
        lambda path: stored(path, b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}', b"0000"),
        lambda path: stored(path, b'{"a":{"dtype":"BOOL","shape":[4],"data_offsets":[0,4]}}', b"0000"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("read", [read_header, open_model])
def test_a_file_that_lies_about_its_size_or_is_none_at_all_is_refused(tmp_path: Path, make, read) -> None:
    path = tmp_path / "m.safetensors"
    make(path)
    with pytest.raises(ModelError, match=r"m.safetensors (is not a whole model file|has schema)") as refused:
        read(path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_a_huge_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with open(path, "wb") as file:
        file.truncate(1000 * MOST_BYTES)
    with pytest.raises(ModelError, match="it has 64000 MiB, a model at most 64"):
        read_header(path)


# Files of version 1


@pytest.fixture
def first_version(model_file: Path) -> Path:
    return rewritten(model_file, as_version_1, seal=False)


def test_a_file_of_version_1_is_read_with_a_warning(model_file: Path, tmp_path: Path) -> None:
    new = load_model(model_file)
    old_file = rewritten(Path(model_file.rename(tmp_path / "old.safetensors")), as_version_1, seal=False)
    with pytest.warns(UserWarning, match=r"version 1, without a hash.*upgrade_model\('.*old.safetensors'\) adds"):
        old = load_model(old_file)
    for name, value in new.potential.state_dict().items():
        assert torch.equal(old.potential.state_dict()[name], value)
    assert open_model(old_file, device="cpu").header["seed"] == 7


@pytest.mark.filterwarnings("ignore:.*model file of version 1")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _, weights: weights["energy.2.weight"].mul_(1.01), "golden energies differ"),
        (lambda header, _: header["golden_energies_eV"].pop(), r"golden_energies_eV .*it must be 5 entries long"),
        (hyper(channels=None), "hyperparameters.channels of its header is None"),
    ],
)
def test_what_can_be_checked_of_version_1_is_checked(first_version: Path, change, message: str) -> None:
    rewritten(first_version, change, seal=False)
    with pytest.raises(ModelError, match=message):
        open_model(first_version, device="cpu")


def test_an_upgraded_file_has_the_same_weights_to_the_last_bit_and_the_same_facts(tmp_path: Path) -> None:
    path, generator = tmp_path / "m.safetensors", np.random.default_rng(0)
    model = small_model()
    made = Uncertainty(generator.normal(size=(4, model.settings.features)).astype(np.float32), np.ones(4), 0.1, 1.5)
    save_model(path, model, {"seed": 7, "uncertainty": {"threshold_eV_per_A": 0.8}}, made)
    current = read_model_file(path)
    rewritten(path, as_version_1, seal=False)
    before = load_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        upgrade_model(path)
    after = load_file(path)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert value.dtype == after[name].dtype and torch.equal(value, after[name])
    assert read_model_file(path).sha256 == current.sha256
    with safe_open(str(path), "np") as file:
        assert json.loads(file.metadata()["ru_calc"])["version"] == 2


@pytest.mark.filterwarnings("ignore:.*model file of version 1")
def test_the_uncertainty_of_another_model_in_the_header_of_version_1_is_left_out(first_version: Path) -> None:
    rewritten(first_version, lambda header, _: header.update(uncertainty={"threshold_eV_per_A": 0.8}), seal=False)
    assert "uncertainty" not in read_header(first_version)


def test_a_model_without_an_uncertainty_does_not_inherit_that_of_the_header(tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", small_model(), {"uncertainty": {"threshold_eV_per_A": 0.8}})
    assert "uncertainty" not in read_header(tmp_path / "m.safetensors")
    save_file({"x": torch.zeros(1)}, str(tmp_path / "n.safetensors"))
