"""A sample is the same for the same seed, its names are unique, its limits hold, and bad settings are refused."""

import numpy as np
import pytest
from ase.io import read, write
from sampled import EACH, every_kind

from ru_calc.errors import SettingsError
from ru_calc.sample import KINDS, SampleSettings, sample, static_frames
from ru_calc.sample.frames import finished, objection, same_within
from ru_calc.structures.identity import geometry_hash

RANDOM = ("hcp_rattle8", "random8", "slab_adatom", "cluster_pol")


def uids(made):
    return [atoms.info["uid"] for atoms in made.frames]


def test_all_kinds_come_with_their_counts():
    names = [atoms.info["config_type"] for atoms in every_kind().frames]
    assert {name: names.count(name) for name in KINDS} == dict.fromkeys(KINDS, EACH)
    assert not every_kind().notes


def test_names_are_unique_and_groups_hold_scans_together():
    assert len(set(uids(every_kind()))) == len(every_kind().frames)
    groups = {}
    for atoms in every_kind().frames:
        groups.setdefault(atoms.info["group_id"], []).append(atoms.info["config_type"])
    assert all(len(set(names)) == 1 for names in groups.values())
    assert groups["eos_hcp_0"] == ["eos_hcp"] * EACH
    rattled = [group for group, names in groups.items() if names[0] == "hcp_rattle8"]
    assert len(rattled) == EACH


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_frames(tmp_path):
    kinds = dict.fromkeys(RANDOM, 2)
    texts = []
    for seed in (5, 5, 6):
        made = sample(SampleSettings(kinds=kinds, seed=seed))
        write(tmp_path / "a.extxyz", made.frames, format="extxyz")
        texts.append((tmp_path / "a.extxyz").read_bytes())
    assert texts[0] == texts[1] != texts[2]


def test_a_frame_does_not_depend_on_other_kinds_nor_on_the_count():
    alone = uids(sample(SampleSettings(kinds={"random8": 2})))
    among = uids(sample(SampleSettings(kinds={"hcp_rattle4": 3, "random8": 4})))
    assert among[3:5] == alone


def test_a_frame_read_again_has_the_same_hash(tmp_path):
    write(tmp_path / "a.extxyz", every_kind().frames, format="extxyz")
    for before, after in zip(every_kind().frames, read(tmp_path / "a.extxyz", ":"), strict=True):
        assert after.info["uid"] == before.info["uid"] == f"{before.info['config_type']}_{geometry_hash(after)}"
        assert after.info["group_id"] == before.info["group_id"]


def test_limits_of_size_distance_and_vacuum_hold():
    small = sample(SampleSettings(kinds={"slab*": 2, "hcp_rattle*": 2}, max_atoms=6, vacuum_A=15.0))
    assert max(map(len, small.frames)) <= 6
    assert "more than 6 atoms: " in small.notes[0] and "hcp_rattle8" in small.notes[0]
    assert all(a.cell.lengths()[2] >= 15.0 for a in small.frames if a.info["kind"] == "slab")
    far = static_frames(KINDS["hcp_rattle8"], 6, SampleSettings(nearest_A=2.3))
    assert min(a.info["dmin"] for a in far) >= 2.3


def test_the_guard_names_what_is_wrong():
    atoms = static_frames(KINDS["hcp_rattle8"], 1, SampleSettings())[0]
    assert objection(atoms, "bulk", 1.9) is None
    assert "Å apart (at least 2.8 Å)" in objection(atoms, "bulk", 2.8)
    assert "vacuum along lattice vector c is" in objection(atoms, "slab", 1.9)
    for factor in (0.7, 1.5):
        scaled = atoms.copy()
        scaled.set_cell(factor * atoms.cell.array, scale_atoms=True)
        assert "times that of hcp" in objection(scaled, "bulk", 0.5)


def test_a_kind_that_cannot_meet_the_limit_ends_in_one_line():
    with pytest.raises(SettingsError, match=r"frame 0 of hcp_ca .* each of 100 draws: .* apart \(at least 2.5 Å"):
        sample(SampleSettings(kinds={"hcp_ca": 6}, nearest_A=2.5))


def test_known_frames_and_near_copies_are_left_out():
    settings = SampleSettings(kinds={"hcp_rattle8": 3, "eos_fcc": 3})
    frames = sample(settings).frames
    copy = frames[0].copy()
    # Another image of an atom, the whole moved, and each atom a little.
    copy.positions[3] += copy.cell[0] - 2 * copy.cell[2]
    copy.positions += [0.3, -2.0, 0.7]
    copy.positions[1] += 0.004
    made = sample(settings, known=[copy, frames[4]])
    assert uids(made) == [frames[k].info["uid"] for k in (1, 2, 3, 5)]
    assert made.notes == ["left out, as they are known: 2 of 6 frames"]


def test_another_structure_is_no_near_copy():
    one, other = static_frames(KINDS["hcp_rattle8"], 2, SampleSettings())
    assert same_within(one, one) and not same_within(one, other)
    moved = one.copy()
    moved.positions[2, 0] += 0.02
    assert not same_within(one, moved)
    assert finished(moved, "x", "bulk").info["uid"] != finished(one, "x", "bulk").info["uid"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": {"hcp_rattel8": 1}}, "there is no kind 'hcp_rattel8'; did you mean hcp_rattle8"),
        ({"md": {"md_liqid": 1}}, "there is no kind 'md_liqid'; did you mean md_liquid"),
        ({"kinds": {"random8": -1}}, "the count of random8 is -1; it must be 0 or more"),
        ({"kinds": {"random8": 0}}, "no frames are asked for"),
        ({"kinds": {"random8": 1}, "max_atoms": 7}, "max_atoms is 7, but frames of random8 have 8 atoms or more"),
        ({"md": {"md_vacancy": 1}, "max_atoms": 7}, "max_atoms is 7, but frames of md_vacancy have 11"),
        ({"kinds": {}, "md": {"md_hcp8": 1}}, "md_hcp8 needs molecular dynamics: give a calculator"),
        ({"nearest_A": 2.7}, "nearest_A is 2.7; it must be from 0.5 to below 2.6 Å"),
        ({"vacuum_A": 5.0}, "vacuum_A is 5.0; it must be from 10 to 100 Å"),
        ({"seed": -1}, "seed is -1"),
        ({"max_atoms": 0}, "max_atoms is 0"),
        ({"every_fs": np.nan}, "every_fs is nan"),
        ({"temperature_K": (600.0, 300.0)}, "temperature_K is 600,300; it must be LOWEST,HIGHEST"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        sample(SampleSettings(**settings))
