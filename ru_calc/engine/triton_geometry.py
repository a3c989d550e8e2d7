"""Triton kernels of the first pass over pairs and the last: geometry with the ZBL core, and forces."""

# mypy: disable-error-code="assignment, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def find_geometry_kernel(
    x, translations, begin, length, atom, image, count, out_atom, out_interval, out_slot, place, direction,
    energies, forces, virial, stride,
    GRID: tl.constexpr, CORE: tl.constexpr, SCREEN: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    first = tl.load(begin + i)
    n = tl.load(length + i)
    x0, x1, x2 = tl.load(x + 3 * i), tl.load(x + 3 * i + 1), tl.load(x + 3 * i + 2)
    found = n * 0
    nothing = tl.zeros((LANES,), tl.float64)
    sums = (nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing)
    cutoff2: tl.constexpr = GRID[0] * GRID[0]
    per_step: tl.constexpr = 1.0 / GRID[2]
    for p in range(0, n, LANES):
        lane = p + tl.arange(0, LANES)
        here = lane < n
        slot = first + lane
        j = tl.load(atom + slot, here, 0)
        s = tl.load(image + slot, here, 0)
        d0 = tl.load(x + 3 * j, here, 0.0) - x0 + tl.load(translations + 3 * s, here, 0.0)
        d1 = tl.load(x + 3 * j + 1, here, 0.0) - x1 + tl.load(translations + 3 * s + 1, here, 0.0)
        d2 = tl.load(x + 3 * j + 2, here, 0.0) - x2 + tl.load(translations + 3 * s + 2, here, 0.0)
        r2 = d0 * d0 + d1 * d1 + d2 * d2
        near = here & ((r2 < cutoff2) | (r2 != r2))
        r = tl.sqrt(tl.where(near, r2, 1.0))
        inverse = 1.0 / r
        n0, n1, n2 = d0 * inverse, d1 * inverse, d2 * inverse
        u = r * per_step
        k = tl.minimum(tl.maximum(u.to(tl.int32), 0), GRID[3] - 1)
        to = first + found + tl.cumsum(near.to(tl.int32), 0) - 1
        tl.store(out_atom + to, j, near)
        tl.store(out_interval + to, k, near)
        tl.store(out_slot + to, slot, near)
        tl.store(place + to, (u - k).to(place.dtype.element_ty), near)
        tl.store(direction + to, n0.to(place.dtype.element_ty), near)
        tl.store(direction + stride + to, n1.to(place.dtype.element_ty), near)
        tl.store(direction + 2 * stride + to, n2.to(place.dtype.element_ty), near)
        found += tl.sum(near.to(tl.int32), 0)
        inside = near & ((r < CORE[1]) | (r != r))
        if tl.max(inside.to(tl.int32), 0) > 0:
            e, de = _zbl(r, CORE, SCREEN)
            sums = _add_core(sums, tl.where(inside, e, 0.0), tl.where(inside, de, 0.0), r, n0, n1, n2)
    tl.store(count + i, found)
    tl.store(energies + i, tl.sum(sums[0], 0))
    for a in tl.static_range(3):
        tl.store(forces + 3 * i + a, tl.sum(sums[1 + a], 0))
    for a in tl.static_range(6):
        tl.store(virial + 6 * i + a, tl.sum(sums[4 + a], 0))


@triton.jit
def _zbl(r, CORE: tl.constexpr, SCREEN: tl.constexpr):
    """ZBL(r) and its slope.  CORE: inner, outer, length, strength."""
    screen = r * 0.0
    dscreen = r * 0.0
    for q in tl.static_range(4):
        term = SCREEN[q][0] * tl.exp(r * (-SCREEN[q][1] / CORE[2]))
        screen += term
        dscreen -= term * (SCREEN[q][1] / CORE[2])
    width: tl.constexpr = CORE[1] - CORE[0]
    u = tl.minimum(tl.maximum((r - CORE[0]) / width, 0.0), 1.0)
    s = 1.0 - u
    fade = s * s * s * (10.0 + s * (-15.0 + 6.0 * s))
    dfade = -30.0 * u * u * s * s / width
    e = CORE[3] * screen * fade / r
    return e, CORE[3] * (dscreen * fade + screen * dfade) / r - e / r


@triton.jit
def _add_core(sums, e, de, r, n0, n1, n2):
    half = 0.5 * r * de
    return (
        sums[0] + 0.5 * e, sums[1] + de * n0, sums[2] + de * n1, sums[3] + de * n2,
        sums[4] + half * n0 * n0, sums[5] + half * n1 * n1, sums[6] + half * n2 * n2,
        sums[7] + half * n1 * n2, sums[8] + half * n0 * n2, sums[9] + half * n0 * n1,
    )  # fmt: skip


@triton.jit
def forces_kernel(
    total, virials, pull, mirror, begin, count, interval, slot, place, direction, stride,
    GRID: tl.constexpr, PULL: tl.constexpr, VIRIAL: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    first = tl.load(begin + i)
    n = tl.load(count + i)
    nothing = tl.zeros((LANES,), tl.float64)
    f0, f1, f2 = nothing, nothing, nothing
    v = (nothing, nothing, nothing, nothing, nothing, nothing)
    for p in range(0, n, LANES):
        lane = p + tl.arange(0, LANES)
        here = lane < n
        at = first + lane
        mine = tl.load(slot + at, here, 0)
        other = tl.load(mirror + mine, here, 0)
        n0 = tl.load(direction + at, here, 0.0).to(tl.float64)
        n1 = tl.load(direction + stride + at, here, 0.0).to(tl.float64)
        n2 = tl.load(direction + 2 * stride + at, here, 0.0).to(tl.float64)
        if PULL:
            g0 = _difference(pull, 3 * mine, 3 * other, here)
            g1 = _difference(pull, 3 * mine + 1, 3 * other + 1, here)
            g2 = _difference(pull, 3 * mine + 2, 3 * other + 2, here)
        else:
            slope = tl.load(pull + mine, here, 0.0).to(tl.float64) + tl.load(pull + other, here, 0.0).to(tl.float64)
            g0, g1, g2 = slope * n0, slope * n1, slope * n2
        f0, f1, f2 = f0 + g0, f1 + g1, f2 + g2
        if VIRIAL:
            k = tl.load(interval + at, here, 0)
            half = 0.5 * GRID[2] * (k.to(tl.float64) + tl.load(place + at, here, 0.0).to(tl.float64))
            r0, r1, r2 = half * n0, half * n1, half * n2
            v = (
                v[0] + r0 * g0, v[1] + r1 * g1, v[2] + r2 * g2, v[3] + 0.5 * (r1 * g2 + r2 * g1),
                v[4] + 0.5 * (r0 * g2 + r2 * g0), v[5] + 0.5 * (r0 * g1 + r1 * g0),
            )  # fmt: skip
    tl.store(total + 3 * i, tl.sum(f0, 0))
    tl.store(total + 3 * i + 1, tl.sum(f1, 0))
    tl.store(total + 3 * i + 2, tl.sum(f2, 0))
    if VIRIAL:
        for a in tl.static_range(6):
            tl.store(virials + 6 * i + a, tl.sum(v[a], 0))


@triton.jit
def _difference(values, mine, other, here):
    return tl.load(values + mine, here, 0.0).to(tl.float64) - tl.load(values + other, here, 0.0).to(tl.float64)
