"""Pairs of atoms by a sum over all images, against which a neighbour list is held."""

from __future__ import annotations

from itertools import combinations_with_replacement, product

import numpy as np

from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs

Key = tuple[int, ...]
AT_CUTOFF_A = 1e-9  # a pair so close to the cutoff may be in or out


def brute_force_pairs(structures: Structures, cutoff_A: float) -> dict[Key, float]:
    """{(i, j, S): distance in Å} of one frame, from all images that could matter; i < j, or i = j with S > 0."""
    positions, pbc = structures.positions, structures.pbc[0]
    cell = structures.cells[0] * pbc[:, None]
    ranges = [range(1)] * 3
    if pbc.any():
        height = 1.0 / np.linalg.norm(np.linalg.pinv(cell[pbc]), axis=0)
        fractions = positions @ np.linalg.pinv(cell[pbc])
        reach = np.ceil(cutoff_A / height + np.ptp(fractions, axis=0)).astype(int)
        for axis, n in zip(np.flatnonzero(pbc), reach, strict=True):
            ranges[axis] = range(-n, n + 1)
    images = np.array(list(product(*ranges)))
    found = {}
    for i, j in combinations_with_replacement(range(len(positions)), 2):
        distances = np.linalg.norm(positions[j] - positions[i] + images @ cell, axis=1)
        for k in np.flatnonzero(distances < cutoff_A):
            shift = tuple(int(n) for n in images[k])
            if i < j or (i == j and shift > (0, 0, 0)):
                found[i, j, *shift] = distances[k]
    return found


def as_keys(pairs: NeighborPairs) -> list[Key]:
    """(i, j, S) of each pair, turned so that i < j, or i = j with S > 0."""
    keys = []
    for i, j, shift in zip(pairs.first, pairs.second, pairs.shifts, strict=True):
        forward, backward = (i, j, *shift), (j, i, *-shift)
        keys.append(tuple(int(n) for n in (max if i == j else min)(forward, backward)))
    return keys


def wrong_pairs(pairs: NeighborPairs, structures: Structures, cutoff_A: float) -> list[str]:
    """What is wrong with the pairs of one frame: listed twice, missing, or not there."""
    found, expected = as_keys(pairs), brute_force_pairs(structures, cutoff_A + AT_CUTOFF_A)
    known = set(found)
    missing = [key for key, distance in expected.items() if distance < cutoff_A - AT_CUTOFF_A and key not in known]
    twice = [key for key in known if found.count(key) > 1] if len(known) < len(found) else []
    lists = {"listed twice": twice, "missing": missing, "not there": [key for key in known if key not in expected]}
    return [f"pair {key} is {problem}" for problem, keys in lists.items() for key in keys]
