"""Evaluation: one code for models and foreign calculators; failures counted; zeros of energy; splits; files."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones
from ase.io import read
from labelled import LJ, Choosy, lj_frames

from ru_calc.dataset import Dataset
from ru_calc.errors import DataError, OutputError, SettingsError
from ru_calc.evaluate import (
    Evaluation,
    Predictions,
    assess,
    chosen_frames,
    load_calculator,
    only,
    predict_by_calculator,
    predict_by_model,
    read_split,
    write_report,
)
from ru_calc.evaluate.assessment import isolated_frames
from ru_calc.evaluate.report import output_files
from ru_calc.potentials.derivatives import Reference


class Shifted(LennardJones):
    """The potential of the labels with another zero: 1.5 eV per atom higher."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        for name in ("energy", "free_energy"):
            self.results[name] += 1.5 * len(self.atoms)


class EnergyOnly(Calculator):
    """No forces, no stress."""

    implemented_properties = ("energy",)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": -7.0 * len(self.atoms)}


@pytest.fixture
def dataset() -> Dataset:
    return Dataset.from_atoms(lj_frames(7))


def evaluate(dataset: Dataset, calculator, **options) -> Evaluation:
    return assess(dataset, predict_by_calculator(calculator, dataset), **options)


def test_the_calculator_that_made_the_labels_has_no_error(dataset):
    seen: list[int] = []
    evaluation = assess(dataset, predict_by_calculator(LennardJones(**LJ), dataset, seen.append))
    assert sum(seen) == len(dataset)
    for errors in evaluation.comparison.errors().values():
        assert errors.maximum < 1e-12 and errors.unpredicted == 0
    assert not evaluation.failures


@pytest.mark.parametrize("change", [{"epsilon": 0.701}, {"sigma": 2.351}, {"rc": 5.9}])
def test_a_slightly_different_calculator_has_one(dataset, change):
    """Sabotage: the check above sees a parameter that is off by 0.1 %."""
    errors = evaluate(dataset, LennardJones(**{**LJ, **change})).comparison.errors()
    assert all(errors[name].maximum > 1e-6 for name in errors)


def test_a_model_in_batches_is_the_model_frame_by_frame(dataset, small_potential):
    predictor, s, seen = Reference(small_potential, torch.float64), dataset.structures, []
    batched = predict_by_model(predictor, dataset, 5, seen.append)
    assert sum(seen) == len(dataset)
    for k in range(len(dataset)):
        alone = predictor.predict(s.frame(k))
        np.testing.assert_allclose(batched.energy[k], alone.energy[0], rtol=0, atol=1e-10)
        np.testing.assert_allclose(batched.forces[s.atoms_of([k])], alone.forces, rtol=0, atol=1e-9)
        np.testing.assert_allclose(batched.stress[k], alone.stress[0], rtol=0, atol=1e-11)
    swapped = predict_by_model(predictor, dataset.select([1, 0]), batch_atoms=5)
    assert abs(swapped.energy - batched.energy[:2]).min() > 1e-3, "sabotage: frames in another order are noticed"


def test_a_frame_that_fails_is_reported_not_dropped(dataset):
    evaluation = evaluate(dataset, Choosy(**LJ))
    counts = dataset.structures.counts
    large, single = np.flatnonzero(counts > 2), np.flatnonzero(counts == 1)
    assert len(large) and len(single)
    failed = {(failure.frame, failure.quantity): failure.reason for failure in evaluation.failures}
    for k in large:
        assert failed[k, "energy"] == failed[k, "forces"] == failed[k, "stress"] == "RuntimeError: too many atoms"
    for k in single:
        assert failed[k, "forces"] == "the prediction is not finite" and (k, "energy") not in failed
    assert len(failed) == 3 * len(large) + len(single)
    row = evaluation.rows[0]
    assert row["energy_unpredicted"] == len(large) and row["energy_count"] == len(dataset) - len(large)
    assert row["energy_max_meV_per_atom"] < 1e-9, "the others are compared as they are"


def test_properties_that_a_calculator_lacks_are_reported_only_where_labelled(dataset):
    bare = Dataset.from_atoms([Atoms("Ru2", [[0, 0, 0], [0, 0, 2.2]])])
    with pytest.raises(DataError, match="no frame has a label"):
        evaluate(bare, EnergyOnly())
    evaluation = evaluate(dataset, EnergyOnly())
    assert {failure.quantity for failure in evaluation.failures} == {"forces", "stress"}
    assert "PropertyNotImplementedError" in evaluation.failures[0].reason


def test_a_calculator_that_fails_everywhere_is_an_error(dataset):
    big = dataset.select(np.flatnonzero(dataset.structures.counts > 2))
    with pytest.raises(DataError, match=r"nothing could be compared.*too many atoms"):
        evaluate(big, Choosy(**LJ))


def test_a_model_whose_predictions_are_not_finite_is_reported(dataset, small_potential):
    class Broken(Reference):
        def predict(self, structures, pairs, want=()):
            found = super().predict(structures, pairs)
            found.forces[0, 0] = np.nan
            return found

    predictions = predict_by_model(Broken(small_potential), dataset, batch_atoms=10**6)
    assert [(failure.frame, failure.quantity) for failure in predictions.failures] == [(0, "forces")]


def test_the_mean_shift_takes_out_another_zero_of_energy_and_nothing_else(dataset):
    raw = evaluate(dataset, Shifted(**LJ))
    assert raw.rows[0]["energy_MAE_meV_per_atom"] == pytest.approx(1500)
    shifted = evaluate(dataset, Shifted(**LJ), shift="mean")
    assert shifted.shift_eV_per_atom == pytest.approx(-1.5)
    assert shifted.rows[0]["energy_max_meV_per_atom"] < 1e-6
    assert shifted.rows[0]["forces_max_meV_per_A"] == raw.rows[0]["forces_max_meV_per_A"]


def test_the_mean_shift_has_the_smallest_rms_error(dataset):
    wrong = LennardJones(**{**LJ, "epsilon": 0.8})
    evaluation = evaluate(dataset, wrong, shift="mean")
    label, predicted = evaluation.comparison.values("energy")
    best = np.mean((predicted - label) ** 2)
    assert all(np.mean((predicted + step - label) ** 2) > best for step in (-1e-3, 1e-3))


def test_the_median_shift_is_not_moved_by_a_frame_that_is_far_off(dataset):
    energy = dataset.energy + 1.5 * dataset.structures.counts
    energy[2] += 100.0
    predictions = Predictions(energy, dataset.forces, dataset.stress)
    assert assess(dataset, predictions, shift="median").shift_eV_per_atom == pytest.approx(-1.5)
    assert assess(dataset, predictions, shift="mean").shift_eV_per_atom < -2


def test_groups_have_their_rows_beside_those_of_config_types(dataset):
    kinds = np.array(["slab0001", "surf_hkl", *dataset.config_type[2:]])
    found = assess(replace(dataset, config_type=kinds), Predictions(dataset.energy, dataset.forces, dataset.stress))
    assert found.groups[0] == found.rows[0]
    slabs = next(row for row in found.groups if row["config_type"] == "slab")
    assert slabs["frames"] == 2 and "slab" not in {row["config_type"] for row in found.rows}


def test_the_isolated_shift_makes_the_lone_atom_right_whatever_the_rest(dataset):
    lone = Atoms("Ru", cell=[20, 20, 20], pbc=True)
    lone.calc = LennardJones(**LJ)
    lone.get_potential_energy()
    frames = Dataset.from_atoms([*lj_frames(3), lone])
    assert isolated_frames(frames).tolist() == [False, False, False, True]
    evaluation = evaluate(frames, Shifted(**{**LJ, "epsilon": 0.8}), shift="isolated")
    assert evaluation.shift_eV_per_atom == pytest.approx(-1.5)
    assert evaluation.comparison.frame_rms("energy")[3] < 1e-12
    with pytest.raises(DataError, match=r"one atom without neighbours within 7\.0 Å"):
        evaluate(dataset, Shifted(**LJ), shift="isolated")


def test_splits_and_config_types_have_their_own_rows(dataset):
    splits = {"train": np.array([6, 0, 1, 2]), "test": np.array([3, 5])}
    frames, places = chosen_frames(dataset, splits)
    assert frames.tolist() == [0, 1, 2, 3, 5, 6]
    part = dataset.select(frames)
    evaluation = assess(dataset, predict_by_calculator(Choosy(**LJ), part), splits)
    assert [(row["split"], row["config_type"]) for row in evaluation.rows if row["config_type"] == "all"] == [
        ("train", "all"), ("test", "all"),
    ]  # fmt: skip
    assert frames[places["test"]].tolist() == [3, 5]
    of_test = evaluate(dataset.select([3, 5]), Choosy(**LJ)).rows[0]
    found = next(row for row in evaluation.rows if row["split"] == "test")
    assert {**of_test, "split": "test"} == pytest.approx(found, nan_ok=True)
    counts = dataset.structures.counts
    assert {f.frame for f in evaluation.failures if f.quantity == "energy"} == {k for k in frames if counts[k] > 2}


def write_split(path: Path, dataset: Dataset, **changes) -> Path:
    content = {"data": dataset.fingerprint(), "train": [0, 1, 2, 4], "validation": [6], "test": [3, 5]}
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_the_split_of_a_run_folder_is_read(dataset, tmp_path):
    write_split(tmp_path / "split.json", dataset)
    for given in (tmp_path, tmp_path / "split.json"):
        parts = read_split(given, dataset)
        assert {name: frames.tolist() for name, frames in parts.items()} == {
            "train": [0, 1, 2, 4], "validation": [6], "test": [3, 5],
        }  # fmt: skip
    assert list(only(parts, ("test",))) == ["test"] and list(only(parts, ())) == list(parts)
    with pytest.raises(DataError, match="no part 'tests'; it has train, validation, test"):
        only(parts, ("tests",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "0" * 64}, "belongs to the data set 000000000000"),
        ({"test": [7]}, "frames outside 0–6"),
        ({"test": [-1]}, "frames outside 0–6"),
        ({"test": [0]}, "has a frame twice"),
        ({"test": "all"}, "is not a split file"),
    ],
)
def test_a_split_that_does_not_fit_the_data_is_refused(dataset, tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read_split(write_split(tmp_path / "split.json", dataset, **changes), dataset)


def test_a_split_that_is_none_is_refused(dataset, tmp_path):
    for text in ("[1, 2", "[1, 2]"):
        (tmp_path / "split.json").write_text(text)
        with pytest.raises(DataError, match="is not a split file"):
            read_split(tmp_path / "split.json", dataset)
    with pytest.raises(DataError, match="there is no split"):
        read_split(tmp_path / "missing.json", dataset)


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("ase.calculators.lj", {}, "write it as module.path:Class"),
        ("no.such.module:Thing", {}, "cannot be imported.*No module named"),
        ("ase.calculators.lj:Missing", {}, "cannot be imported.*Missing"),
        ("ase.calculators.eam:EAM", {"potential": "missing.eam.fs"}, "failed.*missing.eam.fs"),
        ("ase:Atoms", {}, "not an ASE calculator"),
    ],
)
def test_a_calculator_that_cannot_be_made_is_refused(path, arguments, message):
    with pytest.raises(SettingsError, match=message):
        load_calculator(path, arguments)


def test_a_calculator_of_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "my_calculator_here.py").write_text("from ase.calculators.lj import LennardJones as Mine\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in ("", str(tmp_path))])
    assert load_calculator("my_calculator_here:Mine", LJ).parameters["epsilon"] == LJ["epsilon"]


def test_a_calculator_is_made_with_its_arguments(dataset):
    calculator = load_calculator("ase.calculators.lj:LennardJones", LJ)
    assert evaluate(dataset, calculator).rows[0]["forces_max_meV_per_A"] < 1e-9


def test_the_report_holds_the_table_the_worst_frames_and_what_failed(dataset, tmp_path):
    forces = dataset.forces.copy()
    forces[dataset.structures.atoms_of([4])] += 3.0
    spoiled = Dataset(**{**vars(dataset), "forces": forces})
    evaluation = evaluate(spoiled, Shifted(**LJ), shift="mean", about={"predictor": "shifted"})
    names = {path.name for path in write_report(evaluation, tmp_path, n_worst=2)}
    assert names == {"errors.csv", "errors.json", "parity.png", "worst_forces.extxyz", "worst_energy.extxyz"}
    assert {path.name for path in tmp_path.iterdir()} == names
    table = json.loads((tmp_path / "errors.json").read_text())
    assert table["predictor"] == "shifted" and table["shift"] == "mean"
    assert table["errors"][0]["forces_max_meV_per_A"] == pytest.approx(3000)
    header = (tmp_path / "errors.csv").read_text().splitlines()
    assert len(header) == 1 + len(evaluation.rows) and "energy_MSE_eV2_per_atom2" in header[0]

    worst = read(tmp_path / "worst_forces.extxyz", ":")
    assert len(worst) == 2 and worst[0].info["frame"] == 4
    assert worst[0].info["forces_rms_error_meV_per_A"] == pytest.approx(3000)
    np.testing.assert_allclose(worst[0].arrays["predicted_forces"], worst[0].get_forces() - 3.0, atol=1e-7)
    np.testing.assert_allclose(worst[0].get_potential_energy(), dataset.energy[4], atol=1e-7)
    np.testing.assert_allclose(worst[0].info["predicted_energy"], dataset.energy[4], atol=1e-7)
    np.testing.assert_allclose(worst[0].info["predicted_stress"], dataset.stress[4], atol=1e-7)


def test_a_report_with_failures_is_valid_json_and_lists_them(dataset, tmp_path):
    evaluation = evaluate(dataset, EnergyOnly())
    names = {path.name for path in write_report(evaluation, tmp_path)}
    assert "failures.csv" in names and "worst_forces.extxyz" not in names
    table = json.loads((tmp_path / "errors.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert table["errors"][0]["forces_MAE_meV_per_A"] is None
    assert len(table["failures"]) == len(evaluation.failures) == 2 * len(dataset)


def test_an_evaluation_is_not_overwritten_unasked(tmp_path):
    assert output_files(tmp_path / "new", overwrite=False).is_dir()
    (tmp_path / "new" / "errors.json").write_text("{}")
    with pytest.raises(OutputError, match="already holds an evaluation"):
        output_files(tmp_path / "new", overwrite=False)
    output_files(tmp_path / "new", overwrite=True)
