"""Rows of directed pairs from a list that holds every unordered pair once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ru_calc.engine.device_pairs import Rows


class HalfPairs(NamedTuple):
    """first, second (p,) and shifts (p, 3), int64: what `NeighborPairs` holds, on the device."""

    first: Tensor
    second: Tensor
    shifts: Tensor


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


def rows_of(pairs: HalfPairs, frames: Tensor, atoms: int) -> Rows:
    """The directed pairs of a half list, sorted by atom, neighbour and shift.

    Args:
        frames: (p,) frame of each pair.
        atoms: their number.
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
        atom=_roomy(second[order].int()),
        image=_roomy(image[order].int()),
        mirror=_roomy(place[(order + half) % max(2 * half, 1)].int()),
        shifts=_roomy(images[:, 1:].double()),
        frames=_roomy(images[:, 0].contiguous()),
        longest=max(1, longest),
    )


def _roomy(array: Tensor) -> Tensor:
    """With one row of zeros behind it."""
    return torch.cat([array, array.new_zeros(1, *array.shape[1:])])
