"""The neighbours of each atom as rows of matrices, in pieces of bounded size, and what the passes read of them.

A directed list lets an atom sum over its own row only: no atomic additions, and the same sums in the same order each
time.  What an atom does to its neighbour is fetched from the pair's mirror image by the last pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ru_calc.structures.neighbors import NeighborPairs
from ru_calc.tables.smooth import smooth_step, smooth_step_slope, spline_slopes, splines
from ru_calc.tables.splines import RadialGrid

SLOTS = {"cpu": 1 << 14}  # of a piece, with temporaries of some 4 kB each
SLOTS_ELSEWHERE = 1 << 19
SHORTEST = 64  # an atom counts as at least this many slots, as it has temporaries of its own


class Piece(NamedTuple):
    """A run of atoms, with a row of `width` slots for the neighbours of each, flattened.

    Rows are padded with the atom itself, translated beyond the cutoff.

    Attributes:
        atoms, slots: which of all atoms and of all slots.
        width: slots of an atom.
        neighbor, image: (s,) int32 atom, and index of the translation.
        mirror: (s,) int32 slot of the same pair seen from its other end.
    """

    atoms: slice
    slots: slice
    width: int
    neighbor: Tensor
    image: Tensor
    mirror: Tensor

    def rows(self, values: Tensor) -> Tensor:
        """(atoms, width, …) from (s, …)."""
        return values.unflatten(0, (-1, self.width))


class Near(NamedTuple):
    """The pairs of a piece at one configuration; beyond the cutoff weights and slopes are zero.

    Attributes:
        distance, direction: (s,) Å and (s, 3), float64.
        interval: (s,) int64, the first of the six rows of a table that the pair reads.
        weights, slopes: (s, 6) of those rows: B-splines under the envelope, and their derivatives by the distance.
    """

    piece: Piece
    distance: Tensor
    direction: Tensor
    interval: Tensor
    weights: Tensor
    slopes: Tensor


def rows_of(pairs: NeighborPairs, image: np.ndarray, images: int, counts: int, device: torch.device) -> list[Piece]:
    """The directed pairs of a half list.

    Args:
        image: (p,) index of the translation of each pair; that of its mirror image is larger by `images`.
        images: number of translations; number 2 · `images` is the long one.
        counts: number of atoms.
    """
    center, neighbor = np.concatenate([pairs.first, pairs.second]), np.concatenate([pairs.second, pairs.first])
    lengths = np.bincount(center, minlength=counts)
    parts = list(_parts(lengths, SLOTS.get(device.type, SLOTS_ELSEWHERE)))
    width = np.zeros(counts, dtype=np.int64)
    for atoms in parts:
        width[atoms] = max(1, lengths[atoms].max())
    end = np.cumsum(width)
    order = np.argsort(center, kind="stable")
    slot = np.empty(len(center), dtype=np.int64)
    slot[order] = np.arange(len(center)) + np.repeat(end - width - (np.cumsum(lengths) - lengths), lengths)
    total = int(end[-1]) if counts else 0
    neighbors = np.repeat(np.arange(counts, dtype=np.int32), width)
    translations, mirror = np.full(total, 2 * images, dtype=np.int32), np.arange(total, dtype=np.int32)
    neighbors[slot], translations[slot] = neighbor, np.concatenate([image, image + images])
    mirror[slot] = np.roll(slot, len(pairs))
    arrays = [torch.from_numpy(array).to(device) for array in (neighbors, translations, mirror)]
    pieces = []
    for atoms in parts:
        slots = slice(int(end[atoms.start] - width[atoms.start]), int(end[atoms.stop - 1]))
        pieces.append(Piece(atoms, slots, int(width[atoms.start]), *(array[slots] for array in arrays)))
    return pieces


def _parts(lengths: np.ndarray, slots: int) -> Iterator[slice]:
    """Runs of atoms whose rows, padded to the longest, have at most `slots` slots together; or a single atom."""
    start = 0
    while start < len(lengths):
        longest = np.maximum.accumulate(np.maximum(lengths[start : start + slots // SHORTEST], SHORTEST))
        stop = start + max(1, int((longest * np.arange(1, len(longest) + 1) <= slots).sum()))
        yield slice(start, stop)
        start = stop


def look(piece: Piece, grid: RadialGrid, x: Tensor, translations: Tensor, dtype: torch.dtype) -> Near:
    """The pairs of a piece at positions x (n, 3); translations (m, 3); both in Å, float64."""
    d = (
        x.index_select(0, piece.neighbor)
        - x[piece.atoms].repeat_interleave(piece.width, dim=0)
        + translations.index_select(0, piece.image)
    )
    r = (d * d).sum(dim=1).sqrt()
    direction = d / r[:, None]
    r = torch.where(r >= grid.cutoff_A, grid.cutoff_A, r)  # a distance that is not a number stays, and shows
    per_A = grid.intervals / grid.cutoff_A
    interval = (r * per_A).long().clamp(0, grid.intervals - 1)
    t = (r * per_A - interval).to(dtype)[:, None]
    u = ((r - (grid.cutoff_A - grid.switch_A)) / grid.switch_A).to(dtype)[:, None]
    values, slopes = torch.cat(splines(t), dim=1), torch.cat(spline_slopes(t), dim=1)
    fade, fall = smooth_step(u), smooth_step_slope(u) / grid.switch_A
    return Near(piece, r, direction, interval, fade * values, fade * per_A * slopes + fall * values)
