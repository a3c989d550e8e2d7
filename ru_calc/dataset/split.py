"""Splits into training, validation and test frames that keep groups together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ru_calc.dataset.frames import Dataset
from ru_calc.dataset.groups import group_of
from ru_calc.errors import SettingsError


def check_fractions(fractions: Sequence[float]) -> np.ndarray:
    """The fractions of training, validation and test frames as an array (3,).

    Raises:
        SettingsError: they are not three, are negative, do not add up to 1, or leave nothing for training.
    """
    share = np.asarray(fractions, dtype=float)
    if share.shape != (3,) or (share < 0).any() or abs(share.sum() - 1) > 1e-9 or share[0] == 0:
        raise SettingsError(
            f"the split is {tuple(fractions)}; it must be three fractions that add up to 1, the first above 0"
        )
    return share


def split_by_group(
    dataset: Dataset, fractions: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0
) -> dict[str, np.ndarray]:
    """Indices of training, validation and test frames, with the frames of a group kept together.

    Groups are shuffled within each `config_type` and dealt out in proportion to the fractions; a type too small for
    that goes to training first.

    Raises:
        SettingsError: see `check_fractions`.
    """
    names = ("train", "validation", "test")
    share = check_fractions(fractions)
    rng = np.random.default_rng(seed)
    groups, first, inverse = np.unique(dataset.group_id, return_index=True, return_inverse=True)
    sizes = np.bincount(inverse)
    kind = dataset.config_type[first]
    owner = np.zeros(len(groups), dtype=np.int64)
    for name in np.unique(kind):
        dealt = np.zeros(3)
        for group in rng.permutation(np.flatnonzero(kind == name)):
            owner[group] = np.argmax(share * (dealt.sum() + sizes[group]) - dealt)
            dealt[owner[group]] += sizes[group]
    return {name: np.flatnonzero(owner[inverse] == k) for k, name in enumerate(names)}


def fold_of(dataset: Dataset, count: int, seed: int = 0) -> np.ndarray:
    """(f,) fold of each frame, 0 to count − 1, with the frames of a `group_id` kept together.

    In the order of the frames, each goes to the fold that has fewest of its `config_type`, then of its group of types,
    then of all: every fold has a share of each, and frames that are appended leave the folds of the others unchanged.
    """
    groups, first, inverse = np.unique(dataset.group_id, return_index=True, return_inverse=True)
    rng = np.random.default_rng(seed)
    held: defaultdict[str, np.ndarray] = defaultdict(lambda: np.zeros(count))
    fold = np.empty(len(groups), dtype=np.int64)
    for k in np.argsort(first):
        kind = str(dataset.config_type[first[k]])
        loads = [held[f"all of {group_of(kind)}"], held[kind]]
        fold[k] = np.lexsort((rng.random(count), held["all"], *loads))[0]
        for load in (held["all"], *loads):
            load[fold[k]] += 1
    return fold[inverse]
