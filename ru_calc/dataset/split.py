"""Splits into training, validation and test frames that keep groups together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import permutations

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

    Groups are shuffled within each `config_type` and dealt out in proportion to the fractions, type after type; what is
    left over by one type goes on to the next.  Over all frames the fractions hold to within one group, and no part with
    a fraction above 0 is empty if there are as many groups as such parts.

    Raises:
        SettingsError: see `check_fractions`.
    """
    names = ("train", "validation", "test")
    share = check_fractions(fractions)
    rng = np.random.default_rng(seed)
    groups, first, inverse = np.unique(dataset.group_id, return_index=True, return_inverse=True)
    sizes = np.bincount(inverse, minlength=len(groups))
    kind = dataset.config_type[first]
    order = np.concatenate([rng.permutation(np.flatnonzero(kind == name)) for name in rng.permutation(np.unique(kind))])
    owner = np.empty(len(groups), dtype=np.int64)
    owner[order] = _dealt(sizes[order], share)
    return {name: np.flatnonzero(owner[inverse] == k) for k, name in enumerate(names)}


def _dealt(sizes: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The part of each group, given the numbers of their frames in the order in which they are dealt."""
    owner, held = np.empty(len(sizes), dtype=np.int64), np.zeros(len(share))
    for k, size in enumerate(sizes):
        owner[k] = np.argmax(np.where(share > 0, share * (held.sum() + size) - held, -np.inf))
        held[owner[k]] += size
    while _improve(owner, sizes, share):
        pass
    for part in np.flatnonzero(share > 0):
        counts = np.bincount(owner, minlength=len(share))
        if not counts[part] and counts.max() > 1:
            giver = np.flatnonzero(owner == counts.argmax())
            owner[giver[sizes[giver].argmin()]] = part
    return owner


def _improve(owner: np.ndarray, sizes: np.ndarray, share: np.ndarray) -> bool:
    """Moves the group, or swaps the two, by which the numbers of frames come closest to the fractions."""
    excess = np.bincount(owner, sizes, len(share)) - share * sizes.sum()
    best, change = 1e-9, None
    for one, other in permutations(np.flatnonzero(share > 0), 2):
        given, taken = (np.append(np.unique(sizes[owner == part]), 0) for part in (one, other))
        moved = given[:, None] - taken
        gain = abs(excess[one]) + abs(excess[other]) - np.abs(excess[one] - moved) - np.abs(excess[other] + moved)
        row, column = np.unravel_index(gain.argmax(), gain.shape)
        if gain[row, column] > best:
            best, change = gain[row, column], ((one, other, given[row]), (other, one, taken[column]))
    if change is None:
        return False
    moves = [(np.flatnonzero((owner == one) & (sizes == size))[-1:], other) for one, other, size in change]
    for groups, part in moves:
        owner[groups] = part
    return True


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
