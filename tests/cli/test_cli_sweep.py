"""`ru-calc sweep` on the command line: it prints its table, goes on, and refuses before any work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from labelled import lj_frames

import ru_calc.studies.sweep.run as sweep
from ru_calc.cli import main
from ru_calc.dataset import Dataset, write_dataset

SMALL = [
    "--set", "model.channels=8", "--set", "model.n_radial=6", "--set", "model.filter_hidden=6",
    "--set", "model.angular_radial=3", "--set", "model.triple=2", "--set", "model.l_max=2",
]  # fmt: skip


@pytest.fixture(autouse=True)
def short_race(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "ATOMS", 16)
    monkeypatch.setattr(sweep, "REPEATS", 1)
    monkeypatch.setattr("ru_calc.studies.bench.race.LEAST_S", 0.001)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(Dataset.from_atoms(lj_frames(12)), tmp_path / "data.h5")
    return tmp_path / "data.h5"


def run(*arguments: object):
    return CliRunner().invoke(main, ["sweep", *map(str, arguments)])


def test_it_prints_its_table_and_goes_on_without_being_told_its_settings_again(data: Path, tmp_path: Path) -> None:
    folder, trials = tmp_path / "s", tmp_path / "trials.json"
    trials.write_text(json.dumps({"base": {}, "wide": {"model.channels": 12}}))
    first = run(data, "-o", folder, "--epochs", 1, "--trials", trials, "--only", "wide", *SMALL)
    assert first.exit_code == 0, first.output
    assert "| channels=12 |" in first.output and "base: trial" not in first.output
    assert "wide: trial 1 of 1, 1 epochs" in first.output
    again = run(data, "-o", folder, "--resume")
    assert again.exit_code == 0, again.output
    assert "wide: already finished" in again.output and "base: epoch    1/1" in again.output
    assert "| channels=12 |" in again.output and f"wrote {folder}/sweep.md" in again.output
    results = json.loads((folder / "sweep.json").read_text())
    (command,) = results["commands"]
    assert command.startswith(f"ru-calc sweep {data} -o {folder} --epochs 1 --trials {trials} --set model.channels=8")


def test_a_trial_without_a_result_ends_in_a_status_that_is_not_0(data: Path, tmp_path: Path) -> None:
    hot = {f"rate_{part}": 1e4 for part in ("embedding", "blocks", "readout")} | {"clip_norm": 1e9}
    trials = tmp_path / "trials.json"
    trials.write_text(json.dumps({"base": {}, "hot": hot}))
    done = run(data, "-o", tmp_path / "s", "--epochs", 1, "--trials", trials, *SMALL)
    assert done.exit_code == 1 and "hot: stopped, the loss is" in done.output
    assert done.stderr.strip().splitlines()[-1] == "without a result: hot; see the table for the reasons"
    assert "has diverged" in (tmp_path / "s" / "sweep.md").read_text()


def test_the_built_in_trials_can_be_fitted_one_by_one(data: Path, tmp_path: Path) -> None:
    done = run(data, "-o", tmp_path / "s", "--epochs", 1, "--only", "layer_norm-true", *SMALL)
    assert done.exit_code == 0, done.output
    assert "layer_norm=true" in done.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--only", "nonesuch"], "there is no trial 'nonesuch'; choose from base"),
        (["--epochs", "0"], "epochs"),
        (["--set", "nonesuch=1"], "there is no setting 'nonesuch'"),
        (["--set", "nonesuch"], "is not NAME=VALUE"),
        (["--set", "family=ani"], "the built-in trials are for family schnet"),
        (["--trials", "nonesuch.json"], "cannot be read"),
        (["--resume"], "no sweep to resume"),
    ],
)
def test_bad_options_are_refused_before_the_data_are_read(tmp_path: Path, options: list[str], words: str) -> None:
    done = run("nonesuch.h5", "-o", tmp_path / "s", *options)
    assert done.exit_code != 0 and words in done.output, done.output
    assert not (tmp_path / "s").exists()


def test_missing_data_are_refused(tmp_path: Path) -> None:
    done = run("nonesuch.h5", "-o", tmp_path / "s")
    assert done.exit_code != 0 and "nonesuch.h5" in done.output and not (tmp_path / "s").exists()


def test_ctrl_c_says_how_to_go_on(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "s"
    with monkeypatch.context() as patched:
        patched.setattr("ru_calc.dataset.opening.read_dataset", stop)
        assert "before the sweep began" in run(data, "-o", folder).output
    monkeypatch.setattr(sweep, "finish_fit", stop)
    stopped = run(data, "-o", folder, "--epochs", 1, "--only", "base", *SMALL)
    assert stopped.exit_code == 130
    assert f"sweep {data} -o {folder} --resume --only base" in stopped.output
