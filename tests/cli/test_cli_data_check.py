"""`ru-calc data check`, and its quick part in `convert` and `fit`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase.io import write
from click.testing import CliRunner, Result

from ru_calc.cli import main
from ru_calc.dataset import Dataset, read_dataset, write_dataset

KBAR = 0.1 / 160.21766208


@pytest.fixture(scope="module")
def liquid() -> Dataset:
    """Eight frames of liquid from the shipped DFT data."""
    dataset = read_dataset("gpaw")
    return dataset.select([k for k, name in enumerate(dataset.config_type) if name == "md_liquid"][:8])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def in_kbar(dataset: Dataset, path: Path) -> Path:
    frames = [dataset.atoms(k) for k in range(len(dataset))]
    for atoms in frames:
        atoms.calc.results["stress"] = atoms.calc.results["stress"] / KBAR
    write(path, frames)
    return path


def stored(dataset: Dataset, path: Path) -> Path:
    write_dataset(dataset, path)
    return path


def test_right_data_end_with_status_0_and_wrong_data_with_1(liquid, tmp_path):
    right = run("data", "check", stored(liquid, tmp_path / "a.h5"))
    assert right.exit_code == 0 and "8 frames examined, no findings" in right.stdout, right.output
    wrong = run("data", "check", in_kbar(liquid, tmp_path / "kbar.extxyz"))
    assert wrong.exit_code == 1 and "Traceback" not in wrong.output
    (line,) = [line for line in wrong.stdout.splitlines() if "error:" in line]
    assert "in kbar" in line and "convert with --stress-unit kbar" in line and "(all 8 frames)" in line


def test_the_option_that_is_named_mends_the_data(liquid, tmp_path):
    path = in_kbar(liquid, tmp_path / "kbar.extxyz")
    mended = run("data", "check", path, "--stress-unit", "kbar")
    assert mended.exit_code == 0 and "no findings" in mended.stdout, mended.output


def test_json_holds_findings_frames_and_what_is_undecided(liquid, tmp_path):
    result = run("data", "check", in_kbar(liquid, tmp_path / "kbar.extxyz"), "--json", tmp_path / "found.json")
    record = json.loads((tmp_path / "found.json").read_text())
    assert result.exit_code == 1 and record["errors"] == 1 and record["between_files"] == []
    (file,) = record["files"]
    (finding,) = file["findings"]
    assert finding["rule"] == "stress-scale" and finding["severity"] == "error" and finding["frames"] == list(range(8))
    assert finding["figure"] == pytest.approx(1602, rel=0.2) and finding["config_types"] == ["md_liquid"]
    run("data", "check", stored(liquid.select([0]), tmp_path / "one.h5"), "--json", tmp_path / "one.json")
    alone = json.loads((tmp_path / "one.json").read_text())
    assert alone["files"][0]["undecided"] and not alone["errors"]


def test_a_split_and_files_that_share_frames_are_told(liquid, tmp_path):
    twice = Dataset.joined([liquid, liquid.select([1])])
    data = stored(twice, tmp_path / "twice.h5")
    parts = {"train": [0, 1, 2, 3, 4, 5], "validation": [6], "test": [7, 8]}
    (tmp_path / "split.json").write_text(json.dumps({"data": twice.fingerprint(), **parts}))
    result = run("data", "check", data, "--split", tmp_path / "split.json")
    assert "1 frames of the test part are also in the training part" in result.stdout
    assert result.exit_code == 0, "a leak is a warning"
    one, two = stored(liquid.select(range(5)), tmp_path / "a.h5"), stored(liquid.select([4, 6]), tmp_path / "b.h5")
    assert "1 frames of" in run("data", "check", one, two).stdout
    assert run("data", "check", one, two, "--split", tmp_path).exit_code == 2


def test_convert_refuses_wrong_units_and_keeps_the_data_if_told(liquid, tmp_path):
    path, out = in_kbar(liquid, tmp_path / "kbar.extxyz"), tmp_path / "a.h5"
    refused = run("convert", path, out)
    assert refused.exit_code == 1 and not out.exists()
    last = refused.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ") and "--stress-unit kbar" in last and "--accept-findings" in last
    assert run("convert", path, out, "--accept-findings").exit_code == 0
    assert np.abs(read_dataset(out).stress).max() > 100
    right = run("convert", path, out, "--stress-unit", "kbar", "--overwrite")
    assert right.exit_code == 0, right.output
    np.testing.assert_allclose(read_dataset(out).stress, liquid.stress, atol=1e-7)


@pytest.mark.parametrize(
    "command", ["fit", "sweep", "compare", "compare --protocol paper", "learn --calculator ase.calculators.emt:EMT"]
)
def test_whatever_fits_refuses_wrong_units(command, liquid, tmp_path):
    wrong = in_kbar(liquid, tmp_path / "kbar.extxyz")
    first, *more = command.split()
    result = run(first, wrong, *more, "-o", tmp_path / "run")
    assert result.exit_code == 1 and "--stress-unit kbar" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_sweep_takes_the_data_as_they_are_if_told(liquid, tmp_path):
    wrong = in_kbar(liquid, tmp_path / "kbar.extxyz")
    (tmp_path / "trials.json").write_text(json.dumps({"small": {"model.channels": 4, "model.n_radial": 4}}))
    words = ("sweep", wrong, "-o", tmp_path / "run", "--epochs", 1, "--trials", tmp_path / "trials.json")
    result = run(*words, "--accept-findings")
    assert result.exit_code == 0 and "--stress-unit kbar" in result.stderr, result.output
    assert "--accept-findings" in (tmp_path / "run/sweep.md").read_text()


def test_a_missing_file_is_one_line(tmp_path):
    result = run("data", "check", tmp_path / "none.h5")
    assert result.exit_code == 1 and "there is no data file" in result.stderr and "Traceback" not in result.output
