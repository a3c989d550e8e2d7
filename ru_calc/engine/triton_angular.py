"""Triton kernels of the angular density and its reverse.

RAISING, LOWERING: by harmonic, the terms (axis, other harmonic, weight); axes count y, z, x.
"""

# mypy: disable-error-code="assignment, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl

from ru_calc.engine.triton_messages import near_pairs, spline


@triton.jit
def _harmonics(d, RAISING: tl.constexpr, HARMONICS: tl.constexpr):
    root3: tl.constexpr = 1.7320508075688772
    y = (d[0] * 0.0 + 1.0, d[0] * root3, d[1] * root3, d[2] * root3)
    for q in tl.static_range(4, HARMONICS):
        total = d[0] * 0.0
        for term in tl.static_range(len(RAISING[q])):
            total += RAISING[q][term][2] * d[RAISING[q][term][0]] * y[RAISING[q][term][1]]
        y = y + (total,)
    return y


@triton.jit
def _directions(direction, stride, at, here):
    x = tl.load(direction + at, here, 0.0)
    return tl.load(direction + stride + at, here, 0.0), tl.load(direction + 2 * stride + at, here, 0.0), x


@triton.jit
def density_kernel(
    a, table, begin, count, atom, interval, place, direction, stride,
    GRID: tl.constexpr, RAISING: tl.constexpr, HARMONICS: tl.constexpr, RADIAL: tl.constexpr, WIDTH: tl.constexpr,
    PAIRS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    first = tl.load(begin + i)
    n = tl.load(count + i)
    c = tl.arange(0, WIDTH)
    zero = tl.zeros((PAIRS, WIDTH), table.dtype.element_ty)
    sums = ()
    for _q in tl.static_range(HARMONICS):
        sums = sums + (zero,)
    for p in range(0, n, PAIRS):
        at, here, k, t = near_pairs(p, first, n, interval, place, PAIRS)
        mask = here[:, None] & (c < RADIAL)[None, :]
        f, _ = spline(table + (k * RADIAL)[:, None] + c[None, :], mask, k, t, GRID, RADIAL, False)
        y = _harmonics(_directions(direction, stride, at, here), RAISING, HARMONICS)
        new = ()
        for q in tl.static_range(HARMONICS):
            new = new + (sums[q] + y[q][:, None] * f,)
        sums = new
    to = a + i.to(tl.int64) * (HARMONICS * RADIAL) + c
    for q in tl.static_range(HARMONICS):
        tl.store(to + q * RADIAL, tl.sum(sums[q], 0), c < RADIAL)


@triton.jit
def density_reverse_kernel(
    a_bar, pull, slopes, table, begin, count, atom, interval, slot, place, direction, stride,
    GRID: tl.constexpr, RAISING: tl.constexpr, LOWERING: tl.constexpr, HARMONICS: tl.constexpr, RADIAL: tl.constexpr,
    WIDTH: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    first = tl.load(begin + i)
    n = tl.load(count + i)
    c = tl.arange(0, WIDTH)
    bars = a_bar + i.to(tl.int64) * (HARMONICS * RADIAL) + c
    for p in range(0, n, PAIRS):
        at, here, k, t = near_pairs(p, first, n, interval, place, PAIRS)
        mask = here[:, None] & (c < RADIAL)[None, :]
        f, df = spline(table + (k * RADIAL)[:, None] + c[None, :], mask, k, t, GRID, RADIAL, True)
        d = _directions(direction, stride, at, here)
        y = _harmonics(d, RAISING, HARMONICS)
        y_bar = ()
        seen = tl.zeros((PAIRS, WIDTH), t.dtype)
        for q in tl.static_range(HARMONICS):
            bar = tl.load(bars + q * RADIAL, c < RADIAL, 0.0)[None, :]
            y_bar = y_bar + (tl.sum(f * bar, 1),)
            seen += y[q][:, None] * bar
        d_bar = _harmonics_reverse(d, y, y_bar, LOWERING, HARMONICS)
        to = tl.load(slot + at, here, 0)
        along = tl.sum(df * seen, 1) + tl.load(slopes + to, here, 0.0)
        r = tl.where(here, (k.to(t.dtype) + t) * GRID[2], 1.0)
        along -= (d_bar[0] * d[0] + d_bar[1] * d[1] + d_bar[2] * d[2]) / r
        tl.store(pull + 3 * to, d_bar[2] / r + along * d[2], here)
        tl.store(pull + 3 * to + 1, d_bar[0] / r + along * d[0], here)
        tl.store(pull + 3 * to + 2, d_bar[1] / r + along * d[1], here)


@triton.jit
def _harmonics_reverse(d, y, y_bar, LOWERING: tl.constexpr, HARMONICS: tl.constexpr):
    """Adjoint of the directions: the harmonics from the highest down, each first collecting what it entered."""
    root3: tl.constexpr = 1.7320508075688772
    done = ()  # of harmonics q + 1 …
    zero = d[0] * 0.0
    d_bar = (zero, zero, zero)
    for q in tl.static_range(HARMONICS - 1, 0, -1):
        bar = y_bar[q]
        for term in tl.static_range(len(LOWERING[q])):
            out = LOWERING[q][term][2] * done[LOWERING[q][term][1] - q - 1]
            bar += out * d[LOWERING[q][term][0]]
            d_bar = _add_to(d_bar, out * y[q], LOWERING[q][term][0])
        if q < 4:
            d_bar = _add_to(d_bar, bar * root3, q - 1)
        done = (bar,) + done
    return d_bar


@triton.jit
def _add_to(d, value, AXIS: tl.constexpr):
    if AXIS == 0:
        return d[0] + value, d[1], d[2]
    elif AXIS == 1:
        return d[0], d[1] + value, d[2]
    else:
        return d[0], d[1], d[2] + value
