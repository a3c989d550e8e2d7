"""Model files, read without torch: names, headers, weights, golden energies, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import rewritten, small_model
from safetensors.torch import save_file

from ru_calc.errors import ModelError
from ru_calc.modelfiles import load_model, model_names, model_path, open_model
from ru_calc.modelfiles.golden import TOLERANCE, golden_structures
from ru_calc.modelfiles.load import save_model
from ru_calc.modelfiles.read import find_model, read_header, read_model_file
from ru_calc.potentials.derivatives import Reference
from ru_calc.potentials.schnet import SchNetSettings
from ru_calc.predictor import Prediction
from ru_calc.structures import Structures


def test_a_file_says_what_it_is_and_holds_its_weights(model_file: Path) -> None:
    file = read_model_file(model_file)
    assert file.path == model_file and file.name == str(model_file)
    assert file.header["seed"] == 7 and file.header["family"] == "schnet" and file.header["cutoff_A"] == 5.0
    expected = small_model().float().state_dict()
    assert file.weights.keys() == expected.keys()
    for name, value in expected.items():
        assert file.weights[name].dtype == np.float64
        assert np.array_equal(file.weights[name], value.double().numpy())


def test_header_holds_no_pickle_and_says_units(model_file: Path) -> None:
    assert read_header(model_file)["units"]["energy"] == "eV"
    assert b"pickle" not in model_file.read_bytes()


def test_it_is_read_without_torch(model_file: Path) -> None:
    code = f"""
import sys
from ru_calc.modelfiles.golden import golden_structures
from ru_calc.modelfiles.read import read_model_file
assert read_model_file({str(model_file)!r}).weights and len(golden_structures(5.0)) == 15
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_a_file_is_read_once_until_it_changes(model_file: Path) -> None:
    first = read_model_file(model_file)
    assert read_model_file(str(model_file)).weights is first.weights
    rewritten(model_file, lambda header, _: header.update(seed=8))
    os.utime(model_file, ns=(1, 1))  # whatever the resolution of the clock of files
    again = read_model_file(model_file)
    assert first.header["seed"] == 7 and again.header["seed"] == 8


# Names


def test_shipped_models_are_found_by_name() -> None:
    assert {"default", "plain"} <= set(model_names())
    for name in model_names():
        path = model_path(name)
        assert path.stem == name and path.is_file()
        assert read_model_file(name).name == name
    assert read_model_file().name == "default"


def test_a_path_serves_as_a_name(model_file: Path) -> None:
    assert model_path(model_file) == model_path(str(model_file)) == model_file


def test_the_shipped_files_are_listed_once_to_find_a_model(monkeypatch: pytest.MonkeyPatch, model_file: Path) -> None:
    asked = []
    monkeypatch.setattr("ru_calc.modelfiles.read.shipped", lambda pattern: asked.append(pattern) or [model_file])
    assert model_path("m") == model_file and len(asked) == 1


def test_a_run_folder_stands_for_its_best_model(tmp_path, model_file):
    (tmp_path / "run").mkdir()
    with pytest.raises(ModelError, match=r"holds no model \(best.safetensors\)$"):
        model_path(tmp_path / "run")
    shutil.copy(model_file, tmp_path / "run" / "best.safetensors")
    assert model_path(tmp_path / "run") == tmp_path / "run" / "best.safetensors"
    with pytest.raises(ModelError, match=f"give one of {tmp_path / 'run'}"):
        model_path(tmp_path)


@pytest.mark.parametrize("read", [model_path, read_header, read_model_file, open_model])
def test_unknown_names_list_the_known_ones(read) -> None:
    with pytest.raises(ModelError, match=f"no model 'nonesuch'.*{', '.join(model_names())}"):
        read("nonesuch")


# What is refused


@pytest.mark.parametrize("content", [b"", b"no model at all", None])
@pytest.mark.parametrize("read", [read_header, read_model_file])
def test_foreign_and_truncated_files_are_refused(model_file: Path, content: bytes | None, read) -> None:
    data = model_file.read_bytes()
    model_file.write_bytes(data[: len(data) // 2] if content is None else content)
    with pytest.raises(ModelError, match=r"not a whole model file .*copy or fit it again"):
        read(model_file)


def test_a_file_of_something_else_or_of_a_newer_version_is_refused(model_file: Path) -> None:
    rewritten(model_file, lambda header, _: header.update(version=3))
    with pytest.raises(ModelError, match="has version 3; this ru-calc reads versions up to 2: upgrade ru-calc"):
        read_model_file(model_file)
    save_file({"x": torch.zeros(2)}, str(model_file))
    with pytest.raises(ModelError, match="schema None"):
        read_header(model_file)


# Files from before something was a choice


@pytest.mark.parametrize("intervals", [0, 32])
def test_a_header_without_tables_is_of_a_network_without_tables_and_one_with_tables_keeps_them(
    tmp_path: Path, intervals: int
) -> None:
    """Whatever a new fit would take."""
    assert SchNetSettings().spline_intervals > 0
    path = tmp_path / "m.safetensors"
    save_model(path, small_model(spline_intervals=intervals), {})
    if intervals == 0:
        rewritten(path, lambda header, _: header["hyperparameters"].pop("spline_intervals"))
    assert read_header(path)["hyperparameters"]["spline_intervals"] == intervals
    stored = load_model(path)
    assert stored.potential.settings.spline_intervals == intervals
    read_model_file(path).check_golden(Reference(stored.potential))


# Golden values


@dataclass
class Shifted:
    """A predictor whose energies or forces are off by what is given."""

    predictor: Reference
    energy: object = 0.0
    forces: object = 0.0
    cutoff_A: float = 5.0

    def predict(self, structures: Structures, pairs: None, want: tuple[str, ...]) -> Prediction:
        found = self.predictor.predict(structures, pairs, want)
        forces = None if found.forces is None else found.forces + self.forces
        return Prediction(energy=found.energy + self.energy, forces=forces)


def test_golden_values_are_held_to_the_tolerance(model_file: Path) -> None:
    file, own = read_model_file(model_file), Reference(small_model().float().double())
    structures = golden_structures(5.0)
    energy, one_force = TOLERANCE["energy"] * structures.counts, np.zeros((structures.n_atoms, 3))
    one_force[-1, 2] = TOLERANCE["forces"]
    for fine in (0.9 * energy, -0.9 * energy):
        file.check_golden(Shifted(own, fine, 0.9 * one_force))
    for wrong in (1.1 * energy * (np.arange(15) == 4), np.where(np.arange(15) == 14, np.nan, 0.0)):
        with pytest.raises(ModelError, match=r"golden energies differ by .*at most 1e-06 is allowed.*copy or fit it"):
            file.check_golden(Shifted(own, wrong))
    with pytest.raises(ModelError, match=r"golden forces differ by 1.1e-06 eV/Å"):
        file.check_golden(Shifted(own, 0.0, 1.1 * one_force))


def test_golden_structures_are_of_every_kind_and_show_every_weight(model_file: Path) -> None:
    structures = golden_structures(5.0)
    assert structures.pbc.all(axis=1).tolist() == [True, True, True, False, False, True] + [False] * 9
    assert structures.counts.tolist() == [2, 1, 2, 2, 1, 12] + [2] * 9
    dimers = structures.positions[-18:].reshape(9, 2, 3)
    distances = np.linalg.norm(dimers[:, 1] - dimers[:, 0], axis=1)
    np.testing.assert_allclose(distances, [0.5, 0.8, 1.1, 1.4, 1.7, 4.0, 4.7, 4.98, 5.02])
    potential = small_model()
    with torch.enable_grad():
        before = Reference(potential).predict(structures).energy
        for name, value in potential.state_dict().items():
            flat = value.view(-1)
            k = int(flat.abs().argmax())
            kept = float(flat[k])
            flat[k] = kept + 0.01
            change = np.abs(Reference(potential).predict(structures).energy - before).max()
            flat[k] = kept
            assert change > TOLERANCE["energy"] or name == "energy.2.bias", name


def test_the_core_without_a_hash_is_seen_by_the_golden_values(tmp_path: Path) -> None:
    """A smaller core leaves crystals, liquid and the dimer at 2.2 Å as they are."""
    path = tmp_path / "m.safetensors"
    save_model(path, small_model(), {})
    rewritten(path, lambda header, _: header["hyperparameters"].update(core_outer_A=1.5))
    with pytest.raises(ModelError, match="golden energies differ"):
        load_model(path)


# The model of a run


def test_the_model_of_a_run_is_found_beside_it_by_its_hash(tmp_path: Path, model_file: Path) -> None:
    own = read_model_file(model_file).sha256
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs").mkdir()
    other = rewritten(shutil.copy(model_file, tmp_path / "elsewhere"), lambda header, _: header.update(seed=8))
    right = shutil.copy(model_file, tmp_path / "runs")
    assert find_model(str(other), None, []) == str(other)
    assert find_model("m.safetensors", own, [tmp_path / "elsewhere", tmp_path / "runs"]) == str(right)
    assert find_model("default", read_model_file("default").sha256, []) == "default"
    with pytest.raises(ModelError, match=r"of hash \w{12}, and another one is in .*elsewhere/m.safetensors \("):
        find_model("m.safetensors", own, [tmp_path / "elsewhere"])
    with pytest.raises(ModelError, match=r"there is no model 'm\.safetensors'.*by --model"):
        find_model("m.safetensors", own, [tmp_path / "nowhere"])
