"""A whole fit on a few frames: what it writes, what it refuses, and that a killed one goes on to the same result."""

import csv
import json
import os
import shutil
import signal
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from forked import ended, forked
from labelled import SMALL_FIT, lj_frames, quiet

from ru_calc import kernels
from ru_calc.dataset import Dataset
from ru_calc.errors import DataError, RuCalcError, SettingsError
from ru_calc.evaluate.metrics import Comparison, compare
from ru_calc.files import write_text
from ru_calc.fit import report as fit_report
from ru_calc.fit import run as fit_run
from ru_calc.fit import trainer as trainer_module
from ru_calc.fit.begin import atom_energy
from ru_calc.fit.report import divergence
from ru_calc.fit.run import FitInput, run_fit
from ru_calc.fit.settings import with_changes
from ru_calc.fit.start import FIT
from ru_calc.fit.state import read_state
from ru_calc.fit.trainer import Trainer
from ru_calc.modelfiles import load_model
from ru_calc.modelfiles.read import read_model_file
from ru_calc.potentials.derivatives import Reference

SMALL = {**SMALL_FIT, "epochs": 4}


@pytest.fixture
def dataset() -> Dataset:
    return Dataset.from_atoms(lj_frames(20))


def job(dataset, folder, preset="md", **changes) -> FitInput:
    return FitInput(dataset, folder, with_changes(preset, {**SMALL, **changes}))


def test_a_fit_writes_models_logs_plots_and_split(dataset, tmp_path):
    lines = []
    metrics = run_fit(job(dataset, tmp_path / "run"), say=lines.append)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "settings.json", "split.json", "log.csv", "best.safetensors", "last.safetensors", "state.safetensors",
        "learning_curves.png", "parity.png", "metrics.json",
    }  # fmt: skip
    with open(tmp_path / "run" / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert sum(line.startswith("epoch") and "meV/atom" in line and "GPa" in line for line in lines) == 4
    assert set(metrics) == {"train", "validation", "test"}
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert sorted(split["train"] + split["validation"] + split["test"]) == list(range(20))
    assert load_model(tmp_path / "run" / "best.safetensors").header["data"] == dataset.fingerprint()


@pytest.mark.parametrize("intervals", [0, 64])
def test_the_errors_at_the_end_are_those_of_the_network_itself(dataset, tmp_path, intervals):
    lines = []
    found = run_fit(job(dataset, tmp_path / "run", **{"model.spline_intervals": intervals}), say=lines.append)
    assert any("in float64 by the compiled engine" in line for line in lines)
    best = Reference(load_model(tmp_path / "run" / "best.safetensors").potential, torch.float64)
    for part, frames in json.loads((tmp_path / "run" / "split.json").read_text()).items():
        if part != "data":
            own = dataset.select(frames)
            predicted = best.predict(own.structures)
            wanted = Comparison(own, predicted.energy, predicted.forces, predicted.stress).row()
            assert found[part] == pytest.approx(wanted, rel=1e-9 if intervals else 1e-5)


def test_a_fit_learns(dataset, tmp_path):
    faster = {f"rate_{part}": 1e-2 for part in ("embedding", "blocks", "readout")}
    run_fit(job(dataset, tmp_path / "run", epochs=25, **faster), say=quiet)
    with open(tmp_path / "run" / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["validation_loss"]) < 0.3 * float(rows[0]["validation_loss"])


class Killed(Exception):
    pass


@pytest.mark.parametrize("preset", ["md", "paper"])
def test_a_killed_fit_resumes_to_the_result_of_an_unbroken_one(dataset, tmp_path, monkeypatch, preset):
    changes = {"epochs": 6, "accumulate": 3, "batch_frames": 2, "batch_atoms": 0}
    if preset == "paper":
        changes |= {"ramp": [0.3, 1.0], "rate_embedding": 1e-3, "clip_norm": 1.0}
    small = {k: v for k, v in SMALL.items() if not k.startswith("model.")}
    settings = with_changes(preset, {**(SMALL if preset == "md" else small), **changes})
    whole = FitInput(dataset, tmp_path / "whole", settings)
    run_fit(whole, say=quiet)
    original, calls = Trainer.step, []

    def dying(self, *args):
        calls.append(1)
        if len(calls) == 17:
            raise Killed
        return original(self, *args)

    monkeypatch.setattr(Trainer, "step", dying)
    broken = replace(whole, folder=tmp_path / "broken")
    with pytest.raises(Killed):
        run_fit(broken, say=quiet)
    monkeypatch.setattr(Trainer, "step", original)
    run_fit(broken, resume=True, say=quiet)
    one, two = (load_model(tmp_path / name / "last.safetensors") for name in ("whole", "broken"))
    for name, value in one.potential.state_dict().items():
        assert torch.equal(value, two.potential.state_dict()[name]), name
    assert one.header["golden_energies_eV"] == two.header["golden_energies_eV"]


def test_a_fit_is_resumed_with_the_split_that_it_began_with(dataset, tmp_path):
    """An earlier version may have split otherwise: no test frame may come into training."""
    run_fit(job(dataset, tmp_path / "run"), say=quiet)
    path = tmp_path / "run" / "split.json"
    split = json.loads(path.read_text())
    split["train"][0], split["test"][0] = split["test"][0], split["train"][0]
    path.write_text(json.dumps(split))
    (tmp_path / "run" / "state.safetensors").unlink()
    (tmp_path / "run" / "metrics.json").unlink()
    first = load_model(tmp_path / "run" / "last.safetensors").potential.state_dict()
    run_fit(job(dataset, tmp_path / "run"), resume=True, say=quiet)
    again = load_model(tmp_path / "run" / "last.safetensors").potential.state_dict()
    assert json.loads(path.read_text()) == split
    assert any(not torch.equal(first[name], again[name]) for name in first)


def test_resuming_without_the_optimisers_moments_is_another_result(dataset, tmp_path, monkeypatch):
    """Sabotage of the test above: a state that forgets something must show."""
    run_fit(job(dataset, tmp_path / "part"), say=quiet)
    first = load_model(tmp_path / "part" / "last.safetensors").potential.state_dict()
    original = Trainer.load_state

    def forgetful(self, path):
        original(self, path)
        self.progress.epoch = 2
        self.optimizer.state.clear()

    monkeypatch.setattr(Trainer, "load_state", forgetful)
    run_fit(job(dataset, tmp_path / "part"), resume=True, say=quiet)
    again = load_model(tmp_path / "part" / "last.safetensors").potential.state_dict()
    assert any(not torch.equal(first[name], again[name]) for name in first)


def test_resume_names_the_setting_that_changed(dataset, tmp_path):
    run_fit(job(dataset, tmp_path / "run"), say=quiet)
    with pytest.raises(SettingsError, match="batch_atoms: 6 → 8"):
        run_fit(job(dataset, tmp_path / "run", batch_atoms=8), resume=True, say=quiet)
    with pytest.raises(SettingsError, match="data:"):
        run_fit(job(dataset.select(range(18)), tmp_path / "run"), resume=True, say=quiet)
    with pytest.raises(SettingsError, match="already holds a fit"):
        run_fit(job(dataset, tmp_path / "run"), say=quiet)
    with pytest.raises(SettingsError, match="no fit to resume"):
        run_fit(job(dataset, tmp_path / "new"), resume=True, say=quiet)


def test_a_damaged_state_is_refused(dataset, tmp_path):
    run_fit(job(dataset, tmp_path / "run"), say=quiet)
    state = tmp_path / "run" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(RuCalcError, match="not a whole training state"):
        run_fit(job(dataset, tmp_path / "run"), resume=True, say=quiet)


def test_a_changed_bit_of_the_state_is_refused(dataset, tmp_path):
    """Of weights, moments and progress alike; nothing else in the folder changes."""
    run_fit(job(dataset, tmp_path / "run"), say=quiet)
    state = tmp_path / "run" / "state.safetensors"
    whole, bits = state.read_bytes(), np.random.default_rng(0)
    length = int.from_bytes(whole[:8], "little")
    places = [8 + length + int(k) for k in bits.integers(len(whole) - 8 - length, size=20)]
    places += [whole.index(name) + len(name) + 5 for name in (b"best_loss", b"best_epoch")]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1
        state.write_bytes(damaged)
        with pytest.raises(RuCalcError, match=r"not a whole training state .*; copy it again, or start"):
            read_state(state)
    with pytest.raises(RuCalcError, match="not a whole training state"):
        run_fit(job(dataset, tmp_path / "run"), resume=True, say=quiet)
    state.write_bytes(whole)
    assert read_state(state).progress.epoch > 0


def test_a_requested_label_that_is_absent_is_refused_before_training(dataset, tmp_path):
    blind = replace(dataset, stress=np.full_like(dataset.stress, np.nan))
    with pytest.raises(DataError, match="none of the 20 frames has stress"):
        run_fit(job(blind, tmp_path / "run"), say=quiet)
    assert not (tmp_path / "run").exists()
    run_fit(job(blind, tmp_path / "run", stress_weight=[0, 0]), say=quiet)


def test_fine_tuning_starts_from_the_given_weights(dataset, tmp_path):
    run_fit(job(dataset, tmp_path / "run"), say=quiet)
    best = str(tmp_path / "run" / "best.safetensors")
    rates = {f"rate_{part}": 1e-12 for part in ("embedding", "blocks", "readout")}
    tuned = replace(job(dataset, tmp_path / "tuned", epochs=1, weight_decay=0.0, **rates), init_from=best)
    run_fit(tuned, say=quiet)
    before, after = load_model(best), load_model(tmp_path / "tuned" / "best.safetensors")
    for name, value in before.potential.state_dict().items():
        torch.testing.assert_close(value, after.potential.state_dict()[name], atol=1e-6, rtol=0)
    with pytest.raises(SettingsError, match="channels = 8, the settings say 12"):
        other = {**SMALL, "model.channels": 12}
        run_fit(FitInput(dataset, tmp_path / "x", with_changes("md", other), init_from=best), say=quiet)
    assert not (tmp_path / "x").exists()


def test_fine_tuning_reads_tables_as_fine_as_its_settings_say(dataset, tmp_path):
    run_fit(job(dataset, tmp_path / "run", epochs=1, **{"model.spline_intervals": 0}), say=quiet)
    best = str(tmp_path / "run" / "best.safetensors")
    assert load_model(best).potential.settings.spline_intervals == 0
    tuned = replace(job(dataset, tmp_path / "tuned", epochs=1, **{"model.spline_intervals": 24}), init_from=best)
    run_fit(tuned, say=quiet)
    assert load_model(tmp_path / "tuned" / "best.safetensors").potential.settings.spline_intervals == 24


@pytest.mark.parametrize(("intervals", "says"), [(24, 1), (0, 0)])
def test_a_fit_without_compiled_passes_says_so_if_its_network_has_some(dataset, tmp_path, monkeypatch, intervals, says):
    monkeypatch.setattr(kernels, "fastest", lambda: None)
    made, lines = job(dataset, tmp_path / "run", epochs=1), []
    settings = replace(made.settings, model={**made.settings.model, "spline_intervals": intervals})
    run_fit(replace(made, settings=settings), say=lines.append)
    assert sum("the compiled passes are missing" in line for line in lines) == says


def test_a_fit_stops_when_validation_gets_no_better(dataset, tmp_path):
    lines = []
    run_fit(job(dataset, tmp_path / "run", epochs=50, patience=2, rate_blocks=1.0, rate_readout=1.0), say=lines.append)
    assert any("stopped early" in line for line in lines)


def test_a_fit_that_would_never_step_is_refused_and_leaves_nothing(dataset, tmp_path):
    with pytest.raises(SettingsError, match=r"accumulate is 500, but all epochs together have [0-9]+ batches"):
        run_fit(job(dataset, tmp_path / "run", accumulate=500), say=quiet)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("quantity", ["energy", "forces", "stress"])
def test_a_fit_that_diverges_ends_with_the_cause_and_keeps_its_best(dataset, tmp_path, monkeypatch, quantity):
    """In whatever is predicted, on the training frames or on those of the validation."""
    start = job(dataset, tmp_path / "start", epochs=1)
    run_fit(start, say=quiet)
    original, calls = trainer_module.differentiate, []

    def broken(*arguments, **options):
        found, training = original(*arguments, **options), options.get("training", False)
        calls.append(training)
        if training == on_training and (training or calls.count(True)):
            value = getattr(found, quantity)
            return replace(found, **{quantity: torch.cat([value[:1] * float("nan"), value[1:]])})
        return found

    monkeypatch.setattr(trainer_module, "differentiate", broken)
    for on_training, words in ((True, "frames"), (False, "on the validation frames")):
        folder = tmp_path / f"run_{on_training}"
        going_on = FitInput(dataset, folder, start.settings, init_from=str(tmp_path / "start" / "best.safetensors"))
        calls.clear()
        with pytest.raises(RuCalcError, match=f"the loss is nan in epoch 1, {words}.*has diverged"):
            run_fit(going_on, say=quiet)
        one, two = (load_model(f / "best.safetensors").potential.state_dict() for f in (tmp_path / "start", folder))
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_labels_that_count_from_another_zero_move_the_energy_of_an_atom_not_the_weights(dataset, tmp_path):
    run_fit(job(dataset, tmp_path / "run"), say=quiet)
    start = tmp_path / "run" / "best.safetensors"
    own = load_model(start).potential
    energy = Reference(own, torch.float64).predict(dataset.structures, want=("energy",)).energy
    counts = dataset.structures.counts
    for shift, moved in ((-2500.0, True), (0.02, False)):
        lines = []
        other = replace(dataset, energy=energy + shift * counts)
        settings = with_changes("md", {**SMALL, "epochs": 1, "rate_readout": 1e-9, "rate_embedding": 1e-9,
                                       "rate_blocks": 1e-9})  # fmt: skip
        run_fit(FitInput(other, tmp_path / f"tuned_{moved}", settings, init_from=str(start)), say=lines.append)
        tuned = load_model(tmp_path / f"tuned_{moved}" / "best.safetensors").potential
        found = tuned.settings.atom_energy_eV - own.settings.atom_energy_eV
        assert found == pytest.approx(shift if moved else 0.0, abs=1e-6)
        assert any("shifted by -2500.0000 eV/atom" in line for line in lines) == moved
        for name, value in own.state_dict().items():
            torch.testing.assert_close(tuned.state_dict()[name], value, rtol=0, atol=1e-5)


def test_the_energy_of_an_atom_that_is_asked_for_comes_before_that_of_the_start(dataset, tmp_path):
    run_fit(job(dataset, tmp_path / "run", epochs=1), say=quiet)
    asked = job(dataset, tmp_path / "tuned", epochs=1, **{"model.atom_energy_eV": -5.0})
    run_fit(replace(asked, init_from=str(tmp_path / "run")), say=quiet)
    assert load_model(tmp_path / "tuned").potential.settings.atom_energy_eV == -5.0
    blind = replace(dataset, energy=np.full_like(dataset.energy, np.nan))
    asked = job(blind, tmp_path / "blind", epochs=1, energy_weight=0, **{"model.atom_energy_eV": -5.0})
    run_fit(replace(asked, init_from=str(tmp_path / "run")), say=quiet)
    assert load_model(tmp_path / "blind").potential.settings.atom_energy_eV == -5.0


def test_a_loss_beyond_reason_is_a_fit_that_diverged(dataset, tmp_path):
    wild = {f"rate_{part}": 1e4 for part in ("embedding", "blocks", "readout")}
    with pytest.raises(
        RuCalcError, match=r"in epoch 1.*has diverged, and no epoch is kept; start anew in another folder"
    ):
        run_fit(job(dataset, tmp_path / "run", clip_norm=1e9, **wild), say=quiet)


def test_following_the_training_frames_too_closely_is_told_from_parts_of_other_scale():
    label = np.random.default_rng(0).normal(size=90)

    def errors(scale: float, error: float):
        found = compare(scale * label, scale * label + error * np.roll(label, 1))
        return dict.fromkeys(("energy", "forces", "stress"), found)

    told = divergence({"train": errors(1.0, 0.1), "test": errors(2.0, 0.2)})
    assert len(told) == 1 and told[0].startswith("energy: the test MAE is 2.0 times")
    told = divergence({"train": errors(1.0, 0.1), "test": errors(1.0, 0.2)})
    assert [line.split(":")[0] for line in told] == ["energy", "forces", "stress"]


def test_a_finished_fit_that_is_resumed_says_so(dataset, tmp_path):
    run_fit(job(dataset, tmp_path / "run", epochs=1), say=quiet)
    lines = []
    run_fit(job(dataset, tmp_path / "run", epochs=1), resume=True, say=lines.append)
    assert "resumed after epoch 1: already finished" in lines
    assert lines[-1] == f"the best model, of epoch 1 of 1, is in {tmp_path}/run/best.safetensors"


def test_isolated_atom_sets_the_zero_of_energy(dataset):
    from ase import Atoms
    from labelled import labelled

    said = []
    assert atom_energy(dataset, said.append) == pytest.approx(
        float((dataset.energy / dataset.structures.counts).min()) + 6.68
    )
    assert "isolated atom" in said[0]
    lone = labelled(Atoms("Ru", cell=[15, 15, 15], pbc=True), energy=-2.0)
    assert atom_energy(Dataset.from_atoms([*lj_frames(2), lone])) == -2.0
    ground = labelled(Atoms("Ru", cell=[15, 15, 15], pbc=True), energy=-3.0)
    assert atom_energy(Dataset.from_atoms([lone, ground, *lj_frames(2)]), said.append) == -3.0
    assert said[-1] == "isolated atom: -3.0000 eV, the lowest of 2 frames"
    blind = replace(dataset, energy=np.full_like(dataset.energy, np.nan))
    assert atom_energy(blind, said.append) == 0.0 and "zero of the model's energies is arbitrary" in said[-1]


# Kills


def test_a_fit_killed_before_any_of_its_files_is_finished_by_a_resume(dataset, tmp_path, monkeypatch):
    """Killed by SIGKILL where a file is about to take its name, one after the other; nothing is missing at the end."""
    for module, name in ((fit_run, "learning_curves"), (fit_report, "parity_plot")):  # files that take no time
        monkeypatch.setattr(module, name, lambda path, *arguments, **options: write_text(path, "a figure"))
    run_fit(job(dataset, tmp_path / "start", epochs=1), say=quiet)
    start = str(tmp_path / "start" / "best.safetensors")
    whole = replace(job(dataset, tmp_path / "whole", epochs=1), init_from=start)
    run_fit(whole, say=quiet)
    wanted = {path.name for path in whole.folder.iterdir()}
    weights = load_model(whole.folder / "best.safetensors").potential.state_dict()
    for count in range(30):
        one = replace(whole, folder=tmp_path / f"killed-{count}")
        if ended(forked(partial(_fit_killed_at, one, count))) == 0:
            break
        run_fit(one, resume=FIT.begun(one.folder), say=quiet)
        assert {path.name for path in one.folder.iterdir()} == wanted, f"after {count} files"
        found = load_model(one.folder / "best.safetensors").potential.state_dict()
        assert all(torch.equal(weights[name], found[name]) for name in weights), f"after {count} files"
    assert count >= 9


def _fit_killed_at(one: FitInput, count: int) -> None:
    renamed = os.replace
    left = [count]

    def replace_or_die(*paths: object) -> None:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        renamed(*paths)

    os.replace = replace_or_die
    run_fit(one, say=quiet)


def test_a_model_to_start_from_that_changed_is_not_taken_for_the_old_one(dataset, tmp_path):
    run_fit(job(dataset, tmp_path / "start", epochs=1), say=quiet)
    start = str(tmp_path / "start" / "best.safetensors")
    tuned = replace(job(dataset, tmp_path / "tuned", epochs=1), init_from=start)
    first = read_model_file(start).sha256
    run_fit(tuned, say=quiet)
    assert load_model(tuned.folder / "best.safetensors").header["init_from_sha256"] == first
    run_fit(job(dataset, tmp_path / "other", epochs=1, seed=5), say=quiet)
    shutil.copy(tmp_path / "other" / "best.safetensors", start)
    run_fit(tuned, resume=True, say=quiet)  # its state does not need it any more
    assert load_model(tuned.folder / "best.safetensors").header["init_from_sha256"] == first
    (tuned.folder / "state.safetensors").unlink()
    with pytest.raises(SettingsError, match=r"init_from: .*best.safetensors \(\w{12}\) → .*\(\w{12}\)"):
        run_fit(replace(tuned), resume=True, say=quiet)
