"""Rounds of dynamics, labels and fits, with Lennard-Jones as the DFT: what is labelled, what is kept, what resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.lj import LennardJones
from ase.io import read
from labelled import LJ, SMALL_FIT, lj_frames, quiet

from ru_calc.dataset import Dataset
from ru_calc.errors import SettingsError, UnphysicalError
from ru_calc.fit.run import FitInput, run_fit
from ru_calc.fit.settings import with_changes
from ru_calc.label import Labelling
from ru_calc.studies.learn import LearnSettings, learn, rounds
from ru_calc.studies.learn.choose import UNCERTAINTY, assessed, chosen
from ru_calc.studies.learn.rounds import Loop

pytestmark = pytest.mark.usefixtures("without_plots")
LABEL = {"calculator": "ase.calculators.lj:LennardJones", "arguments": LJ, "level": "LJ"}
DATA = Dataset.from_atoms(lj_frames(30), level_of_theory="LJ")
FIT = {"epochs": 2, "folds": 2, "split": [0.8, 0.2, 0.0]}


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> str:
    """A model that knows Lennard-Jones well enough for dynamics."""
    folder = tmp_path_factory.mktemp("start")
    faster = {f"rate_{part}": 1e-2 for part in ("embedding", "blocks", "readout")}
    settings = with_changes("md", {**SMALL_FIT, "epochs": 15, **faster})
    run_fit(FitInput(DATA, folder / "run", settings), say=quiet)
    return str(folder / "run")


def loop(folder: Path, start: str, **changes) -> Loop:
    settings = {
        "rounds": 2, "frames": 3, "md": {"md_hcp8": 4}, "kinds": {"fcc_rattle4": 4}, "max_atoms": 8, "every_fs": 20.0,
        "temperature_K": (300, 600), "threshold_eV_per_A": 0.0, "label": LABEL, "fit": FIT,
    }  # fmt: skip
    return Loop(folder, LearnSettings(start, **{**settings, **changes}), DATA, say=quiet)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, start) -> tuple[Path, list[dict]]:
    """Folder and figures of two rounds."""
    folder = tmp_path_factory.mktemp("learn") / "loop"
    return folder, learn(loop(folder, start))


def test_every_round_labels_uncertain_frames_and_fits_to_all_so_far(whole):
    folder, rows = whole
    assert [row["round"] for row in rows] == [0, 1, 2]
    assert [row["frames"] for row in rows] == [30, 33, 36]
    for row in rows[1:]:
        assert row["labelled"] == 3 and row["failed"] == 0 and row["uncertain"] == row["candidates"] == 8
        labels = read(folder / f"round_{row['round']}" / "labels.extxyz", ":")
        for atoms in labels:
            calculator = LennardJones(**LJ)
            np.testing.assert_allclose(atoms.get_forces(), calculator.get_forces(atoms), atol=1e-6)
            assert atoms.info[UNCERTAINTY] > 0 and len(atoms) <= 8


def test_the_report_says_what_each_round_brought(whole):
    folder, rows = whole
    text = (folder / "learn.md").read_text()
    assert text.startswith("# 2 rounds of learning") and "what the frames of each round brought" in text
    assert json.loads((folder / "results.json").read_text())[2]["frames"] == 36
    first = rows[0]["first frames"][0]
    assert first["frames"] == rows[2]["first frames"][0]["frames"] == 30
    assert rows[1]["before"][0]["frames"] == 3
    assert rows[1]["actual_error_eV_per_A"] == pytest.approx(1e-3 * rows[1]["before"][0]["forces_RMSE_meV_per_A"])


@pytest.mark.parametrize("where", ["sample", "label_frames", "run_committee"])
def test_a_loop_that_is_killed_in_any_step_goes_on_to_the_same_result(whole, start, tmp_path, monkeypatch, where):
    calls, original = [], getattr(rounds, where)

    def dying(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(rounds, where, dying)
    with pytest.raises(KeyboardInterrupt):
        learn(loop(tmp_path / "loop", start))
    monkeypatch.setattr(rounds, where, original)
    rows = learn(loop(tmp_path / "loop", start), resume=True)
    for one, two in zip(rows, whole[1], strict=True):
        assert one.get("before") == two.get("before")
        assert one["all"] == two["all"]


def test_more_rounds_may_be_asked_for_later_and_nothing_else_may_change(whole, start, tmp_path):
    rows = learn(loop(tmp_path / "loop", start, rounds=1))
    again = learn(loop(tmp_path / "loop", start, rounds=2), resume=True)
    assert again[:2] == rows and again[2]["all"] == whole[1][2]["all"]
    with pytest.raises(SettingsError, match=r"cannot resume with changed settings: frames: 3 → 4"):
        learn(loop(tmp_path / "loop", start, frames=4), resume=True)
    with pytest.raises(SettingsError, match=r"already holds a loop; use --resume"):
        learn(loop(tmp_path / "loop", start))


def test_a_loop_ends_when_nothing_is_uncertain(start, tmp_path):
    lines: list[str] = []
    made = replace(loop(tmp_path / "loop", start, threshold_eV_per_A=1e6), say=lines.append)
    rows = learn(made)
    assert [row["round"] for row in rows] == [0, 1] and rows[1]["labelled"] == 0
    assert any("found nothing to label" in line for line in lines)


def test_a_round_whose_frames_all_failed_is_played_again(start, tmp_path, monkeypatch):
    original = rounds.label_frames

    def failing(frames, path, *_, **__):
        Path(f"{path}.failed").write_text("".join(f'{{"uid": "{a.info["uid"]}"}}\n' for a in frames))
        return Labelling(failed=[("a", "no SCF")] * len(frames))

    monkeypatch.setattr(rounds, "label_frames", failing)
    made = loop(tmp_path / "loop", start, rounds=1)
    with pytest.raises(UnphysicalError, match=r"round 1: all 3 frames failed, see labels.extxyz.failed .*--resume"):
        learn(made)
    monkeypatch.setattr(rounds, "label_frames", original)
    rows = learn(made, resume=True)
    assert rows[1]["labelled"] == 3 and rows[1]["failed"] == 0
    assert not (tmp_path / "loop" / "round_1" / "labels.extxyz.failed").exists()


def test_labels_of_another_level_are_refused(start, tmp_path):
    other = loop(tmp_path / "loop", start, label={**LABEL, "level": "another"})
    with pytest.raises(SettingsError, match=r"labelled at 'another', but the data to start from are at 'LJ'"):
        learn(other)
    assert not (tmp_path / "loop").exists()


def test_frames_that_are_chosen_are_uncertain_and_differ(whole, start):
    folder, _ = whole
    model = str(folder / "round_0" / "fit")
    frames = read(folder / "round_1" / "candidates.extxyz", ":")
    twice = [atoms.copy() for atoms in [*frames, *frames]]
    found = assessed(twice, model, None)
    half = replace(found, threshold_eV_per_A=float(np.median(found.uncertainty_eV_per_A)))
    picked = chosen(half, 3, model, DATA.structures)
    assert len({k % len(frames) for k in picked}) == 3  # never a frame and its copy
    assert (half.uncertainty_eV_per_A[picked] > half.threshold_eV_per_A).all()
    assert picked[0] == half.uncertain[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds is 0"),
        ({"md": {}, "kinds": {}}, "no candidates are asked for"),
        ({"frames": 0}, "frames"),
    ],
)
def test_bad_settings_are_refused(start, tmp_path, changes, message):
    with pytest.raises(SettingsError, match=message):
        loop(tmp_path, start, **changes)
