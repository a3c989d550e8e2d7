"""A committee: members that differ in their seeds alone, resumed where they stopped, and judged by their spread."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from labelled import SMALL_FIT, lj_frames, quiet

from ru_calc.dataset import Dataset
from ru_calc.errors import DataError, SettingsError
from ru_calc.fit.committee import check_committee, judged, report, run_committee, settings_of, spread_of_forces
from ru_calc.fit.folds import held_out
from ru_calc.fit.run import FitInput, run_fit
from ru_calc.fit.settings import FitSettings, with_changes
from ru_calc.fit.start import stored_fit
from ru_calc.fit.trainer import Trainer
from ru_calc.fit.uncertainty import NO_ERROR_EV_PER_A
from ru_calc.modelfiles import load_model
from ru_calc.potentials.derivatives import Reference
from ru_calc.predictor import predict_all
from ru_calc.reports.tables import number

pytestmark = pytest.mark.usefixtures("without_plots")
SMALL = {**SMALL_FIT, "epochs": 2}
DATA = Dataset.from_atoms(lj_frames(20))


def job(folder, **changes) -> FitInput:
    return FitInput(DATA, folder, with_changes("md", {**SMALL, **changes}))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder, result and lines of a committee of three."""
    folder, lines = tmp_path_factory.mktemp("committee") / "run", []
    return folder, run_committee(job(folder, seed=4), 3, say=lines.append), lines


def weights(folder) -> dict[str, torch.Tensor]:
    return load_model(folder / "last.safetensors").potential.state_dict()


def differ(one, two) -> bool:
    return any(not torch.equal(one[name], two[name]) for name in one)


def test_members_have_one_split_and_seeds_of_their_own(whole):
    folder, result, _ = whole
    members = [folder / f"member_{k}" for k in (1, 2, 3)]
    splits = {(member / "split.json").read_bytes() for member in members}
    assert splits == {(folder / "split.json").read_bytes()}
    assert [one["seed"] for one in result["members"]] == [4, 5, 6]
    stored = [json.loads((member / "settings.json").read_text())["settings"] for member in members]
    assert [one.pop("seed") for one in stored] == [4, 5, 6]
    assert stored[0] == stored[1] == stored[2]
    assert differ(weights(members[0]), weights(members[1])) and differ(weights(members[1]), weights(members[2]))


def test_the_first_member_is_the_fit_of_that_seed(whole, tmp_path):
    folder, _, _ = whole
    run_fit(job(tmp_path / "single", seed=4), say=quiet)
    assert (tmp_path / "single" / "split.json").read_bytes() == (folder / "split.json").read_bytes()
    assert not differ(weights(tmp_path / "single"), weights(folder / "member_1"))


def test_the_mean_is_judged_on_the_test_frames(whole):
    folder, result, _ = whole
    assert result["part"] == "test"
    test = DATA.select(json.loads((folder / "split.json").read_text())["test"])
    models = [load_model(folder / f"member_{k}" / "best.safetensors").potential for k in (1, 2, 3)]
    found = [predict_all(Reference(model, torch.float64), test.structures) for model in models]
    forces = np.mean([one.forces for one in found], axis=0)
    energy = np.mean([one.energy for one in found], axis=0) / test.structures.counts
    assert result["mean"]["forces_RMSE_meV_per_A"] == pytest.approx(1e3 * np.sqrt(np.mean((forces - test.forces) ** 2)))
    label = test.energy / test.structures.counts
    assert result["mean"]["energy_MAE_meV_per_atom"] == pytest.approx(1e3 * np.abs(energy - label).mean())
    for one in result["members"]:
        assert one["errors"] == json.loads((folder / one["folder"] / "metrics.json").read_text())
    components = np.std([one.forces for one in found], axis=0, ddof=1)
    assert result["spread"]["spread_rms_meV_per_A"] == pytest.approx(1e3 * np.sqrt(np.mean(components**2)))
    assert result["spread"]["error_rms_meV_per_A"] == pytest.approx(result["mean"]["forces_RMSE_meV_per_A"])
    assert result["spread"]["atoms"] == test.structures.n_atoms


def test_the_report_is_written_and_said(whole):
    folder, result, lines = whole
    text = (folder / "committee.md").read_text()
    assert text == report(result) and lines[-1] == text.rstrip()
    rows = [line for line in text.splitlines() if line.startswith("| m")]
    assert [row.split(" | ")[0] for row in rows] == ["| member_1", "| member_2", "| member_3", "| mean of all"]
    assert f" {number(result['members'][1]['errors']['test']['forces_RMSE_meV_per_A'])} " in rows[1]
    assert f" {number(result['mean']['forces_RMSE_meV_per_A'])} " in rows[3]
    assert number(result["spread"]["rank_correlation"]) in text.splitlines()[-1]
    assert any(line.startswith("member_2: epoch    2/2") for line in lines)
    assert json.loads((folder / "committee.json").read_text()) == result


def test_spread_and_error_of_a_case_by_hand():
    """Two members ±d about a mean that is off by e: spread √2 d, per component over three."""
    labels = np.zeros((4, 3))
    labels[3] = np.nan
    d, e = np.array([0.1, 0.2, 0.4, 9.0]), np.array([0.3, 0.6, 1.2, 9.0])
    forces = np.zeros((2, 4, 3))
    forces[0, :, 0], forces[1, :, 0] = d, -d
    forces[:, :, 1] = e
    found = spread_of_forces(forces, labels)
    assert found["atoms"] == 3
    assert found["spread_rms_meV_per_A"] == pytest.approx(1e3 * np.sqrt(np.mean(2 * d[:3] ** 2) / 3))
    assert found["error_rms_meV_per_A"] == pytest.approx(1e3 * np.sqrt(np.mean(e[:3] ** 2) / 3))
    assert found["ratio"] == pytest.approx(3 / np.sqrt(2))
    assert found["correlation"] == pytest.approx(1) and found["rank_correlation"] == pytest.approx(1)
    forces[:, :3, 1] = e[2::-1]
    falling = spread_of_forces(forces, labels)
    assert falling["rank_correlation"] == pytest.approx(-1) and -1 < falling["correlation"] < 0


def test_members_that_agree_have_no_ratio():
    found = spread_of_forces(np.ones((3, 5, 3)), np.zeros((5, 3)))
    assert found["spread_rms_meV_per_A"] == 0 and np.isnan([found["ratio"], found["correlation"]]).all()
    assert np.isnan(spread_of_forces(np.ones((2, 5, 3)), np.full((5, 3), np.nan))["error_rms_meV_per_A"])


class Killed(Exception):
    pass


@pytest.mark.parametrize(("at_epoch", "of_member"), [(1, 2), (0, 3)])
def test_a_killed_committee_goes_on_to_the_result_of_an_unbroken_one(whole, tmp_path, monkeypatch, at_epoch, of_member):
    folder, result, _ = whole
    original = Trainer.run_epoch

    def dying(trainer, report):
        if (trainer.settings.seed, trainer.progress.epoch) == (3 + of_member, at_epoch):
            raise Killed
        return original(trainer, report)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_epoch", dying)
        with pytest.raises(Killed):
            run_committee(job(tmp_path / "run", seed=4), 3, say=quiet)
    epochs = []
    monkeypatch.setattr(
        Trainer,
        "run_epoch",
        lambda trainer, report: (epochs.append(trainer.settings.seed), original(trainer, report))[1],
    )
    lines: list[str] = []
    again = run_committee(job(tmp_path / "run", seed=4), 3, resume=True, say=lines.append)
    assert [line for line in lines if "already finished" in line] == [
        f"member_{k}: already finished" for k in range(1, of_member)
    ]
    assert len(epochs) == 2 * (3 - of_member + 1) - at_epoch, "members that are whole are not fitted again"
    assert again == result
    for k in (1, 2, 3):
        assert not differ(weights(folder / f"member_{k}"), weights(tmp_path / "run" / f"member_{k}"))


def test_a_split_of_its_own_seed_is_kept():
    settings = FitSettings(seed=3, split_seed=9)
    assert [settings_of(settings, k).seed_of_split for k in (1, 2)] == [9, 9]
    assert [settings_of(FitSettings(seed=3), k).seed_of_split for k in (1, 2)] == [3, 3]


@pytest.mark.parametrize("members", [1, 0, -3])
def test_fewer_than_two_members_are_refused(tmp_path, members):
    with pytest.raises(SettingsError, match=f"has {members} members; it must have at least 2"):
        run_committee(job(tmp_path / "run"), members, say=quiet)
    assert not (tmp_path / "run").exists()


def test_folders_that_hold_something_else_are_refused(whole, tmp_path, monkeypatch):
    folder, _, _ = whole
    monkeypatch.setattr(Trainer, "run_epoch", lambda trainer, report: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_fit(job(tmp_path / "single"), say=quiet)
    with pytest.raises(ZeroDivisionError):
        run_fit(job(tmp_path / "part" / "member_2"), say=quiet)
    for where, count, resume, changes, words in (
        (folder, 3, False, {"seed": 4}, "already holds a fit; use --resume"),
        (folder, 4, True, {"seed": 4}, "committee: 3 → 4"),
        (folder, 3, True, {"seed": 5}, "seed: 4 → 5"),
        (tmp_path / "single", 3, False, {}, "already holds a fit"),
        (tmp_path / "single", 3, True, {}, "holds a single fit, not a committee"),
        (tmp_path / "part", 3, False, {}, "member_2 already holds a fit; use another folder"),
        (tmp_path / "new", 3, True, {}, "no fit to resume"),
    ):
        with pytest.raises(SettingsError, match=words):
            run_committee(job(where, **changes), count, resume, say=quiet)
    with pytest.raises(SettingsError, match="data:"):
        run_committee(replace(job(folder, seed=4), dataset=DATA.select(range(18))), 3, True, say=quiet)
    assert stored_fit(folder).committee == 3 and stored_fit(tmp_path / "single").committee is None
    with pytest.raises(SettingsError, match="holds a committee of 3, not a single fit"):
        run_fit(job(folder, seed=4), resume=True, say=quiet)
    assert not (tmp_path / "new").exists() and not (tmp_path / "part" / "settings.json").exists()


def test_a_damaged_size_is_refused(tmp_path, whole):
    record = json.loads((whole[0] / "settings.json").read_text())
    (tmp_path / "settings.json").write_text(json.dumps({**record, "committee": "three"}))
    with pytest.raises(SettingsError, match="is damaged"):
        check_committee(tmp_path, 3, job(tmp_path, seed=4).settings, resume=True)


def test_data_without_a_label_are_refused_before_anything_is_written(tmp_path):
    blind = replace(DATA, stress=np.full_like(DATA.stress, np.nan))
    with pytest.raises(DataError, match="none of the 20 frames has stress"):
        run_committee(replace(job(tmp_path / "run"), dataset=blind), 2, say=quiet)
    assert not (tmp_path / "run").exists()


def test_without_test_frames_the_validation_frames_judge(tmp_path):
    result = run_committee(job(tmp_path / "run", split=[0.7, 0.3, 0.0], epochs=1), 2, say=quiet)
    assert result["part"] == "validation" and result["mean"]["frames"] > 0


def test_the_best_weights_are_judged_not_the_last(tmp_path):
    ruinous = {f"rate_{part}": 0.3 for part in ("embedding", "blocks", "readout")}
    result = run_committee(job(tmp_path / "run", epochs=4, ema=0.0, warmup=0.9, **ruinous), 2, say=quiet)
    test = DATA.select(json.loads((tmp_path / "run" / "split.json").read_text())["test"])
    means = [
        judged([tmp_path / "run" / f"member_{k}" / f"{which}.safetensors" for k in (1, 2)], test)["mean"]
        for which in ("best", "last")
    ]
    assert result["mean"]["forces_RMSE_meV_per_A"] == means[0]["forces_RMSE_meV_per_A"]
    assert means[0]["forces_RMSE_meV_per_A"] != means[1]["forces_RMSE_meV_per_A"]


# Folds


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """Folder, result and lines of two folds from one start."""
    folder, lines = tmp_path_factory.mktemp("folds"), []
    run_fit(job(folder / "start"), say=quiet)
    made = replace(job(folder / "run", folds=2, keep="last"), init_from=str(folder / "start"))
    return folder / "run", run_committee(made, 2, say=lines.append), lines


def test_every_frame_is_tested_in_one_fold_by_a_member_that_has_not_seen_it(folds):
    folder, result, lines = folds
    splits = [json.loads((folder / f"member_{k}" / "split.json").read_text()) for k in (1, 2)]
    assert sorted(splits[0]["test"] + splits[1]["test"]) == list(range(len(DATA)))
    for split in splits:
        assert sorted(split["train"] + split["validation"] + split["test"]) == list(range(len(DATA)))
    every = result["groups"][0]
    assert every["config_type"] == "all" and every["frames"] == len(DATA)
    parts = [DATA.select(split["test"]) for split in splits]
    found = [
        predict_all(Reference(load_model(folder / f"member_{k + 1}").potential), parts[k].structures) for k in (0, 1)
    ]
    error = np.concatenate([one.forces - part.forces for one, part in zip(found, parts, strict=True)])
    assert every["forces_MAE_meV_per_A"] == pytest.approx(1e3 * np.abs(error).mean(), rel=1e-4)
    assert any("by the member that has not seen it" in line for line in lines)


def test_the_model_of_the_folds_has_the_mean_of_their_weights(folds):
    folder, _, _ = folds
    mean = load_model(folder).potential.state_dict()
    members = [load_model(folder / f"member_{k}").potential.state_dict() for k in (1, 2)]
    for name, value in mean.items():
        torch.testing.assert_close(value, (members[0][name] + members[1][name]) / 2, rtol=0, atol=1e-7)
    assert differ(members[0], members[1])


def test_the_last_epoch_is_kept_where_it_is_asked_for(folds):
    folder, _, _ = folds
    best, last = (load_model(folder / "member_1" / f"{name}.safetensors") for name in ("best", "last"))
    assert not differ(best.potential.state_dict(), last.potential.state_dict())
    assert best.header["metrics"]["epoch"] == 2


def test_members_and_folds_must_be_as_many(tmp_path):
    with pytest.raises(SettingsError, match="there are 3 folds, but 2 members"):
        check_committee(tmp_path / "run", 2, job(tmp_path, folds=3).settings)
    with pytest.raises(SettingsError, match="folds is 1; it must be 0"):
        job(tmp_path, folds=1)


def test_the_mean_of_the_folds_has_an_uncertainty_calibrated_on_frames_that_members_have_not_seen(folds):
    folder, _, lines = folds
    stored = load_model(folder)
    calibration = stored.header["uncertainty"]["calibration"]
    comparison, _ = held_out(replace(job(folder, folds=2, keep="last"), init_from="any"))
    wrong = np.linalg.norm(comparison.forces - comparison.dataset.forces, axis=1) > NO_ERROR_EV_PER_A
    assert stored.uncertainty is not None and calibration["frames"] == len(DATA)
    assert calibration["atoms"] == wrong.sum()
    assert any(line.startswith("uncertainty, on 20 held-out frames") for line in lines)


def test_folds_that_start_from_a_model_of_their_own_level_are_warned_of(folds, tmp_path):
    _, _, lines = folds
    assert any("was fitted to labels of the same level of theory" in line for line in lines)
    other, said = replace(DATA, level_of_theory="another"), []
    start = str(folds[0].parent / "start")
    run_committee(replace(job(tmp_path / "run", folds=2, epochs=1), dataset=other, init_from=start), 2, say=said.append)
    assert not any("same level of theory" in line for line in said)
