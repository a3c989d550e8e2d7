"""Settings of a fit: what a family brings along, and what the user says instead."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from ru_calc.dataset import read_dataset
from ru_calc.errors import SettingsError
from ru_calc.fit.batches import PackedFrames
from ru_calc.fit.pair_cache import PairCache
from ru_calc.fit.settings import FitSettings, differences, with_changes, with_changes_to
from ru_calc.fit.trainer import rate_factor
from ru_calc.potentials import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_brings_its_own_settings(family: str) -> None:
    settings = with_changes("md", {"family": family})
    for name, value in FAMILIES[family][0].fit_settings.items():
        assert getattr(settings, name) == value


def test_what_the_user_says_comes_before_the_family() -> None:
    assert FAMILIES["ani"][0].fit_settings["rate_readout"] != 5e-4
    assert with_changes("md", {"family": "ani", "rate_readout": 5e-4}).rate_readout == 5e-4
    assert with_changes("md", {"family": "ani"}).rate_readout != with_changes("md", {}).rate_readout


def test_the_papers_preset_takes_nothing_from_a_family() -> None:
    assert with_changes("paper", {"family": "ani"}).rate_readout == with_changes("paper", {}).rate_readout


def stored_before(*absent: str, **changes) -> dict:
    """Settings as a run folder of before some of them existed has them."""
    settings = json.loads(json.dumps(asdict(with_changes("md", changes))))
    return {name: value for name, value in settings.items() if name not in absent}


def test_settings_of_a_fit_that_is_older_than_some_of_them_mean_what_was_done_then() -> None:
    stored = stored_before("batch_pairs", "open_batches", "split_seed", batch_atoms=64)
    again = with_changes_to(stored, None, {})
    assert (again.batch_atoms, again.batch_pairs, again.open_batches, again.split_seed) == (64, 0, 1, -1)
    assert differences(stored, again) == []
    assert differences(stored, with_changes_to(stored, None, {"open_batches": 16})) == ["open_batches: 1 → 16"]


def test_settings_that_are_stored_whole_are_kept() -> None:
    stored = stored_before(batch_pairs=500, open_batches=3, split_seed=7)
    again = with_changes_to(stored, None, {})
    assert (again.batch_pairs, again.open_batches, again.split_seed) == (500, 3, 7)
    assert differences(stored, again) == []


def test_a_bound_that_is_given_replaces_the_presets() -> None:
    assert FitSettings().batch_pairs > 0
    for name, value in (("batch_atoms", 250), ("batch_frames", 3)):
        settings = with_changes("md", {name: value})
        assert settings.batch_pairs == 0 and getattr(settings, name) == value
    both = with_changes("md", {"batch_atoms": 250, "batch_pairs": 900})
    assert (both.batch_atoms, both.batch_pairs) == (250, 900)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"speed": 1}, "no setting 'speed'"),
        ({"model.depth": 1}, "no hyper-parameter 'depth'"),
        ({"loss": "l1"}, "loss is 'l1'"),
        ({"ema": 1.5}, "ema is 1.5"),
        ({"split": [0.5, 0.2, 0.2]}, "add up to 1"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0; it must be at least 0"),
        ({"seed": -4}, "seed is -4; it must be at least 0"),
        ({"final_rate": -1.0}, "final_rate is -1.0; it must be a fraction"),
        ({"final_rate": 1.5}, "final_rate is 1.5; it must be a fraction"),
        ({"ramp": [0.9, 0.2]}, "the smaller first"),
        ({"energy_weight": [-1.0, 1.0]}, "energy_weight is .*; it must be at least 0 at start and end"),
        ({"energy_weight": 0, "forces_weight": 0, "stress_weight": 0}, "are all 0; one of them must be positive"),
        ({"wieght_decay": 1.0}, "no setting 'wieght_decay'; did you mean weight_decay"),
        ({"model.chanels": 8}, "no hyper-parameter 'chanels'; did you mean channels"),
        ({"model.l_max": 99}, "l_max is 99; it must be at most 12"),
        ({"model.core_inner_A": 3.0}, "core_inner_A is 3.0 and core_outer_A 1.8; they must satisfy"),
        ({"model.core_inner_A": 1.8}, "core_inner_A is 1.8 and core_outer_A 1.8; they must satisfy"),
        ({"model.core_inner_A": -1.0}, "core_inner_A is -1.0"),
        ({"model.core_outer_A": 9.0}, "core_outer_A 9.0"),
        ({"batch_pairs": 0}, "batch_frames, batch_atoms, batch_pairs are all 0"),
        ({"batch_pairs": -1}, "batch_pairs is -1; it must be at least 0"),
        ({"open_batches": 0}, "open_batches is 0; it must be at least 1"),
        ({"split_seed": -2}, "split_seed is -2; it must be at least -1"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        with_changes("md", change)


def test_paper_preset_is_the_papers_protocol():
    s = with_changes("paper", {})
    assert (s.rate_embedding, s.rate_blocks, s.rate_readout, s.weight_decay) == (1e-5, 2e-5, 5e-5, 1e-4)
    assert (s.batch_atoms, s.batch_pairs, s.open_batches) == (0, 0, 1)
    assert (s.epochs, s.batch_frames, s.accumulate, s.clip_norm, s.warmup) == (100, 2048, 24, 0.01, 0.2)
    assert s.weights(0.49) == {"energy": 1.0, "forces": 0.0, "stress": 0.0}
    assert s.weights(0.75) == {"energy": 0.875, "forces": 0.25, "stress": 0.0}
    assert s.weights(1.0) == {"energy": 0.75, "forces": 0.5, "stress": 0.0}


def test_a_weight_of_the_loss_may_be_one_number():
    assert with_changes("md", {"energy_weight": 2}).energy_weight == (2.0, 2.0)
    assert "stress" not in with_changes("md", {"stress_weight": 0}).labels


def test_rate_rises_linearly_then_falls_as_a_cosine():
    s = FitSettings(warmup=0.2, final_rate=0.1)
    assert rate_factor(0.1, s) == pytest.approx(0.5)
    assert rate_factor(0.2, s) == pytest.approx(1.0)
    assert rate_factor(0.6, s) == pytest.approx(0.1 + 0.9 * 0.5)
    assert rate_factor(1.0, s) == pytest.approx(0.1)


def test_the_default_batches_of_the_shipped_set_hold_some_50_atoms_and_850_pairs(tmp_path: Path) -> None:
    dataset = read_dataset("distilled")
    sample = dataset.select(range(0, len(dataset), 4))
    frames = PackedFrames(sample, 5.0, cache=PairCache(tmp_path))
    batches = frames.batches(with_changes("md", {}), 0)
    atoms, pairs = ([values[batch].sum() for batch in batches] for values in (frames.counts, frames.pair_counts))
    assert sum(atoms) / len(atoms) == pytest.approx(50, rel=0.04)
    assert sum(pairs) / len(pairs) == pytest.approx(850, rel=0.04)
