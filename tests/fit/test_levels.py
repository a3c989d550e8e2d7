"""Several levels of theory in one fit: what they share, what each has for itself, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled import SMALL_FIT, lj_frames, quiet

from ru_calc.dataset import Dataset
from ru_calc.errors import DataError, SettingsError
from ru_calc.fit.levels import by_level, fingerprint
from ru_calc.fit.run import FitInput, run_fit, splits_of, start_trainer
from ru_calc.fit.settings import with_changes
from ru_calc.fit.trainer import Trainer, epoch_batches
from ru_calc.modelfiles import load_model

pytestmark = pytest.mark.usefixtures("without_plots")
FINE = Dataset.from_atoms(lj_frames(20), level_of_theory="fine")
COARSE = Dataset.from_atoms(lj_frames(30, seed=1), level_of_theory="coarse")
COARSE = replace(COARSE, energy=COARSE.energy - 3.0 * COARSE.structures.counts)


def job(folder: Path, others: tuple[Dataset, ...] = (COARSE,), **changes) -> FitInput:
    settings = with_changes("md", {**SMALL_FIT, "epochs": 3, **changes})
    return FitInput(FINE, folder, settings, others=others)


def trainer_of(folder: Path, **changes) -> Trainer:
    torch.manual_seed(0)
    made = job(folder, **changes)
    return start_trainer(made, splits_of(made), quiet)


def state(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path).potential.state_dict()


def test_levels_share_all_weights_but_their_own_parts_and_zeros(tmp_path):
    run_fit(job(tmp_path / "run"), say=quiet)
    fine, coarse = (load_model(tmp_path / "run" / f"best{k}.safetensors") for k in ("", "_2"))
    one, two = fine.potential.state_dict(), coarse.potential.state_dict()
    differing = {name.split(".")[0] for name in one if not torch.equal(one[name], two[name])}
    assert differing == {"energy"}
    assert (fine.header["level_of_theory"], coarse.header["level_of_theory"]) == ("fine", "coarse")
    assert list(fine.header["other_levels"]) == ["coarse"]
    gap = fine.potential.settings.atom_energy_eV - coarse.potential.settings.atom_energy_eV
    lowest = [(d.energy / d.structures.counts).min() for d in (FINE, COARSE)]
    assert gap == pytest.approx(lowest[0] - lowest[1])


def test_without_own_parts_levels_differ_in_their_zero_alone(tmp_path):
    run_fit(job(tmp_path / "run", own=[]), say=quiet)
    one, two = (state(tmp_path / "run" / f"best{k}.safetensors") for k in ("", "_2"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_errors_and_splits_of_every_level_are_written(tmp_path):
    run_fit(job(tmp_path / "run"), say=quiet)
    for number, data in (("", FINE), ("_2", COARSE)):
        metrics = json.loads((tmp_path / "run" / f"metrics{number}.json").read_text())
        split = json.loads((tmp_path / "run" / f"split{number}.json").read_text())
        assert split["data"] == data.fingerprint()
        assert metrics["test"]["frames"] == len(split["test"]) > 0


def test_the_other_level_is_learned_from(tmp_path):
    """Its frames change the shared weights, and its errors fall with training."""
    run_fit(job(tmp_path / "alone", others=()), say=quiet)
    run_fit(job(tmp_path / "both"), say=quiet)
    one, two = (state(tmp_path / name / "best.safetensors") for name in ("alone", "both"))
    assert any(not torch.equal(one[name], two[name]) for name in one)
    faster = {f"rate_{part}": 1e-2 for part in ("embedding", "blocks", "readout")}
    run_fit(job(tmp_path / "long", epochs=40, passes=[0.1, 1], keep="last", **faster), say=quiet)
    short, long = (json.loads((tmp_path / name / "metrics_2.json").read_text()) for name in ("both", "long"))
    name = "forces_MAE_meV_per_A"
    assert long["test"][name] < 0.7 * short["test"][name]


def test_passes_say_how_often_each_level_is_seen_in_an_epoch(tmp_path):
    levels, settings = trainer_of(tmp_path).levels, job(tmp_path, passes=[2, 0.5]).settings
    batches = epoch_batches(levels, settings, 0)
    seen = np.concatenate([frames for number, frames in batches if number == 0])
    assert np.array_equal(np.bincount(seen), np.full(len(levels[0].train), 2))
    once = len(levels[1].train.batches(settings, 0))
    assert sum(number == 1 for number, _ in batches) == round(0.5 * once)
    assert [number for number, _ in batches] != sorted(number for number, _ in batches)


def test_a_killed_fit_of_two_levels_resumes_to_the_result_of_an_unbroken_one(tmp_path, monkeypatch):
    whole = job(tmp_path / "whole", own=["energy"], passes=[1, 0.5])
    run_fit(whole, say=quiet)
    original, calls = Trainer.run_epoch, []

    def dying(self, *args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(Trainer, "run_epoch", dying)
    broken = replace(whole, folder=tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        run_fit(broken, say=quiet)
    monkeypatch.setattr(Trainer, "run_epoch", original)
    run_fit(broken, resume=True, say=quiet)
    for file in ("best.safetensors", "best_2.safetensors"):
        one, two = state(tmp_path / "whole" / file), state(tmp_path / "broken" / file)
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_another_set_of_another_level_is_refused_when_resuming(tmp_path):
    run_fit(job(tmp_path / "run", epochs=1), say=quiet)
    with pytest.raises(SettingsError, match=r"cannot resume with changed settings: data: "):
        run_fit(job(tmp_path / "run", others=(), epochs=1), resume=True, say=quiet)
    assert fingerprint([FINE]) == FINE.fingerprint()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"passes": [1]}, r"passes is \(1.0,\), but the data are of 2 levels of theory"),
        ({"own": ["head"]}, r"own is head; the parts of family schnet are .*energy"),
    ],
)
def test_settings_that_do_not_fit_the_levels_are_refused(tmp_path, changes, message):
    with pytest.raises(SettingsError, match=message):
        run_fit(job(tmp_path / "run", **changes), say=quiet)
    assert not (tmp_path / "run").exists()


def test_the_last_level_is_predicted_unless_another_is_asked_for():
    names, data = ["a.h5", "b.h5", "c.h5"], [COARSE, FINE, replace(FINE.select([0]))]
    assert [d.level_of_theory for d in by_level(data, names, None)] == ["fine", "coarse"]
    assert [d.level_of_theory for d in by_level(data, names, "a.h5")] == ["coarse", "fine"]
    assert [len(d) for d in by_level(data, names, "coarse")] == [30, 21]
    with pytest.raises(SettingsError, match=r"no data set is of level 'exact'; give one of 'coarse', 'fine', 'a.h5'"):
        by_level(data, names, "exact")


def test_a_set_that_does_not_state_its_level_is_not_mixed_with_others():
    silent = Dataset.from_atoms(lj_frames(3))
    assert by_level([silent], ["x.h5"], None) == [silent]
    with pytest.raises(DataError, match=r"x.h5 does not state its level of theory"):
        by_level([COARSE, silent], ["a.h5", "x.h5"], None)


def test_joined_sets_keep_their_groups_apart():
    both = Dataset.joined([FINE, FINE])
    assert len(np.unique(both.group_id)) == 2 * len(np.unique(FINE.group_id))
    np.testing.assert_array_equal(both.forces, np.concatenate([FINE.forces, FINE.forces]))
