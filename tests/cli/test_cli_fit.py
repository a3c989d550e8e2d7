"""`ru-calc fit` on the command line: it works as the README shows, and refuses what it cannot do in one line."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from labelled import lj_frames
from safetensors import safe_open

from ru_calc.cli import main
from ru_calc.dataset import Dataset, read_dataset, write_dataset
from ru_calc.errors import RuCalcError
from ru_calc.fit.settings import FitSettings, differences, with_changes, with_changes_to
from ru_calc.fit.trainer import Trainer
from ru_calc.modelfiles import load_model, read
from ru_calc.potentials import FAMILIES
from ru_calc.potentials.derivatives import Reference
from ru_calc.predictor import predict_all

SMALL = [
    "--set", "model.channels=8", "--set", "model.n_radial=6", "--set", "model.filter_hidden=6",
    "--set", "model.angular_radial=3", "--set", "model.triple=2", "--threads", "1",
]  # fmt: skip


@pytest.fixture
def data(tmp_path):
    write_dataset(Dataset.from_atoms(lj_frames(12)), tmp_path / "data.h5")
    return tmp_path / "data.h5"


@pytest.fixture
def stopped_fit(data, tmp_path, monkeypatch):
    """Data and folder of a fit that was stopped in its first epoch."""
    with monkeypatch.context() as patch:
        stop_after(0, patch)
        assert run(data, "-o", tmp_path / "run", *SPECIAL, *SMALL).exit_code == 130
    return data, tmp_path / "run"


def run(*arguments):
    return CliRunner().invoke(main, ["fit", *map(str, arguments)])


def refused(result, words: str) -> None:
    """One line on standard error, a status that is not 0, and no traceback."""
    assert result.exit_code != 0 and result.exception is not None and isinstance(result.exception, SystemExit)
    assert words in result.output, result.output
    assert result.output.strip().splitlines()[-1].startswith(("Error:", "error:"))


def test_fit_prints_what_it_read_then_epochs_then_errors(data, tmp_path):
    result = run(data, "-o", tmp_path / "run", "--epochs", "2", *SMALL)
    assert result.exit_code == 0, result.output
    assert "12 frames" in result.output and "epoch    2/2" in result.output
    table = result.output.partition("errors of the best model")[2].splitlines()
    assert [line.split()[2] for line in table if line.strip().startswith("test ")] == ["energy", "forces", "stress"]
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())["settings"]
    assert settings["model"]["channels"] == 8 and settings["epochs"] == 2


def test_resume_goes_on_and_init_from_starts_from_a_model(data, tmp_path):
    assert run(data, "-o", tmp_path / "run", "--epochs", "2", *SMALL).exit_code == 0
    again = run(data, "-o", tmp_path / "run", "--epochs", "2", *SMALL, "--resume")
    assert again.exit_code == 0 and "resumed after epoch 2" in again.output
    changed = run(data, "-o", tmp_path / "run", "--epochs", "3", *SMALL, "--resume")
    refused(changed, "epochs: 2 → 3")
    best = tmp_path / "run" / "best.safetensors"
    assert run(data, "-o", tmp_path / "tuned", "--epochs", "1", "--init-from", best).exit_code == 0
    assert run(data, "-o", tmp_path / "tuned", "--resume").exit_code == 0
    elsewhere = run(data, "-o", tmp_path / "tuned", "--init-from", "default", "--resume")
    refused(elsewhere, f"init_from: {best} → default")


def test_weights_that_are_started_from_are_the_best_until_an_epoch_is_better(data, tmp_path):
    """On labels of their own nothing is better than they are; `--rate` reaches all parts."""
    assert run(data, "-o", tmp_path / "run", "--epochs", "2", *SMALL).exit_code == 0
    start = tmp_path / "run" / "best.safetensors"
    frames = read_dataset(data)
    own = predict_all(Reference(load_model(start).potential, torch.float64), frames.structures)
    labelled = replace(frames, energy=own.energy, forces=own.forces, stress=own.stress)
    write_dataset(labelled, tmp_path / "own.h5")
    ruined = run(tmp_path / "own.h5", "-o", tmp_path / "tuned", "--epochs", "1", "--init-from", start, "--rate", "0.5")
    assert ruined.exit_code == 0 and re.search(r"start: validation +0\.0 meV/atom +0\.0 meV/Å", ruined.output)
    assert f"warning: no epoch was better than {start}, from which the fit started" in ruined.output
    last = ruined.output.rstrip().splitlines()[-1]
    assert last == f"the best model, of epoch 0 of 1, is in {tmp_path}/tuned/best.safetensors"
    settings = json.loads((tmp_path / "tuned" / "settings.json").read_text())["settings"]
    assert {settings[f"rate_{part}"] for part in ("embedding", "blocks", "readout")} == {0.5}
    with safe_open(start, "np") as before, safe_open(tmp_path / "tuned" / "best.safetensors", "np") as after:
        assert all((before.get_tensor(name) == after.get_tensor(name)).all() for name in before.keys())
    with safe_open(tmp_path / "tuned" / "last.safetensors", "np") as last, safe_open(start, "np") as before:
        assert any((before.get_tensor(name) != last.get_tensor(name)).any() for name in before.keys())


def test_the_model_that_a_fit_starts_from_is_read_and_checked_once(data, tmp_path, monkeypatch):
    assert run(data, "-o", tmp_path / "run", "--epochs", "1", *SMALL).exit_code == 0
    start = (tmp_path / "run" / "best.safetensors").rename(tmp_path / "start.safetensors")
    opened, checked = [], []
    original = read.ModelFile.check_golden
    monkeypatch.setattr(read, "safe_open", lambda path, form: (opened.append(path), safe_open(path, form))[1])
    monkeypatch.setattr(
        read.ModelFile, "check_golden", lambda file, predictor: (checked.append(file.path), original(file, predictor))
    )
    assert run(data, "-o", tmp_path / "tuned", "--epochs", "1", "--init-from", start).exit_code == 0
    assert opened.count(str(start)) == 1
    assert checked.count(start) == 2, "by the network and by the engine that finds the zero of its energies"


def test_all_settings_are_listed_with_their_values():
    listed = run("--list-settings")
    assert listed.exit_code == 0
    shown = " ".join(listed.output.split())
    for settings in (FitSettings, *(settings for _, settings in FAMILIES.values())):
        for setting in fields(settings):
            assert re.search(rf"(?<![.\w]){setting.name}(=|, |:)", shown), setting.name
    assert f"epochs={FitSettings().epochs}, " in shown and "energy_weight=[0.05,4.0], " in shown


def test_a_list_may_be_given_without_brackets_and_nothing_twice(data, tmp_path):
    done = run(data, "-o", tmp_path / "run", "--epochs", "1", "--set", "energy_weight=0.1,2", *SMALL)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["settings"]["energy_weight"] == [0.1, 2.0]
    refused(run(data, "-o", tmp_path / "x", "--seed", 3, "--set", "seed=4"), "seed is given by --set and by an option")
    refused(run(data, "-o", tmp_path / "x", "--set", "ema=0.9", "--set", "ema=0.99"), "ema is given twice")


def test_what_a_label_that_is_absent_asks_for_can_be_given(data, tmp_path):
    blind = read_dataset(data)
    write_dataset(replace(blind, stress=np.full_like(blind.stress, np.nan)), tmp_path / "blind.h5")
    arguments = [tmp_path / "blind.h5", "-o", tmp_path / "run", "--epochs", "1", *SMALL]
    stopped = run(*arguments)
    refused(stopped, "leave stress out of the fit (--set stress_weight=0)")
    assert run(*arguments, "--set", "stress_weight=0").exit_code == 0


def test_weights_of_another_family_cannot_start_a_fit(data, tmp_path):
    done = run(data, "-o", tmp_path / "run", "--family", "ani", "--init-from", "default")
    refused(done, "default is of family schnet and cannot start a fit of family ani")


SPECIAL = ["--split", "0.5,0.25,0.25", "--seed", "3", "--epochs", "2", "--licence", "MIT", "--set", "batch_atoms=5"]


def stop_after(epochs: int, monkeypatch) -> None:
    """Ctrl-C in the epoch that follows."""
    original = Trainer.run_epoch

    def run_epoch(trainer, report):
        if trainer.progress.epoch == epochs:
            raise KeyboardInterrupt
        return original(trainer, report)

    monkeypatch.setattr(Trainer, "run_epoch", run_epoch)


@pytest.mark.parametrize(("epochs", "where"), [(0, "before the end of the first epoch"), (1, "after epoch 1")])
def test_ctrl_c_says_where_it_stopped_and_resume_needs_no_setting(data, tmp_path, monkeypatch, epochs, where):
    folder = tmp_path / "my run"
    whole = run(data, "-o", tmp_path / "whole", *SPECIAL, *SMALL)
    assert whole.exit_code == 0, whole.output
    with monkeypatch.context() as patch:
        stop_after(epochs, patch)
        stopped = run(data, "-o", folder, *SPECIAL, *SMALL)
    assert stopped.exit_code == 130
    assert stopped.stderr.splitlines()[-1] == (
        f"interrupted {where}; resume with: ru-calc fit {data} -o '{folder}' --resume"
    )
    assert "Aborted" not in stopped.output
    resumed = run(data, "-o", folder, "--resume")
    assert resumed.exit_code == 0, resumed.output
    one, two = (load_model(path / "last.safetensors") for path in (tmp_path / "whole", folder))
    assert one.header["golden_energies_eV"] == two.header["golden_energies_eV"]
    assert one.header["fit"] == two.header["fit"] and two.header["licence"] == "MIT"


def test_ctrl_c_before_anything_is_written_says_to_start_again(data, tmp_path, monkeypatch):
    def interrupted(dataset):
        raise KeyboardInterrupt

    monkeypatch.setattr("ru_calc.dataset.summary.summary", interrupted)
    stopped = run(data, "-o", tmp_path / "run", *SMALL)
    assert stopped.exit_code == 130 and not (tmp_path / "run").exists()
    assert stopped.stderr.splitlines()[-1] == "interrupted before the fit began; give the same command again"


STAYING = """
import os, signal, time
from ru_calc.cli import main
from ru_calc.fit.trainer import Trainer

def run_epoch(trainer, report, original=Trainer.run_epoch):
    if trainer.progress.epoch == 1:
        time.sleep(30)
        os._exit(3)  # what is still in a buffer is lost
    return original(trainer, report)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
Trainer.run_epoch = run_epoch
main()
"""


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_fit_in_a_pipe_shows_its_lines_at_once_and_ends_when_told_to(data, tmp_path, by):
    arguments = ["fit", data, "-o", tmp_path / "run", *SMALL, "--epochs", 7]
    command = [sys.executable, "-c", STAYING, *map(str, arguments)]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=buffered)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("epoch    1/7"):
            process.send_signal(by)
            break
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted after epoch 1; resume with: ru-calc fit " in errors
    assert lines[-2].startswith("7 epochs of ") and " training and " in lines[-2]


def test_a_committee_ends_with_a_table_and_ctrl_c_in_it_says_how_to_go_on(data, tmp_path, monkeypatch):
    arguments = [data, "-o", tmp_path / "run", "--committee", "2", "--epochs", "2", *SMALL]
    original = Trainer.run_epoch

    def stopping(trainer, report):
        if (trainer.settings.seed, trainer.progress.epoch) == (1, 1):
            raise KeyboardInterrupt
        return original(trainer, report)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_epoch", stopping)
        stopped = run(*arguments)
    assert stopped.exit_code == 130
    assert stopped.stderr.splitlines()[-1] == (
        f"interrupted after epoch 1 of member_2; resume with: ru-calc fit {data} -o {tmp_path / 'run'} --resume"
    )
    refused(run(*arguments), "already holds a fit")
    refused(run(data, "-o", tmp_path / "run", "--resume", "--committee", "3"), "committee: 2 → 3")
    resumed = run(data, "-o", tmp_path / "run", "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert "member_1: already finished" in resumed.output and "member_2: resumed after epoch 1" in resumed.output
    assert (tmp_path / "run" / "committee.md").read_text().strip() in resumed.stdout


def test_a_single_fit_is_not_resumed_as_a_committee(stopped_fit):
    data, folder = stopped_fit
    refused(run(data, "-o", folder, "--resume", "--committee", "2"), "holds a single fit, not a committee")


def test_a_run_folder_of_before_batches_were_packed_by_pairs_goes_on(data, tmp_path, monkeypatch):
    """As it was stored then: `batch_atoms` 64, and neither the settings nor the hyper-parameter that came later."""
    earlier = ["--epochs", "2", "--set", "batch_atoms=64", "--set", "open_batches=1", *SMALL[:-2]]
    earlier += ["--set", "model.spline_intervals=0"]
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        assert run(data, "-o", tmp_path / "run", *earlier).exit_code == 130
    record = json.loads((tmp_path / "run" / "settings.json").read_text())
    for name in ("batch_pairs", "open_batches", "split_seed"):
        del record["settings"][name]
    del record["settings"]["model"]["spline_intervals"], record["checksum"]
    (tmp_path / "run" / "settings.json").write_text(json.dumps(record))
    resumed = run(data, "-o", tmp_path / "run", "--resume")
    assert resumed.exit_code == 0 and "resumed after epoch 1" in resumed.output, resumed.output
    refused(run(data, "-o", tmp_path / "run", "--resume", "--set", "batch_pairs=780"), "batch_pairs: 0 → 780")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seed", "4"], "seed: 3 → 4"),
        (["--split", "0.6,0.2,0.2"], "split: [0.5, 0.25, 0.25] → [0.6, 0.2, 0.2]"),
        (["--set", "model.channels=16"], "model.channels: 8 → 16"),
        (["--set", "ema=0.9"], "ema: 0.999 → 0.9"),
        (["--preset", "paper"], "settings: preset: md → paper"),
        (["--family", "paper"], "family: schnet → paper"),
        (["--init-from", "default"], "init_from: None → default"),
    ],
)
def test_what_differs_from_the_fit_that_goes_on_is_refused_by_name(stopped_fit, options, words):
    data, folder = stopped_fit
    result = run(data, "-o", folder, "--resume", *options)
    refused(result, f"cannot resume with changed settings: {words}" if "settings" not in words else words)
    assert not result.stdout


def test_what_is_the_same_may_be_repeated(stopped_fit, monkeypatch):
    data, folder = stopped_fit
    monkeypatch.setattr(Trainer, "run_epoch", lambda trainer, report: 1 / 0)
    again = run(data, "-o", folder, "--resume", "--preset", "md", "--family", "schnet", *SPECIAL, *SMALL)
    assert isinstance(again.exception, ZeroDivisionError), again.output


@pytest.mark.parametrize("family", FAMILIES)
def test_stored_settings_of_every_family_are_read_back(family):
    settings = with_changes("md", {"family": family, "epochs": 7})
    stored = json.loads(json.dumps(asdict(settings)))
    assert differences(stored, with_changes_to(stored, None, {})) == []
    assert differences(stored, with_changes_to(stored, None, {"epochs": 8})) == ["epochs: 7 → 8"]


@pytest.mark.parametrize(
    "options, words",
    [
        (["--set", "speed=1"], "no setting 'speed'"),
        (["--set", "model.depth=1"], "no hyper-parameter 'depth'"),
        (["--set", "nonsense"], "not NAME=VALUE"),
        (["--preset", "fast"], "'fast' is not one of"),
        (["--epochs", "0"], "0 is not in the range"),
        (["--split", "a,b"], "three fractions"),
        (["--split", "0.5,0.2,0.2"], "add up to 1"),
        (["--init-from", "nowhere"], "no model 'nowhere'"),
        (["--family", "magic"], "family is 'magic'"),
        (["--split", "0.5,0.5"], "split is (0.5, 0.5); it must be a list of 3 numbers"),
        (["--split", "0.8,0,0.2"], "such that it has validation frames"),
        (["--resume"], "no fit to resume"),
        (["--set", "model.l_max=abc"], "model.l_max is 'abc'; it must be a whole number, as --set model.l_max=6"),
        (["--set", "model.l_max=-1"], "l_max is -1; it must be at least 1"),
        (["--set", "huber_delta=0"], "huber_delta is 0; it must be positive"),
        (["--set", "forces_share=-1"], "forces_share is -1; it must be at least 0"),
        (["--set", "energy_weight=abc"], "energy_weight is 'abc'; it must be a list of 2 numbers"),
        (["--set", "ema=null"], "ema is None; it must be a number"),
        (["--committee", "1"], "1 is not in the range x>=2"),
        (["--committee", "2", "--resume"], "no fit to resume"),
        (["--device", "tpu"], "'tpu' is not one of auto, cpu, cuda, cuda:N"),
        (["--device", "cuda:99"], "device is 'cuda:99', but"),
    ],
)
def test_bad_options_are_refused_in_one_line_before_the_data_are_read(tmp_path, options, words):
    result = run(tmp_path / "no-such-data.h5", "-o", tmp_path / "run", *options)
    refused(result, words)
    assert not result.stdout and not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_resumed_is_refused_before_the_data_are_read(data, tmp_path):
    folder = tmp_path / "run"
    assert run(data, "-o", folder, "--epochs", "1", *SMALL).exit_code == 0
    again = ["-o", folder, "--epochs", "1", *SMALL]
    state = (folder / "state.safetensors").read_bytes()
    for spoil, options, words in (
        (None, [], "already holds a fit"),
        (None, ["--resume", "--seed", "1"], "seed: 0 → 1"),
        ("state.safetensors", ["--resume"], "not a whole training state"),
        ("settings.json", ["--resume"], "settings.json is damaged"),
    ):
        if spoil:
            (folder / spoil).write_bytes(state[:100])
        result = run(tmp_path / "no-such-data.h5", *again, *options)
        refused(result, words)
        assert not result.stdout


def test_threads_reach_torch_in_a_fit(data, tmp_path, monkeypatch, torch_threads):
    seen = []

    def first_epoch(trainer, report):
        seen.append(torch_threads())
        raise RuCalcError("seen enough")

    monkeypatch.setattr(Trainer, "run_epoch", first_epoch)
    for name, options in (("one", SMALL[:-2]), ("two", [*SMALL[:-2], "--threads", "2"])):
        assert "seen enough" in run(data, "-o", tmp_path / name, *options).stderr
    assert seen == [1, 2]


def test_missing_and_foreign_data_are_refused(tmp_path):
    refused(run(tmp_path / "none.h5", "-o", tmp_path / "run"), "no data file")
    (tmp_path / "text.h5").write_text("not HDF5")
    told = f"not a complete HDF5 file; make one from files that ASE reads: ru-calc convert {tmp_path}"
    refused(run(tmp_path / "text.h5", "-o", tmp_path / "run"), told)
    assert not (tmp_path / "run").exists()


def test_an_output_that_cannot_be_made_is_refused(data, tmp_path):
    (tmp_path / "file").write_text("")
    refused(run(data, "-o", tmp_path / "file", *SMALL), "cannot be made")
