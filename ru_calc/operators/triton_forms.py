"""The operators' sums as Triton kernels where pairs are many and wide; the rest is that of `torch_forms`.

`compiled` says what each computes.  No atomics, the same sums in the same order each time: a program gathers what one
atom, a few pairs or a part of one interval need.  Channels lie along the columns of a tile.
"""

# mypy: disable-error-code="assignment, var-annotated"

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ru_calc.operators.geometry import ORDERS, SPLINES, PairGeometry
from ru_calc.operators.torch_forms import (
    density,
    density_slopes,
    density_table,
    pair_harmonics,
    pair_weights,
)  # fmt: skip

__all__ = [
    "density", "density_slopes", "density_table", "edge", "node", "pair_harmonics", "pair_weights", "table",
]  # fmt: skip

# Pairs at a time and warps of a program.  Never timed.
TILES = {"node": (8, 4), "edge": (8, 4), "table": (8, 4)}
WIDEST = 128  # channels at a time
PART, PARTS = 64, 32  # pairs of an interval that one program takes, about, and programs of an interval at most
STRIDE = tl.constexpr(ORDERS * SPLINES)  # numbers of a pair among the weights


class Lists(NamedTuple):
    """Pairs by atom and by interval.

    Attributes:
        atoms: (n + 1,) where the row of each atom begins in `pair` and `other`: its pairs, and their other atoms.
        intervals: (intervals + 1,) where the row of each interval begins in `sorted`: the pairs in it.
    """

    atoms: Tensor
    pair: Tensor
    other: Tensor
    intervals: Tensor
    sorted: Tensor


_LISTS: MutableMapping[PairGeometry, Lists] = WeakIdKeyDictionary()


def lists_of(g: PairGeometry) -> Lists:
    """Found once for each geometry."""
    if g not in _LISTS:
        ends, others = torch.cat([g.first, g.second]), torch.cat([g.second, g.first])
        atoms, order = _rows(ends, g.n_atoms)
        _LISTS[g] = Lists(atoms, order % max(1, len(g.first)), others[order], *_rows(g.interval, g.grid.intervals))
    return _LISTS[g]


def _rows(keys: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Where each key's entries begin (count + 1,) in the order (p,) that sorts them."""
    ordered, order = torch.sort(keys, stable=True)
    return torch.searchsorted(ordered, torch.arange(count + 1, device=keys.device)), order


def node(g: PairGeometry, order: int, e: Tensor | None, h: Tensor, table: Tensor) -> Tensor:
    """See `compiled`."""
    out, lists = h.new_empty(h.shape), lists_of(g)
    sizes, options = _options("node", h)
    node_kernel[(len(h), triton.cdiv(h.shape[1], sizes["WIDTH"]))](
        out, *_contiguous(h if e is None else e, h, table), lists.atoms, lists.pair, lists.other, g.interval, g.weights,
        ORDER=order, EDGES=e is not None, **sizes, **options,
    )  # fmt: skip
    return out


def edge(g: PairGeometry, order: int, a: Tensor, h: Tensor, table: Tensor) -> Tensor:
    """See `compiled`."""
    out = h.new_empty(len(g.first))
    sizes, options = _options("edge", h)
    edge_kernel[(triton.cdiv(len(out), sizes["PAIRS"]),)](
        out, *_contiguous(a, h, table), g.first, g.second, g.interval, g.weights, len(out), ORDER=order, **sizes,
        **options,
    )  # fmt: skip
    return out


def table(g: PairGeometry, order: int, e: Tensor | None, a: Tensor, h: Tensor) -> Tensor:
    """See `compiled`."""
    n, channels, lists = g.grid.intervals, h.shape[1], lists_of(g)
    parts = min(PARTS, max(1, triton.cdiv(len(g.first), n * PART)))
    sums = h.new_empty(parts, n, SPLINES, channels)
    sizes, options = _options("table", h)
    table_kernel[(n, parts, triton.cdiv(channels, sizes["WIDTH"]))](
        sums, *_contiguous(h if e is None else e, a, h), lists.intervals, lists.sorted, g.first, g.second, g.weights,
        ORDER=order, EDGES=e is not None, **sizes, **options,
    )  # fmt: skip
    by_interval, out = sums.sum(dim=0), h.new_zeros(g.grid.rows, channels)
    for q in range(SPLINES):
        out[q : q + n] += by_interval[:, q]
    return out


def _contiguous(*parts: Tensor) -> tuple[Tensor, ...]:
    return tuple(part.detach().contiguous() for part in parts)


def _options(name: str, h: Tensor) -> tuple[dict[str, int], dict[str, Any]]:
    """Sizes of a kernel, and how it is compiled: newer versions of Triton fuse only where it is asked for."""
    channels, (pairs, warps) = h.shape[1], TILES[name]
    sizes = {"CHANNELS": channels, "WIDTH": min(WIDEST, triton.next_power_of_2(channels)), "PAIRS": pairs}
    return sizes, {"num_warps": warps, "enable_fp_fusion": True}


@triton.jit
def _filters(rows, weights, here, mask, CHANNELS: tl.constexpr):
    """(pairs, channels) W of a tile; `rows` points to the first row of each pair, `weights` to its first weight."""
    total = tl.zeros(mask.shape, rows.dtype.element_ty)
    for q in tl.static_range(6):
        total += tl.load(weights + q, here, 0.0)[:, None] * tl.load(rows + q * CHANNELS, mask, 0.0)
    return total


@triton.jit
def _both(a, h, at_i, at_j, mask):
    """(pairs, channels) a_i ⊙ h_j + a_j ⊙ h_i"""
    one = tl.load(a + at_i, mask, 0.0) * tl.load(h + at_j, mask, 0.0)
    return one + tl.load(a + at_j, mask, 0.0) * tl.load(h + at_i, mask, 0.0)


@triton.jit
def node_kernel(
    m, e, h, table, begin, pair, other, interval, weights,
    ORDER: tl.constexpr, EDGES: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """One atom."""
    i = tl.program_id(0)
    end = tl.load(begin + i + 1)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    total = tl.zeros((PAIRS, WIDTH), m.dtype.element_ty)
    for start in range(tl.load(begin + i), end, PAIRS):
        at = start + tl.arange(0, PAIRS)
        here = at < end
        p = tl.load(pair + at, here, 0)
        mask = here[:, None] & (c < CHANNELS)[None, :]
        rows = table + (tl.load(interval + p, here, 0) * CHANNELS)[:, None] + c[None, :]
        f = _filters(rows, weights + p * STRIDE + ORDER * 6, here, mask, CHANNELS)
        if EDGES:
            f *= tl.load(e + p, here, 0.0)[:, None]
        j = tl.load(other + at, here, 0)
        total += f * tl.load(h + (j * CHANNELS)[:, None] + c[None, :], mask, 0.0)
    tl.store(m + i.to(tl.int64) * CHANNELS + c, tl.sum(total, 0), c < CHANNELS)


@triton.jit(do_not_specialize=["pairs"])
def edge_kernel(
    s, a, h, table, first, second, interval, weights, pairs,
    ORDER: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """PAIRS pairs."""
    p = tl.program_id(0).to(tl.int64) * PAIRS + tl.arange(0, PAIRS)
    here = p < pairs
    at_i = (tl.load(first + p, here, 0) * CHANNELS)[:, None]
    at_j = (tl.load(second + p, here, 0) * CHANNELS)[:, None]
    rows = table + (tl.load(interval + p, here, 0) * CHANNELS)[:, None]
    total = tl.zeros((PAIRS, WIDTH), s.dtype.element_ty)
    for start in range(0, CHANNELS, WIDTH):
        c = start + tl.arange(0, WIDTH)[None, :]
        mask = here[:, None] & (c < CHANNELS)
        f = _filters(rows + c, weights + p * STRIDE + ORDER * 6, here, mask, CHANNELS)
        total += f * _both(a, h, at_i + c, at_j + c, mask)
    tl.store(s + p, tl.sum(total, 1), here)


@triton.jit
def table_kernel(
    sums, e, a, h, begin, pair, first, second, weights,
    ORDER: tl.constexpr, EDGES: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """Part of an interval's pairs: what they add to each of its six rows."""
    k = tl.program_id(0)
    part = tl.program_id(1)
    row = tl.load(begin + k)
    size = tl.cdiv(tl.load(begin + k + 1) - row, tl.num_programs(1))
    end = tl.minimum(row + (part + 1) * size, tl.load(begin + k + 1))
    c = tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)
    s0 = tl.zeros((PAIRS, WIDTH), sums.dtype.element_ty)
    s1, s2, s3, s4, s5 = s0, s0, s0, s0, s0
    for start in range(row + part * size, end, PAIRS):
        at = start + tl.arange(0, PAIRS)
        here = at < end
        p = tl.load(pair + at, here, 0)
        mask = here[:, None] & (c < CHANNELS)[None, :]
        at_i = (tl.load(first + p, here, 0) * CHANNELS)[:, None] + c[None, :]
        at_j = (tl.load(second + p, here, 0) * CHANNELS)[:, None] + c[None, :]
        both = _both(a, h, at_i, at_j, mask)
        if EDGES:
            both *= tl.load(e + p, here, 0.0)[:, None]
        w = weights + p * STRIDE + ORDER * 6
        s0 += tl.load(w, here, 0.0)[:, None] * both
        s1 += tl.load(w + 1, here, 0.0)[:, None] * both
        s2 += tl.load(w + 2, here, 0.0)[:, None] * both
        s3 += tl.load(w + 3, here, 0.0)[:, None] * both
        s4 += tl.load(w + 4, here, 0.0)[:, None] * both
        s5 += tl.load(w + 5, here, 0.0)[:, None] * both
    to = sums + (part.to(tl.int64) * tl.num_programs(0) + k) * (6 * CHANNELS) + c
    tl.store(to, tl.sum(s0, 0), c < CHANNELS)
    tl.store(to + CHANNELS, tl.sum(s1, 0), c < CHANNELS)
    tl.store(to + 2 * CHANNELS, tl.sum(s2, 0), c < CHANNELS)
    tl.store(to + 3 * CHANNELS, tl.sum(s3, 0), c < CHANNELS)
    tl.store(to + 4 * CHANNELS, tl.sum(s4, 0), c < CHANNELS)
    tl.store(to + 5 * CHANNELS, tl.sum(s5, 0), c < CHANNELS)
