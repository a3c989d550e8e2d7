"""Neighbour lists made on the device: every unordered pair once, and rows of directed pairs.

Pairs mean what they mean in `ru_calc.structures.neighbors`: r_ij = r_j − r_i + S·cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ru_calc.engine.device_pairs import Rows
from ru_calc.errors import DataError

CANDIDATES = 1 << 22  # pairs that are looked at together
MOST_BINS = 1 << 20  # along one periodic direction
ROUNDING = 1e-9  # relative: bins are wider than the cutoff by this much


class HalfPairs(NamedTuple):
    """first, second (p,) and shifts (p, 3), int64: what `NeighborPairs` holds, on the device."""

    first: Tensor
    second: Tensor
    shifts: Tensor


class _Bins(NamedTuple):
    """Atoms sorted by bin.  A bin has a number along each axis; bins that nobody is in take no memory."""

    order: Tensor  # (n,) atoms
    key: Tensor  # (n,) ascending
    place: Tensor  # (n, 3) bin of each sorted atom
    bins: tuple[int, ...]  # along each axis
    reach: tuple[int, ...]  # neighbours lie within so many bins
    pbc: tuple[bool, ...]


def find_half_pairs(positions: Tensor, cell: Tensor, pbc: np.ndarray, cutoff_A: float) -> HalfPairs:
    """Every unordered pair of one frame closer than `cutoff_A`, in the order of `find_pairs`.

    Cells may be skewed, smaller than the cutoff, or periodic in some directions only.  Waits for the device.

    Args:
        positions: (n, 3) in Å, float64, anywhere; cell: (3, 3).

    Raises:
        DataError: a position is not finite.
    """
    bad = (~positions.isfinite().all(dim=1)).nonzero()
    if len(bad):
        raise DataError(f"position of atom {int(bad[0])} is {positions[bad[0, 0]].tolist()}; it must be finite")
    if len(positions) == 0:
        nothing = torch.zeros(0, dtype=torch.int64, device=positions.device)
        return HalfPairs(nothing, nothing, nothing.new_zeros(0, 3))
    full = complete_cell(cell, pbc)
    fractions = positions @ inverse(full)
    home = torch.floor(fractions) * torch.from_numpy(np.array(pbc, dtype=float)).to(cell.device)
    inside = positions - home @ full
    bins = _bins(fractions - home, full, pbc, cutoff_A)
    parts = [_near(inside, full, cutoff_A, *found) for found in _candidates(bins)]
    first, second, shifts = (torch.cat(part) for part in zip(*parts, strict=True))
    home = home.long()
    return _in_order(first, second, shifts + home[first] - home[second])


def complete_cell(cell: Tensor, pbc: np.ndarray) -> Tensor:
    """The cell with unit normals in place of its non-periodic vectors, as `neighbors.complete_cell`; never waits."""
    periodic = [k for k in range(3) if pbc[k]]
    free = [k for k in range(3) if not pbc[k]]
    vectors = list(cell.unbind(0))
    unit = torch.eye(3, dtype=cell.dtype, device=cell.device)
    if not periodic:
        return unit
    if len(periodic) == 2:
        vectors[free[0]] = _unit(torch.linalg.cross(*(vectors[k] for k in periodic)))
    if len(periodic) == 1:
        axis = vectors[periodic[0]]
        normal = torch.linalg.cross(axis, unit.index_select(0, axis.abs().argmin()[None])[0])  # unit[…] would wait
        vectors[free[0]], vectors[free[1]] = _unit(normal), _unit(torch.linalg.cross(axis, normal))
    return torch.stack(vectors)


def _unit(vector: Tensor) -> Tensor:
    return vector / (vector * vector).sum().sqrt()


def inverse(matrix: Tensor) -> Tensor:
    """Of a 3 × 3 matrix, without the wait that a solver takes."""
    a, b, c = matrix.unbind(0)
    crosses = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=1)
    return crosses / (a * crosses[:, 0]).sum()


def _bins(fractions: Tensor, full: Tensor, pbc: np.ndarray, cutoff_A: float) -> _Bins:
    heights = (1.0 / (inverse(full) ** 2).sum(dim=0).sqrt()).tolist()
    width = cutoff_A * (1.0 + ROUNDING)
    places, counts, reach = [], [], []
    for axis, height in enumerate(heights):
        if pbc[axis]:
            count = min(max(1, int(height / width)), MOST_BINS)
            place = (fractions[:, axis] * count).floor().long().clamp(0, count - 1)
        else:
            place = _without_voids((fractions[:, axis] * (height / width)).floor().long())
            count = int(place.max()) + 1
        places.append(place)
        counts.append(count)
        reach.append(math.ceil(width * count / height) if pbc[axis] else 1)
    key, order = torch.sort(_key(places, counts), stable=True)
    return _Bins(order, key, torch.stack(places, dim=1)[order], tuple(counts), tuple(reach), tuple(map(bool, pbc)))


def _key(place: Sequence[Tensor], count: Sequence[int]) -> Tensor:
    return (place[0] * count[1] + place[1]) * count[2] + place[2]


def _without_voids(place: Tensor) -> Tensor:
    """Bins numbered anew from 0: neighbours stay neighbours, and any empty stretch is one bin wide."""
    used, index = torch.unique(place, return_inverse=True)
    return torch.cat([used.new_zeros(1), used.diff().clamp(max=2)]).cumsum(0)[index]


def _candidates(bins: _Bins) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Pairs (i, j, S) from bins that are near each other, each unordered pair once.

    Offsets between bins are numbered so that opposite ones stand opposite the middle: from there on is half of them.
    """
    atoms, total = len(bins.key), math.prod(2 * n + 1 for n in bins.reach)
    middle, at_once = total // 2, max(1, CANDIDATES // len(bins.key))
    for start in range(middle, total, at_once):
        number = torch.arange(start, min(start + at_once, total), device=bins.key.device)
        shift, low, high = _partners(bins, number)
        for a, b in _spans((high - low).cumsum(0)):
            counts = (high - low)[a:b]
            query = torch.repeat_interleave(torch.arange(a, b, device=low.device), counts)
            rank = torch.arange(len(query), device=low.device) - (counts.cumsum(0) - counts).repeat_interleave(counts)
            one, other = query % atoms, low[query] + rank
            once = (number[query // atoms] > middle) | (one < other)
            one, other, query = one[once], other[once], query[once]
            yield bins.order[one], bins.order[other], shift[query]


def _partners(bins: _Bins, number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each offset and sorted atom the image that the bin lies in, and the range of sorted atoms there."""
    targets: list[Tensor] = []
    shifts: list[Tensor] = []
    there = torch.ones(len(number), len(bins.key), dtype=torch.bool, device=number.device)
    for axis in range(2, -1, -1):
        width, count = 2 * bins.reach[axis] + 1, bins.bins[axis]
        offset = number % width - bins.reach[axis]
        number = number.div(width, rounding_mode="floor")
        target = bins.place[:, axis] + offset[:, None]
        shifts.insert(0, target.div(count, rounding_mode="floor") if bins.pbc[axis] else torch.zeros_like(target))
        targets.insert(0, target - shifts[0] * count)
        there &= (targets[0] >= 0) & (targets[0] < count)
    key = torch.where(there, _key(targets, bins.bins), -1).flatten()
    low, high = (torch.searchsorted(bins.key, key, right=right) for right in (False, True))
    return torch.stack(shifts, dim=2).flatten(0, 1), low, high


def _spans(total: Tensor) -> Iterator[tuple[int, int]]:
    """Runs of queries with at most CANDIDATES pairs together; a query with more comes alone."""
    start, done, n = 0, 0, len(total)
    while start < n:
        end = max(int(torch.searchsorted(total, done + CANDIDATES, right=True)), start + 1)
        yield start, end
        start, done = end, int(total[end - 1])


def _near(
    inside: Tensor, full: Tensor, cutoff_A: float, first: Tensor, second: Tensor, shifts: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    d = inside[second] - inside[first] + shifts.double() @ full
    near = (d * d).sum(dim=1) < cutoff_A**2
    return first[near], second[near], shifts[near]


def _in_order(first: Tensor, second: Tensor, shifts: Tensor) -> HalfPairs:
    leading = (torch.sign(shifts) * shifts.new_tensor([9, 3, 1])).sum(dim=1)
    turned = (first > second) | ((first == second) & (leading < 0))
    first, second = torch.where(turned, second, first), torch.where(turned, first, second)
    shifts = torch.where(turned[:, None], -shifts, shifts)
    order = _sorted(first, second, _numbered(shifts))
    return HalfPairs(first[order], second[order], shifts[order])


def _sorted(first: Tensor, second: Tensor, image: Tensor) -> Tensor:
    """The order by first, second and image."""
    order = torch.argsort(image, stable=True)
    pair = first * (second.max() + 1 if len(second) else 1) + second
    return order[torch.argsort(pair[order], stable=True)]


def _numbered(rows: Tensor) -> Tensor:
    """(p,) one number for each row of small integers (p, k), in their order."""
    if len(rows) == 0:
        return rows[:, 0]
    low = rows.min(dim=0).values
    spans = rows.max(dim=0).values - low + 1
    number = torch.zeros_like(rows[:, 0])
    for column in range(rows.shape[1]):
        number = number * spans[column] + (rows[:, column] - low[column])
    return number


def rows_of(pairs: HalfPairs, frames: Tensor, atoms: int, spare: float = 0.0) -> Rows:
    """The directed pairs of a half list, sorted by atom, neighbour and shift.

    Args:
        frames: (p,) frame of each pair.
        atoms: their number.
        spare: memory beyond what is needed, as a fraction, for lists to come.
    """
    half = len(pairs.first)
    first, second = torch.cat([pairs.first, pairs.second]), torch.cat([pairs.second, pairs.first])
    keys = torch.cat([torch.cat([frames, frames])[:, None], torch.cat([pairs.shifts, -pairs.shifts])], dim=1)
    _, image = torch.unique(_numbered(keys), return_inverse=True)
    images = keys.new_zeros(int(image.max()) + 1 if half else 0, 4).index_copy(0, image, keys)
    order = _sorted(first, second, image)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    length = torch.bincount(first, minlength=atoms)
    longest = int(length.max()) if atoms else 1
    return Rows(
        begin=(length.cumsum(0) - length).int(),
        length=length.int(),
        atom=_roomy(second[order].int(), spare),
        image=_roomy(image[order].int(), spare),
        mirror=_roomy(place[(order + half) % max(2 * half, 1)].int(), spare),
        shifts=_roomy(images[:, 1:].double(), spare),
        frames=_roomy(images[:, 0].contiguous(), spare),
        longest=max(1, longest + int(spare * longest)),
    )


def _roomy(array: Tensor, spare: float) -> Tensor:
    """A copy with zeros behind it; at least one."""
    made = array.new_zeros(len(array) + max(1, int(spare * len(array))), *array.shape[1:])
    made[: len(array)] = array
    return made
