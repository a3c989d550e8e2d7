"""Splits by group: shares that hold over all frames, whatever the config types and groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from ru_calc.dataset import Dataset, split_by_group
from ru_calc.errors import SettingsError


def many(groups: int, per_group: int, config_types: int = 1) -> Dataset:
    """Lone atoms in groups."""
    frames = [
        Atoms("Ru", cell=[5, 5, 5], pbc=True, info={"group_id": f"g{g}", "config_type": f"t{g % config_types}"})
        for g in range(groups)
        for _ in range(per_group)
    ]
    return Dataset.from_atoms(frames)


def grouped(sizes: list[int], kinds: list[str]) -> Dataset:
    """Lone atoms in groups of the given sizes and config types."""
    dataset = many(1, 1).select([0] * sum(sizes))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return replace(dataset, group_id=groups.astype(str), config_type=np.repeat(kinds, sizes))


def test_splits_are_disjoint_complete_and_by_group():
    dataset = many(groups=100, per_group=3, config_types=4)
    parts = split_by_group(dataset)
    assert list(parts) == ["train", "validation", "test"]
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(300))
    groups = [set(dataset.group_id[frames]) for frames in parts.values()]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    assert [len(frames) for frames in parts.values()] == pytest.approx([180, 60, 60], abs=12)


def test_frames_that_are_split_one_by_one_share_groups():
    """Sabotage: without `group_id` the parts would share trajectories, so the check above can fail."""
    dataset = many(groups=100, per_group=3)
    alone = replace(dataset, group_id=np.array([f"frame_{k}" for k in range(300)]))
    parts = split_by_group(alone)
    assert set(dataset.group_id[parts["train"]]) & set(dataset.group_id[parts["test"]])


def test_splits_depend_on_the_seed_alone():
    dataset = many(groups=60, per_group=2)
    first, again, other = (split_by_group(dataset, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["test"], other["test"])


def test_every_config_type_is_spread_over_the_parts():
    dataset = many(groups=40, per_group=1, config_types=4)
    for frames in split_by_group(dataset).values():
        assert set(dataset.config_type[frames]) == {"t0", "t1", "t2", "t3"}


@pytest.mark.parametrize("fractions", [(0.5, 0.2, 0.2), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1), (0.5, 0.5)])
def test_fractions_that_are_none_are_refused(fractions):
    with pytest.raises(SettingsError, match="three fractions"):
        split_by_group(many(10, 1), fractions)


@pytest.mark.parametrize(
    ("sizes", "types", "fractions", "frames"),
    [
        ([1] * 120, 37, (0.9, 0.1, 0.0), [108, 12, 0]),
        ([1] * 70, 33, (0.6, 0.2, 0.2), [42, 14, 14]),
        ([2] * 8 + [1] * 4, 6, (0.6, 0.2, 0.2), [12, 4, 4]),
        ([2] * 8 + [1] * 4, 12, (0.9, 0.1, 0.0), [18, 2, 0]),
        ([1, 9, 3, 1, 1], 5, (0.8, 0.2, 0.0), [12, 3, 0]),
    ],
)
def test_shares_hold_over_all_frames_when_types_are_small(sizes, types, fractions, frames):
    dataset = grouped(sizes, [f"t{k % types}" for k in range(len(sizes))])
    for seed in range(5):
        assert [len(part) for part in split_by_group(dataset, fractions, seed).values()] == frames


def test_shares_hold_to_within_one_group_whatever_the_groups():
    rng = np.random.default_rng(5)
    for case in range(100):
        count = int(rng.integers(3, 30))
        sizes = rng.integers(1, rng.integers(2, 20), size=count)
        dataset = grouped(sizes.tolist(), [f"t{k}" for k in rng.integers(0, rng.integers(1, count + 1), size=count)])
        fractions = (0.9, 0.1, 0.0) if case % 3 == 0 else (0.6, 0.2, 0.2)
        parts = split_by_group(dataset, fractions, case)
        held = np.array([len(frames) for frames in parts.values()])
        assert held.sum() == len(dataset) and not held[np.array(fractions) == 0].any()
        assert len(np.unique(np.concatenate(list(parts.values())))) == len(dataset)
        owners = [set(dataset.group_id[frames]) for frames in parts.values()]
        assert sum(map(len, owners)) == len(set.union(*owners)) == count
        assert (held[np.array(fractions) > 0] > 0).all()
        smallest = min(len(owner) for owner, share in zip(owners, fractions, strict=True) if share)
        if smallest > 1:  # else a part has its only group, so as not to be empty
            assert (np.abs(held - np.array(fractions) * len(dataset)) < sizes.max()).all()


def test_a_part_is_empty_only_if_there_are_too_few_groups():
    assert [len(part) for part in split_by_group(many(3, 1), (0.98, 0.01, 0.01)).values()] == [1, 1, 1]
    assert [len(part) for part in split_by_group(many(2, 5), (0.98, 0.01, 0.01)).values()] == [5, 5, 0]
    assert [len(part) for part in split_by_group(many(1, 5), (0.98, 0.01, 0.01)).values()] == [5, 0, 0]
