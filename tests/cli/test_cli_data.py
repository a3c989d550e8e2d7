"""`ru-calc convert` and `ru-calc evaluate`: what they print, and one clear line for every bad input."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.io import read, write
from click.testing import CliRunner, Result
from labelled import LJ, lj_frames

from ru_calc.cli import main
from ru_calc.dataset import Dataset, read_dataset, split_by_group, write_dataset
from ru_calc.engine.engine import Engine
from ru_calc.modelfiles.load import save_model
from ru_calc.potentials.derivatives import Reference

LENNARD_JONES = ["--calculator", "ase.calculators.lj:LennardJones", "--calculator-args", json.dumps(LJ)]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_refused(result: Result, *words: str, status: int = 1) -> None:
    """One line on stderr that says what is wrong, and nothing that looks like a crash."""
    assert result.exit_code == status, result.output
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: ") and (status == 2 or len(lines) == 1), result.stderr
    assert "Traceback" not in result.output
    for word in words:
        assert word in lines[-1], lines[-1]


@pytest.fixture
def extxyz(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a.extxyz"
    path.parent.mkdir()
    write(path, lj_frames(8))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "data.h5"
    path.parent.mkdir(exist_ok=True)
    write_dataset(Dataset.from_atoms(lj_frames(8)), path)
    return path


@pytest.fixture
def model(tmp_path: Path, small_potential) -> Path:
    path = tmp_path / "in" / "small.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_model(path, small_potential, {})
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_convert_writes_the_frames_and_says_what_they_hold(extxyz, out):
    result = run("convert", extxyz, extxyz, out / "a.h5", "--level-of-theory", "LJ")
    assert result.exit_code == 0, result.output
    dataset = read_dataset(out / "a.h5")
    assert len(dataset) == 16 and dataset.level_of_theory == "LJ"
    np.testing.assert_allclose(dataset.energy[:8], Dataset.from_atoms(lj_frames(8)).energy, atol=1e-7)
    for words in ("read 16 frames from 2 files", "energy (16 frames)", "2 config types", "duplicates: 8"):
        assert words in result.output
    assert [path.name for path in out.iterdir()] == ["a.h5"]


def test_duplicates_are_kept_and_named_as_a_danger_where_a_split_may_part_them(out):
    frames = lj_frames(3)
    write(out / "grouped.extxyz", frames)
    lines = run("convert", out / "grouped.extxyz", out / "grouped.extxyz", out / "a.h5").stdout.splitlines()
    assert "duplicates: 3, all kept (frame 3 repeats frame 0 …)" in lines
    del frames[1].info["group_id"], frames[2].info["group_id"]
    write(out / "two.extxyz", frames)
    output = run("convert", out / "two.extxyz", out / "two.extxyz", out / "b.h5").stdout
    assert "…); 2 belong to another group than the frame they repeat, so a split may put training frames" in output
    assert len(read_dataset(out / "b.h5")) == 6


def test_convert_says_which_energies_were_mixed(out):
    frames = lj_frames(3)
    frames[0].calc.results["free_energy"] = frames[0].calc.results["energy"]
    frames[1].pbc = False
    for atoms in frames:
        atoms.calc.atoms = atoms.copy()
    write(out / "mixed.extxyz", frames)
    result = run("convert", out / "mixed.extxyz", out / "a.h5")
    assert result.exit_code == 0, result.output
    assert "energy (2 frames), free_energy (1 frames)" in result.output and "warning: energy and" in result.output
    assert "stress dropped from 1 frames" in result.output


def test_convert_refuses_frames_without_labels_and_warns_where_some_have_none(out):
    labelled, bare = lj_frames(2), [atoms.copy() for atoms in lj_frames(3)]
    write(out / "bare.extxyz", bare)
    assert_refused(run("convert", out / "bare.extxyz", out / "a.h5"), "none of the 3 frames", "nothing to learn from")
    assert not (out / "a.h5").exists()
    write(out / "some.extxyz", [*labelled, *bare])
    result = run("convert", out / "some.extxyz", out / "a.h5")
    assert result.exit_code == 0 and len(read_dataset(out / "a.h5")) == 5
    assert result.stderr == "warning: 3 of 5 frames have no label; a fit learns nothing from them\n"


def spoiled_frames(kind: str):
    frames = lj_frames(3)
    if kind == "element":
        frames[2].numbers[0] = 26
    elif kind == "position":
        frames[2].positions[0, 0] = np.nan
    else:
        frames[2].calc.results["forces"][0, 0] = np.nan
    frames[2].calc.atoms = frames[2].copy()
    return frames


@pytest.mark.parametrize(
    ("kind", "words"),
    [("element", "atom 0 is Fe"), ("position", "position of atom 0"), ("label", "non-finite values in its forces")],
)
def test_convert_refuses_bad_frames(tmp_path, out, kind, words):
    path = tmp_path / f"{kind}.traj"
    write(path, spoiled_frames(kind))
    assert_refused(run("convert", path, out / "a.h5"), f"{kind}.traj, frame 2: ", words)
    assert not list(out.iterdir())


def test_convert_refuses_bad_files(extxyz, out):
    folder = extxyz.parent
    (folder / "empty.extxyz").write_text("")
    (folder / "cut.extxyz").write_bytes(extxyz.read_bytes()[:-90])
    (folder / "noise.xml").write_text("not xml")
    for name in ("missing.extxyz", "empty.extxyz", "cut.extxyz", "noise.xml"):
        assert_refused(run("convert", extxyz, folder / name, out / "a.h5"), name)
    assert_refused(run("convert", folder, out / "a.h5"), "cut.extxyz")
    assert not list(out.iterdir())


def test_convert_keeps_an_existing_output_unless_told(extxyz, out):
    path = out / "a.h5"
    path.write_text("mine")
    assert_refused(run("convert", extxyz, path), "--overwrite")
    assert path.read_text() == "mine"
    bad = extxyz.parent / "empty.extxyz"
    bad.write_text("")
    assert_refused(run("convert", bad, path, "--overwrite"), "empty.extxyz")
    assert path.read_text() == "mine", "a failure must leave the old file"
    assert run("convert", extxyz, path, "--overwrite").exit_code == 0
    assert len(read_dataset(path)) == 8


def test_convert_never_takes_an_input_for_the_output(extxyz):
    before = extxyz.read_bytes()
    assert_refused(run("convert", extxyz, extxyz, "--overwrite"), "must end in .h5")
    assert extxyz.read_bytes() == before


def unwritable(folder: Path) -> bool:
    """Makes a folder read-only; False where that means nothing (root)."""
    folder.chmod(0o500)
    return not os.access(folder, os.W_OK)


def test_outputs_that_cannot_be_written_are_refused(extxyz, data, out):
    assert_refused(run("convert", extxyz, out / "missing" / "a.h5"), "does not exist")
    (out / "file").write_text("")
    assert_refused(run("evaluate", data, *LENNARD_JONES, "-o", out / "file"), "cannot be made")
    if unwritable(out):
        assert_refused(run("convert", extxyz, out / "a.h5"), "cannot be written")
        assert_refused(run("evaluate", data, *LENNARD_JONES, "-o", out / "new"), "cannot be made")
    out.chmod(0o700)
    assert [path.name for path in out.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("convert", "a.extxyz", "a.h5", "--energy", "total"),
        ("convert", "a.extxyz", "a.h5", "--group-by", "name"),
        ("convert", "a.h5"),
        ("convert", "a.extxyz", "a.h5", "--no-such-option"),
        ("evaluate", "data.h5", "--shift", "mode"),
        ("evaluate", "data.h5", "--dtype", "float16"),
        ("evaluate", "data.h5", "--device", "tpu"),
        ("evaluate", "data.h5", "--batch-atoms", "0"),
        ("evaluate", "data.h5", "--calculator", "a:B", "--calculator-args", "{1"),
        ("evaluate", "data.h5", "--calculator", "a:B", "--calculator-args", "[1]"),
        ("evaluate", "data.h5", "--calculator-args", '{"a": 1}'),
        ("evaluate", "data.h5", "--calculator", "a:B", "--model", "default"),
        ("evaluate", "data.h5", "--part", "test"),
    ],
)
def test_unknown_option_values_are_usage_errors(arguments, out, monkeypatch):
    monkeypatch.chdir(out)
    assert_refused(run(*arguments), status=2)
    assert not list(out.iterdir())


def test_evaluate_measures_a_foreign_calculator(data, out):
    result = run("evaluate", data, *LENNARD_JONES, "-o", out / "new", "--worst", 3)
    assert result.exit_code == 0, result.output
    assert "LennardJones: 8 of 8 frames" in result.output
    assert "shifted by" in result.output and "--shift mean" in result.output
    table = json.loads((out / "new" / "errors.json").read_text())
    assert table["errors"][0]["forces_MAE_meV_per_A"] < 1e-9 and table["shift_eV_per_atom"] == pytest.approx(
        0, abs=1e-9
    )
    assert table["data_hash"] == read_dataset(data).fingerprint()
    assert len(read(out / "new" / "worst_energy.extxyz", ":")) == 3
    assert (out / "new" / "parity.png").stat().st_size > 1000


def test_evaluate_measures_a_model_by_split(data, model, out):
    dataset = read_dataset(data)
    parts = {name: part.tolist() for name, part in split_by_group(dataset, (0.5, 0.25, 0.25)).items()}
    (out / "split.json").write_text(json.dumps({"data": dataset.fingerprint(), **parts}))
    result = run("evaluate", data, "--model", model, "--split", out / "split.json", "-o", out / "e")
    assert result.exit_code == 0, result.output
    assert "shifted" not in result.output, "a model's zero of energy is its own"
    table = json.loads((out / "e" / "errors.json").read_text())
    rows = {row["split"]: row for row in table["errors"] if row["config_type"] == "all"}
    assert {name: row["frames"] for name, row in rows.items()} == {name: len(part) for name, part in parts.items()}
    only = run(
        "evaluate", data, "--model", model, "--split", out, "--part", "test", "-o", out / "t", "--dtype", "float32"
    )
    assert only.exit_code == 0, only.output
    assert f"model {model} in float32, compiled engine: {len(parts['test'])} of 8 frames in" in only.output
    (row, *_) = json.loads((out / "t" / "errors.json").read_text())["errors"]
    assert row["split"] == "test"
    assert row["forces_MAE_meV_per_A"] == pytest.approx(rows["test"]["forces_MAE_meV_per_A"], rel=1e-3)


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_threads_reach_the_predictor_in_an_evaluation(data, model, monkeypatch, torch_threads, engine):
    seen, predictor = [], {"compiled": Engine, "reference": Reference}[engine]
    original = predictor.predict
    count = (lambda self: self.threads) if engine == "compiled" else (lambda self: torch_threads())
    monkeypatch.setattr(predictor, "predict", lambda self, *args: seen.append(count(self)) or original(self, *args))
    for arguments, threads in (((), 1), (("--threads", 2), 2)):
        result = run("evaluate", data, "--model", model, "--engine", engine, *arguments)
        assert result.exit_code == 0, result.output
        assert seen and set(seen) == {threads}
        seen.clear()


def test_evaluate_without_output_writes_nothing(data, model, out, monkeypatch):
    monkeypatch.chdir(out)
    result = run("evaluate", data, "--model", model)
    assert result.exit_code == 0, result.output
    assert "nothing was written" in result.output and not list(out.iterdir())


def test_evaluate_counts_frames_that_fail(data):
    result = run("evaluate", data, "--calculator", "labelled:Choosy", "--calculator-args", json.dumps(LJ))
    assert result.exit_code == 0, result.output
    large = int((read_dataset(data).structures.counts > 2).sum())
    single = int((read_dataset(data).structures.counts == 1).sum())
    assert f"warning: {large + single} of 8 frames were not predicted in full" in result.output
    assert "RuntimeError: too many atoms" in result.output


def test_evaluate_does_not_replace_an_evaluation_unasked(data, out):
    assert run("evaluate", data, *LENNARD_JONES, "-o", out).exit_code == 0
    assert_refused(run("evaluate", data, *LENNARD_JONES, "-o", out), "already holds an evaluation")
    assert run("evaluate", data, *LENNARD_JONES, "-o", out, "--overwrite").exit_code == 0


def test_evaluate_refuses_bad_data(data, model, tmp_path, out):
    whole = data.read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "text.h5").write_text("energy forces stress")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["energy"] = [1.0]
    (tmp_path / "element.h5").write_bytes(whole)
    with h5py.File(tmp_path / "element.h5", "r+") as file:
        next(iter(file.values()))["numbers"][0, 0] = 45
    (tmp_path / "nan.h5").write_bytes(whole)
    with h5py.File(tmp_path / "nan.h5", "r+") as file:
        next(iter(file.values()))["positions"][0, 0, 0] = np.nan
    for name, words in (
        ("missing.h5", "there is no data file"), ("cut.h5", "not a complete HDF5 file"),
        ("empty.h5", "not a complete HDF5 file"), ("text.h5", "not a complete HDF5 file"),
        ("foreign.h5", "not a ru-calc data file; make one from files"),
        ("element.h5", "other than ruthenium"), ("nan.h5", "must be finite"),
    ):  # fmt: skip
        assert_refused(run("evaluate", tmp_path / name, "--model", model, "-o", out / "e"), name, words)
        assert not list(out.rglob("*.*")), "no half-written result"


def test_evaluate_refuses_bad_models(data, model, tmp_path):
    whole = model.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.safetensors").write_text("weights")
    for name in ("cut.safetensors", "text.safetensors"):
        assert_refused(run("evaluate", data, "--model", tmp_path / name), name)
    assert_refused(run("evaluate", data, "--model", data), "data.h5")
    assert_refused(run("evaluate", data, "--model", "no_such_model"), "there is no model 'no_such_model'")


def test_evaluate_refuses_bad_calculators_and_splits(data, model, tmp_path):
    assert_refused(run("evaluate", data, "--calculator", "no.such:Thing"), "cannot be imported")
    assert_refused(
        run("evaluate", data, "--calculator", "ase.calculators.eam:EAM", "--calculator-args", '{"potential": "no.fs"}'),
        "failed",
    )
    (tmp_path / "split.json").write_text(json.dumps({"data": "other", "test": [0]}))
    assert_refused(run("evaluate", data, "--model", model, "--split", tmp_path), "belongs to the data set other")
    assert_refused(run("evaluate", data, "--model", model, "--split", "no_such"), "there is no split no_such")
