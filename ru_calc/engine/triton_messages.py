"""Triton kernels of the messages: splines of the distance, sums over the pairs of an atom, and their reverse."""

# mypy: disable-error-code="assignment, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl

# GRID: cutoff, fade, step, intervals of the tables, as everywhere.


@triton.jit
def _spline_weights(t):
    s = 1.0 - t
    t2 = t * t
    s2 = s * s
    return (
        (1.0 / 120.0) * s2 * s2 * s,
        (1.0 / 120.0) * (26.0 + t * (-50.0 + t * (20.0 + t * (20.0 + t * (-20.0 + 5.0 * t))))),
        (1.0 / 120.0) * (66.0 + t2 * (-60.0 + t2 * (30.0 - 10.0 * t))),
        (1.0 / 120.0) * (66.0 + s2 * (-60.0 + s2 * (30.0 - 10.0 * s))),
        (1.0 / 120.0) * (26.0 + s * (-50.0 + s * (20.0 + s * (20.0 + s * (-20.0 + 5.0 * s))))),
        (1.0 / 120.0) * t2 * t2 * t,
    )


@triton.jit
def _spline_slopes(t):
    s = 1.0 - t
    t2 = t * t
    s2 = s * s
    return (
        (-1.0 / 24.0) * s2 * s2,
        (1.0 / 24.0) * (-10.0 + t * (8.0 + t * (12.0 + t * (-16.0 + 5.0 * t)))),
        (1.0 / 24.0) * t * (-24.0 + t2 * (24.0 - 10.0 * t)),
        (-1.0 / 24.0) * s * (-24.0 + s2 * (24.0 - 10.0 * s)),
        (-1.0 / 24.0) * (-10.0 + s * (8.0 + s * (12.0 + s * (-16.0 + 5.0 * s)))),
        (1.0 / 24.0) * t2 * t2,
    )


@triton.jit
def _envelope(k, t, GRID: tl.constexpr):
    """From the cutoff inwards: exact where it vanishes."""
    u = tl.minimum((GRID[3] - k.to(t.dtype) - t) * (GRID[2] / GRID[1]), 1.0)
    return u * u * u * (10.0 + u * (-15.0 + 6.0 * u)), u * u * (1.0 - u) * (1.0 - u) * (-30.0 / GRID[1])


@triton.jit
def spline(rows, mask, k, t, GRID: tl.constexpr, CHANNELS: tl.constexpr, SLOPE: tl.constexpr):
    """Value and slope (a zero where not wanted) of a tile; `rows` points to the first row of each pair."""
    fade, dfade = _envelope(k, t, GRID)
    b = _spline_weights(t)
    d = _spline_slopes(t)
    value = tl.zeros(mask.shape, t.dtype)
    slope = tl.zeros(mask.shape, t.dtype)
    for q in tl.static_range(6):
        row = tl.load(rows + q * CHANNELS, mask, 0.0)
        value += (fade * b[q])[:, None] * row
        if SLOPE:
            slope += (fade * d[q] * (1.0 / GRID[2]) + dfade * b[q])[:, None] * row
    return value, slope


@triton.jit
def near_pairs(p, first, n, interval, place, PAIRS: tl.constexpr):
    """Pairs p … p + PAIRS of an atom's row: where they are, which of them are there, interval and place in it."""
    lane = p + tl.arange(0, PAIRS)
    here = lane < n
    at = first + lane
    return at, here, tl.load(interval + at, here, 0), tl.load(place + at, here, 0.0)


@triton.jit
def gather_kernel(
    m, h, table, begin, count, atom, interval, place,
    GRID: tl.constexpr, ALIKE: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    first = tl.load(begin + i)
    n = tl.load(count + i)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    total = tl.zeros((PAIRS, WIDTH), table.dtype.element_ty)
    for p in range(0, n, PAIRS):
        at, here, k, t = near_pairs(p, first, n, interval, place, PAIRS)
        mask = here[:, None] & (c < CHANNELS)[None, :]
        f, _ = spline(table + (k * CHANNELS)[:, None] + c[None, :], mask, k, t, GRID, CHANNELS, False)
        if not ALIKE:
            j = tl.load(atom + at, here, 0).to(tl.int64)
            f *= tl.load(h + (j * CHANNELS)[:, None] + c[None, :], mask, 0.0)
        total += f
    tl.store(m + i.to(tl.int64) * CHANNELS + c, tl.sum(total, 0), c < CHANNELS)


@triton.jit
def reverse_kernel(
    h, m_bar, h_bar, slopes, table, begin, count, atom, interval, slot, place,
    GRID: tl.constexpr, ALIKE: tl.constexpr, ADD: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr,
    PAIRS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    first = tl.load(begin + i)
    n = tl.load(count + i)
    c = tl.arange(0, WIDTH)
    own = i.to(tl.int64) * CHANNELS + c
    mine = tl.load(h + own, c < CHANNELS, 0.0)  # h_i; of atoms that are alike, m̄_i
    total = tl.zeros((PAIRS, WIDTH), table.dtype.element_ty)
    for p in range(0, n, PAIRS):
        at, here, k, t = near_pairs(p, first, n, interval, place, PAIRS)
        mask = here[:, None] & (c < CHANNELS)[None, :]
        f, df = spline(table + (k * CHANNELS)[:, None] + c[None, :], mask, k, t, GRID, CHANNELS, True)
        if not ALIKE:
            j = tl.load(atom + at, here, 0).to(tl.int64)
            theirs = tl.load(m_bar + (j * CHANNELS)[:, None] + c[None, :], mask, 0.0)
            total += f * theirs
            df *= theirs
        slope = tl.sum(df * mine[None, :], 1)
        to = slopes + tl.load(slot + at, here, 0)
        if ADD:
            slope += tl.load(to, here, 0.0)
        tl.store(to, slope, here)
    if not ALIKE:
        tl.store(h_bar + own, tl.sum(total, 0), c < CHANNELS)
