"""Frames that are there twice, also turned, shifted or renumbered, and those that two parts of a split share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial import cKDTree

from ru_calc.dataset import Dataset
from ru_calc.doctor.findings import Finding
from ru_calc.doctor.survey import Survey

NEAR = 3e-3  # in smoothed counts of pairs per atom, as distances change by about 0.001 Å
SAME_ENERGY_EV = 2e-3  # per atom


def alike(dataset: Dataset, seen: Survey) -> np.ndarray:
    """(p, 2) pairs of frames of the same atoms in the same surroundings, first < second."""
    s = dataset.structures
    volume = np.where(s.pbc.all(axis=1), np.nan_to_num(s.volumes), 0.0)
    columns = [seen.radial, 100.0 * s.counts[:, None], np.cbrt(volume)[:, None]]
    key = np.concatenate(columns, axis=1)
    known = np.flatnonzero(seen.radial.max(axis=1) > 0.01)  # not for atoms beyond the reach of the counts
    pairs = cKDTree(key[known]).query_pairs(NEAR, output_type="ndarray") if len(known) else np.zeros((0, 2), dtype=int)
    return known[pairs]


def check_copies(dataset: Dataset, pairs: np.ndarray) -> list[Finding]:
    """Copies within a file that belong to different groups, or have different energies."""
    found = []
    energy = dataset.energy / dataset.structures.counts
    apart = dataset.group_id[pairs[:, 0]] != dataset.group_id[pairs[:, 1]]
    if apart.any():
        text = f"{int(apart.sum())} frames are also there in another group, so that a split may part them"
        mend = "remove them, or give them one group_id"
        found.append(Finding("note", "copies", text, _all(pairs[apart]), mend, int(apart.sum())))
    differs = np.abs(energy[pairs[:, 0]] - energy[pairs[:, 1]])
    unlike = differs > SAME_ENERGY_EV
    if unlike.any():
        text = f"the same structure with different energies, by up to {1e3 * differs[unlike].max():.1f} meV per atom"
        mend = "look for other settings in one of them"
        found.append(Finding("warning", "two-labels", text, _all(pairs[unlike]), mend, float(differs[unlike].max())))
    return found


def check_split(pairs: np.ndarray, parts: Mapping[str, np.ndarray], group_id: np.ndarray) -> list[Finding]:
    """Frames or groups of the training part that other parts of a split also have."""
    found = []
    part_of = np.full(len(group_id), "", dtype=object)
    for name, frames in parts.items():
        part_of[frames] = name
    groups = {name: set(group_id[frames]) for name, frames in parts.items()}
    for name in parts:
        if name == "train" or "train" not in parts:
            continue
        ends = np.sort(part_of[pairs].astype(str), axis=1)
        shared = pairs[(ends == np.sort(["train", name])).all(axis=1)]
        if len(shared):
            text = f"{len(shared)} frames of the {name} part are also in the training part"
            found.append(
                Finding(
                    "warning", "leak", text, _all(shared), "give the copies one group_id and split again", len(shared)
                )
            )
        common = groups[name] & groups["train"]
        if common:
            frames = np.flatnonzero(np.isin(group_id, list(common)) & np.isin(part_of, [name]))
            text = f"{len(common)} groups are in both the training and the {name} part"
            found.append(
                Finding("warning", "parted-group", text, tuple(frames.tolist()), "split again by group", len(common))
            )
    return found


def _all(pairs: np.ndarray) -> tuple[int, ...]:
    return tuple(np.unique(pairs).tolist())
