"""Groups of config types, and folds that have a share of each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from labelled import lj_frames

from ru_calc.dataset import Dataset, fold_of, read_dataset
from ru_calc.dataset.groups import GROUPS, OTHER, group_of


@pytest.mark.parametrize(
    ("kind", "group"),
    [
        ("hcp_rattle8o", "rattled"), ("md_hcp12", "rattled"), ("md_liquid", "liquid"), ("quenched12", "liquid"),
        ("md_slab_vacancy", "slab"), ("slab0001_2x1", "slab"), ("md_adatom", "slab"), ("md_vacancy", "defect"),
        ("gsf_basal", "defect"), ("eos_hcp", "volume scan"), ("dimer_spin", "cluster"), ("nanotube", OTHER),
    ],
)  # fmt: skip
def test_config_types_belong_to_groups(kind, group):
    assert group_of(kind) == group and group in GROUPS


def test_every_shipped_frame_has_a_group():
    assert OTHER not in {group_of(str(kind)) for kind in set(read_dataset("distilled").config_type)}


def test_folds_have_equal_shares_of_each_group_and_keep_frames_of_a_group_id_together():
    kinds = np.array(["md_liquid"] * 10 + ["slab0001"] * 7 + ["slab_vac"] * 3)
    dataset = replace(Dataset.from_atoms(lj_frames(20)), config_type=kinds)
    fold = fold_of(dataset, 5, seed=3)
    for group in ("liquid", "slab"):
        mine = np.array([group_of(kind) == group for kind in kinds])
        assert np.bincount(fold[mine], minlength=5).tolist() == [2] * 5
    assert not np.array_equal(fold, fold_of(dataset, 5, seed=4))
    paired = replace(dataset, group_id=np.repeat(np.arange(10).astype(str), 2))
    assert (np.diff(fold_of(paired, 5).reshape(10, 2), axis=1) == 0).all()


def test_frames_that_are_appended_leave_the_folds_of_the_others_as_they_are():
    kinds = np.array((["md_liquid", "slab0001", "slab_vac"] * 8)[:23])
    every = replace(Dataset.from_atoms(lj_frames(23)), config_type=kinds)
    fold = fold_of(every, 4, seed=1)
    for part in (9, 16):
        assert np.array_equal(fold_of(every.select(np.arange(part)), 4, seed=1), fold[:part])
