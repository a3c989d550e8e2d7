"""Neighbour lists on disk: the same to the last bit, never in the way, and bounded."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from labelled import lj_frames

from ru_calc.dataset import Dataset
from ru_calc.fit import pair_cache
from ru_calc.fit.batches import PackedFrames
from ru_calc.fit.pair_cache import PREFIX, PairCache, cache_folder
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs, find_pairs

CUTOFF_A = 5.0


@pytest.fixture
def structures(frames) -> Structures:
    return Structures.from_atoms(list(frames.values()))


@pytest.fixture
def searches(monkeypatch) -> list[int]:
    """Atoms of every search that is made."""
    made = []

    def counting(structures, cutoff_A):
        made.append(structures.n_atoms)
        return find_pairs(structures, cutoff_A)

    monkeypatch.setattr(pair_cache, "find_pairs", counting)
    return made


def small(folder: Path, **options) -> PairCache:
    return PairCache(folder, least_atoms=0, **options)


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def same(one: NeighborPairs, two: NeighborPairs) -> bool:
    arrays = [(getattr(one, name), getattr(two, name)) for name in ("first", "second", "shifts", "frames")]
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in arrays)


def test_what_is_read_is_what_was_found_to_the_last_bit(structures, tmp_path, searches):
    found = find_pairs(structures, CUTOFF_A)
    for _ in range(2):
        pairs = small(tmp_path).pairs(structures, CUTOFF_A)
        assert same(pairs, found)
        assert pairs.vectors(structures).tobytes() == found.vectors(structures).tobytes()
    assert len(searches) == 1


def test_atoms_far_outside_their_cell_and_large_frames_are_kept_exactly(tmp_path, searches):
    """Shifts beyond 127 and atoms beyond 255 need wider integers."""
    atoms = bulk("Ru", "hcp", a=2.7, c=4.3) * (6, 6, 5)
    atoms.positions[7] += 40_000 * atoms.cell.array[0]
    for kind in (atoms, atoms * (8, 6, 4)):
        structures = Structures.from_atoms(kind)
        found = find_pairs(structures, 3.0)
        assert abs(found.shifts).max() > 127 and found.second.max() > 255
        small(tmp_path).pairs(structures, 3.0)
        assert same(small(tmp_path).pairs(structures, 3.0), found)
    assert len(searches) == 2


def test_frames_without_any_pair_are_kept(tmp_path, searches):
    from ase import Atoms

    lone = Structures.from_atoms([Atoms("Ru"), Atoms("Ru")])
    for _ in range(2):
        assert same(small(tmp_path).pairs(lone, CUTOFF_A), find_pairs(lone, CUTOFF_A))
    assert len(searches) == 1


def test_a_packed_set_is_the_same_from_the_cache(tmp_path, searches):
    dataset = Dataset.from_atoms(lj_frames(8))
    one, two = (PackedFrames(dataset, CUTOFF_A, cache=small(tmp_path)) for _ in range(2))
    assert len(searches) == 1
    for name in ("vectors", "first", "second", "pair_counts", "pair_offsets"):
        assert np.asarray(getattr(one, name)).tobytes() == np.asarray(getattr(two, name)).tobytes()


@pytest.mark.parametrize("part", ["positions", "cells", "pbc", "counts"])
def test_other_frames_and_cutoffs_have_files_of_their_own(structures, tmp_path, searches, part):
    cache = small(tmp_path)
    cache.pairs(structures, CUTOFF_A)
    changed = np.array(getattr(structures, part))
    if part == "pbc":
        changed[0, 0] = ~changed[0, 0]
    elif part == "counts":
        changed[:2] = changed[:2][::-1]
        assert changed[0] != changed[1]
    else:
        changed[0, 0] = np.nextafter(changed[0, 0], 9.0)
    other = replace(structures, **{part: changed})
    assert same(cache.pairs(other, CUTOFF_A), find_pairs(other, CUTOFF_A))
    assert same(cache.pairs(structures, 4.9), find_pairs(structures, 4.9))
    assert len(searches) == 3 and len(files(tmp_path)) == 3


def test_another_version_of_the_format_is_not_read(structures, tmp_path, searches, monkeypatch):
    small(tmp_path).pairs(structures, CUTOFF_A)
    monkeypatch.setattr(pair_cache, "VERSION", 2)
    small(tmp_path).pairs(structures, CUTOFF_A)
    assert len(searches) == 2


def test_a_pair_takes_four_bytes(tmp_path):
    dataset = Dataset.from_atoms(lj_frames(60))
    n_pairs = len(small(tmp_path).pairs(dataset.structures, CUTOFF_A))
    assert files(tmp_path)[0].stat().st_size < 4 * n_pairs + dataset.structures.n_atoms + 500


def flip_bit(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[-5] ^= 1  # in the shifts
    path.write_bytes(whole)


SPOILED = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "foreign": lambda path: path.write_bytes(b"something else altogether"),
    "flipped": flip_bit,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_damaged_file_is_found_anew_with_a_word(structures, tmp_path, searches, spoil):
    small(tmp_path).pairs(structures, CUTOFF_A)
    spoil(files(tmp_path)[0])
    said = []
    pairs = small(tmp_path, say=said.append).pairs(structures, CUTOFF_A)
    assert same(pairs, find_pairs(structures, CUTOFF_A))
    assert len(searches) == 2 and len(said) == 1 and "again" in said[0]


def test_a_damaged_file_is_replaced(structures, tmp_path, searches):
    small(tmp_path).pairs(structures, CUTOFF_A)
    flip_bit(files(tmp_path)[0])
    for _ in range(2):
        small(tmp_path).pairs(structures, CUTOFF_A)
    assert len(searches) == 2


def test_the_file_of_other_frames_under_this_name_is_not_used(structures, tmp_path, searches):
    """The name is a hash, the file says what it holds."""
    cache, other = small(tmp_path), replace(structures, positions=structures.positions + 0.01)
    cache.pairs(structures, CUTOFF_A)
    mine = files(tmp_path)[0]
    cache.pairs(other, CUTOFF_A)
    (theirs,) = set(files(tmp_path)) - {mine}
    os.replace(theirs, mine)
    said = []
    assert same(small(tmp_path, say=said.append).pairs(structures, CUTOFF_A), find_pairs(structures, CUTOFF_A))
    assert len(searches) == 3 and "they are of other frames" in said[0]


def test_a_folder_that_cannot_be_made_stops_nothing_and_is_said_once(structures, tmp_path, searches):
    (tmp_path / "file").write_text("")
    said = []
    cache = small(tmp_path / "file" / "below", say=said.append)
    for cutoff_A in (CUTOFF_A, 4.0):
        assert same(cache.pairs(structures, cutoff_A), find_pairs(structures, cutoff_A))
    assert len(said) == 1 and "not kept" in said[0]


def test_a_file_that_fails_half_way_leaves_nothing(structures, tmp_path, monkeypatch):
    def failing(arrays, name, metadata):
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pair_cache, "save_file", failing)
    said = []
    assert len(small(tmp_path, say=said.append).pairs(structures, CUTOFF_A))
    assert files(tmp_path) == [] and "No space left" in said[0]


@pytest.mark.parametrize("used_again", [0, 1])
def test_files_that_were_not_used_for_the_longest_time_go(structures, tmp_path, used_again):
    moved = [replace(structures, positions=structures.positions + x) for x in (0.0, 0.1, 0.2, 0.3)]
    small(tmp_path).pairs(moved[0], CUTOFF_A)
    one = files(tmp_path)[0]
    cache = small(tmp_path, most_bytes=3 * one.stat().st_size + 100)
    cache.pairs(moved[1], CUTOFF_A)
    (two,) = set(files(tmp_path)) - {one}
    left = tmp_path / f".{PREFIX}left.safetensors"
    left.write_bytes(b"x" * 200)
    (tmp_path / "notes.txt").write_text("not ours" * 10_000)
    for path, time_s in ((left, 1), (one, 2 + used_again), (two, 3 - used_again)):
        os.utime(path, (time_s, time_s))
    for k in (used_again, 2, 3):
        cache.pairs(moved[k], CUTOFF_A)
    kept = {one, two}.intersection(files(tmp_path))
    assert kept == {(one, two)[used_again]}
    names = [path.name for path in files(tmp_path)]
    assert sum(name.startswith(PREFIX) for name in names) == 3
    assert "notes.txt" in names and left.name not in names


def test_what_is_larger_than_the_bound_is_not_kept(structures, tmp_path):
    assert len(small(tmp_path, most_bytes=100).pairs(structures, CUTOFF_A))
    assert files(tmp_path) == []


def test_small_sets_are_not_kept(structures, tmp_path):
    few = structures.select(range(len(structures) // 2))
    assert 0 < few.n_atoms < 1000
    PairCache(tmp_path).pairs(few, CUTOFF_A)
    assert files(tmp_path) == []
    atoms = bulk("Ru", "hcp", a=2.7, c=4.3) * (10, 10, 5)
    PairCache(tmp_path).pairs(Structures.from_atoms(atoms), 3.0)
    assert len(files(tmp_path)) == 1


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    for name in ("RU_CALC_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "ru-calc"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "ru-calc"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "ru-calc"
    monkeypatch.setenv("RU_CALC_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_without_a_home_nothing_is_kept_and_nothing_stops(structures, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pair_cache, "cache_folder", homeless)
    said = []
    cache = PairCache(say=said.append, least_atoms=0)
    assert same(cache.pairs(structures, CUTOFF_A), find_pairs(structures, CUTOFF_A))
    assert len(said) == 1 and "RU_CALC_CACHE" in said[0]
