"""Model files, read without torch: names, headers, weights, golden energies, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import rewritten, small_model
from safetensors.torch import save_file

from ru_calc.errors import ModelError
from ru_calc.modelfiles import load_model, model_names, model_path, open_model
from ru_calc.modelfiles.load import save_model
from ru_calc.modelfiles.read import GOLDEN_TOLERANCE_EV_PER_ATOM, golden_structures, read_header, read_model_file
from ru_calc.potentials.derivatives import Reference
from ru_calc.potentials.schnet import SchNetSettings


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
from ru_calc.modelfiles.read import golden_structures, read_model_file
assert read_model_file({str(model_file)!r}).weights and len(golden_structures()) == 5
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


def test_a_file_of_something_else_or_of_another_version_is_refused(model_file: Path) -> None:
    rewritten(model_file, lambda header, _: header.update(version=2))
    with pytest.raises(ModelError, match="version 2; this version reads 'ru-calc/model' version 1"):
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
    read_model_file(path).check_golden(Reference(stored.potential).predict(golden_structures()).energy)


# Golden predictions


def test_golden_energies_are_held_to_the_tolerance_per_atom(model_file: Path) -> None:
    file, counts = read_model_file(model_file), golden_structures().counts
    energies = Reference(small_model().float().double()).predict(golden_structures()).energy
    file.check_golden(energies)
    file.check_golden(energies + 0.9 * GOLDEN_TOLERANCE_EV_PER_ATOM * counts)
    for wrong in (1.1 * GOLDEN_TOLERANCE_EV_PER_ATOM * counts, [0, 0, 0, 0, np.nan]):
        with pytest.raises(ModelError, match=r"golden energies differ by .*at most 1e-06 is allowed.*copy or fit it"):
            file.check_golden(energies + wrong)


def test_golden_structures_are_of_every_kind_and_show_every_weight(model_file: Path) -> None:
    structures = golden_structures()
    assert structures.pbc.all(axis=1).tolist() == [True, True, True, False, False]
    assert structures.counts.tolist() == [2, 1, 2, 2, 1]
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
            assert change > GOLDEN_TOLERANCE_EV_PER_ATOM or name == "energy.2.bias", name
