"""Frames of runs: how many, how far apart, at which temperature, and what is kept of a run that explodes."""

from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.lj import LennardJones
from conftest import hcp_cell
from toy import FreeFlight

from ru_calc.md import MDSettings
from ru_calc.sample import MD_KINDS, SampleSettings, md_frames, sample
from ru_calc.sample.dynamics import conditions
from ru_calc.sample.run import generator

LJ = {"sigma": 2.1, "epsilon": 0.3, "rc": 5.0, "smooth": True}


def lennard_jones():
    return LennardJones(**LJ)


@pytest.fixture
def crystal():
    """Dilute, so that atoms without forces do not collide."""
    return hcp_cell(8.0, 12.0) * (2, 2, 1)


def test_a_frame_comes_every_so_many_fs_after_the_wait(crystal):
    before = crystal.copy()
    settings = MDSettings("nve", 300, timestep_fs=2.0, steps=60)
    found = md_frames(crystal, FreeFlight(), settings, every_fs=20.0, wait_fs=50.0)
    assert [a.info["time_fs"] for a in found.frames] == [60.0, 80.0, 100.0, 120.0] and found.problem is None
    assert crystal == before
    steps = [one.positions - other.positions for one, other in zip(found.frames[1:], found.frames, strict=False)]
    np.testing.assert_allclose(steps[0], steps[1], atol=1e-9)
    assert np.abs(steps[0]).max() > 0.01 and all(a.calc is None and a.info["T"] == 300 for a in found.frames)


def test_a_run_that_explodes_keeps_what_it_had_and_says_so(crystal):
    def spoil(call, results):
        if call > 45:
            results["forces"][0] = np.nan

    found = md_frames(crystal, FreeFlight(spoil), MDSettings("nve", 300, steps=60), every_fs=20.0, wait_fs=20.0)
    assert [a.info["time_fs"] for a in found.frames] == [20.0, 40.0, 60.0, 80.0]
    assert "force of atom 0 is [nan" in found.problem

    made = sample(SampleSettings(kinds={}, md={"md_hcp8": 4}, every_fs=20.0), lambda: FreeFlight(spoil))
    assert not made.frames and "md_hcp8, run 0 at" in made.notes[0] and "ended early, with 0 of 4" in made.notes[0]


@pytest.mark.parametrize("every_fs", [1.0, 130.0, 300.0])
def test_a_run_is_long_enough_for_its_frames(every_fs, crystal):
    condition = next(conditions(3, (300.0, 600.0), generator(0, "x")))
    settings = condition.settings(every_fs)
    assert len(md_frames(crystal, FreeFlight(), settings, every_fs).frames) == 3 == condition.frames


def test_runs_are_spread_over_the_temperatures_and_make_the_count():
    found = list(conditions(18, (300.0, 2300.0), generator(0, "x")))
    assert sum(c.frames for c in found) == 18 and len({c.seed for c in found}) == 5
    parts = sorted((c.temperature_K - 300) // 400 for c in found)
    assert parts == [0, 1, 2, 3, 4]


def test_frames_of_runs_are_named_grouped_and_the_same_again():
    settings = SampleSettings(kinds={}, md={"md_hcp8": 5, "md_cluster": 2}, every_fs=40.0, temperature_K=(200.0, 400.0))
    made = sample(settings, lennard_jones)
    assert [a.info["config_type"] for a in made.frames] == ["md_hcp8"] * 5 + ["md_cluster"] * 2, made.notes
    assert len({a.info["group_id"] for a in made.frames[:5]}) == 2
    assert made.frames[0].info["group_id"] == made.frames[0].info["uid"]
    assert all(200 <= a.info["T"] <= 400 and a.calc is None and a.pbc.all() for a in made.frames)
    assert [a.info["spin"] for a in made.frames[4:]] == [0, 1, 1]
    # Neither the order of kinds nor what the calculator did before matters.
    alone = sample(replace(settings, md={"md_cluster": 2}), lennard_jones)
    assert [a.info["uid"] for a in alone.frames] == [a.info["uid"] for a in made.frames[5:]]


def test_a_cluster_keeps_its_vacuum_and_one_that_flies_apart_is_left_out():
    settings = SampleSettings(kinds={}, md={"md_cluster": 4}, every_fs=100.0, temperature_K=(5.0, 5.0), vacuum_A=13.0)
    made = sample(settings, FreeFlight)
    assert len(made.frames) == 4 and not made.notes
    for atoms in made.frames:
        np.testing.assert_allclose(atoms.cell.lengths() - np.ptp(atoms.positions, axis=0), 13.0, atol=1e-6)
    hot = sample(replace(settings, temperature_K=(9000.0, 9000.0)), lennard_jones)
    assert not hot.frames and "cluster in pieces" in hot.notes[0]


def test_no_model_is_loaded_without_runs():
    def refuse():
        raise AssertionError("a model was loaded")

    assert len(sample(SampleSettings(kinds={"eos_hcp": 2}), refuse).frames) == 2


def test_starts_of_runs_are_kinds():
    from ru_calc.sample import KINDS

    for kind in MD_KINDS.values():
        assert all(KINDS[start].boundary == kind.boundary for start in kind.starts)
