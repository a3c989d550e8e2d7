"""Activations and invariants of the angular density as Triton kernels; see torch_layers.py for what they compute.

A program takes a few atoms, channels side by side.  The terms of the third order are unrolled: all that is read stays
in registers, nothing in between is written.
"""

# mypy: disable-error-code="assignment, var-annotated"

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ru_calc.engine.device_model import Angular, Source, Triple

# Atoms and warps of a program: as many as leave every value in a register.  Never timed.
FORWARD, REVERSE, ACTIVATION = (4, 1), (2, 1), (4, 4)

Terms = tuple[Any, ...]


def activate(source: Source, a: Tensor, width: int, eps: float) -> Tensor:
    """See torch_layers."""
    return _launch_activation(source, a, a, width, eps, False)


def activate_reverse(source: Source, a: Tensor, bar: Tensor, width: int, eps: float) -> Tensor:
    """See torch_layers."""
    return _launch_activation(source, a, bar, width, eps, True)


def _launch_activation(source: Source, a: Tensor, bar: Tensor, width: int, eps: float, reverse: bool) -> Tensor:
    out, (rows, channels), (atoms, warps) = torch.empty_like(a), a.shape, ACTIVATION
    _activation[(triton.cdiv(rows, atoms),)](
        a.contiguous(), bar.contiguous(), out, a if source.scale is None else source.scale,
        a if source.offset is None else source.offset, rows, NORM=source.scale is not None, REVERSE=reverse, SIZE=width,
        EPS=eps, CHANNELS=channels, WIDTH=triton.next_power_of_2(channels), ATOMS=atoms, **options(warps),
    )  # fmt: skip
    return out


def invariants(angular: Angular, a: Tensor, mixed: Tensor) -> tuple[Tensor, Tensor]:
    """See torch_layers; nothing is kept for the reverse."""
    features = angular.radial * (2 * angular.l_max + 3) + angular.triple * angular.couplings
    f = a.new_empty(len(a), features)
    by_coupling, _, _ = _terms(angular.triples, angular.couplings, angular.harmonics)
    atoms, warps = FORWARD
    _invariants[(triton.cdiv(len(a), atoms),)](
        a.contiguous(), mixed.contiguous(), f, len(a), TERMS=by_coupling, ATOMS=atoms, **_sizes(angular, features),
        **options(warps),
    )  # fmt: skip
    return f, f


def invariants_reverse(
    angular: Angular, a: Tensor, mixed: Tensor, sums: Tensor, f_bar: Tensor
) -> tuple[Tensor, Tensor]:
    """See torch_layers."""
    a, mixed, a_bar, mixed_bar = a.contiguous(), mixed.contiguous(), a.new_empty(a.shape), mixed.new_empty(mixed.shape)
    _, by_once, by_twice = _terms(angular.triples, angular.couplings, angular.harmonics)
    atoms, warps = REVERSE
    _invariants_reverse[(triton.cdiv(len(a), atoms),)](
        a, mixed, f_bar.contiguous(), a_bar, mixed_bar, len(a),
        ONCE=by_once, TWICE=by_twice, COUPLINGS=angular.couplings, ATOMS=atoms,
        **_sizes(angular, f_bar.shape[1]), **options(warps),
    )  # fmt: skip
    return a_bar, mixed_bar


def options(warps: int) -> dict[str, Any]:
    """Of every launch.  Newer versions of Triton fuse multiplications and additions only where it is asked for."""
    return {"num_warps": warps, "enable_fp_fusion": True}


def _sizes(angular: Angular, features: int) -> dict[str, int]:
    width = triton.next_power_of_2(max(angular.radial, angular.triple))
    return {
        "DEGREES": angular.l_max + 1, "RADIAL": angular.radial, "TRIPLE": angular.triple, "FEATURES": features,
        "WIDTH": width,
    }  # fmt: skip


@lru_cache
def _terms(triples: tuple[Triple, ...], couplings: int, harmonics: int) -> tuple[Terms, Terms, Terms]:
    """The terms three times: for each coupling, for each factor a, and for each factor b or c.

    First and second: (a or coupling, ((b, ((c, weight), …)), …)).  Third: (coupling, a, ((other, weight), …)).
    """

    def inner(terms: list[Triple]) -> Terms:
        return tuple((b, tuple((t.c, t.weight) for t in of_b)) for b, of_b in _grouped(terms, "b"))

    by_coupling = tuple(
        tuple((a, inner(of_a)) for a, of_a in _grouped([t for t in triples if t.coupling == k], "a"))
        for k in range(couplings)
    )
    by_once = tuple(
        tuple((k, inner(of_k)) for k, of_k in _grouped([t for t in triples if t.a == a], "coupling"))
        for a in range(harmonics)
    )
    both = [*triples, *(t._replace(b=t.c, c=t.b) for t in triples)]
    by_twice = tuple(
        tuple(
            (k, a, tuple((t.c, t.weight) for t in of_a))
            for k, of_k in _grouped([t for t in both if t.b == q], "coupling")
            for a, of_a in _grouped(of_k, "a")
        )
        for q in range(harmonics)
    )
    return by_coupling, by_once, by_twice


def _grouped(terms: list[Triple], name: str) -> list[tuple[int, list[Triple]]]:
    terms = sorted(terms, key=lambda t: getattr(t, name))
    return [(key, list(part)) for key, part in groupby(terms, key=lambda t: getattr(t, name))]


@triton.jit(do_not_specialize=["atoms"])
def _activation(
    a, bar, out, scale, offset, atoms,
    NORM: tl.constexpr, REVERSE: tl.constexpr, SIZE: tl.constexpr, EPS: tl.constexpr, CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr, ATOMS: tl.constexpr,
):  # fmt: skip
    """silu(norm(a)), or in reverse ā from its adjoint `bar`."""
    i = tl.program_id(0).to(tl.int64) * ATOMS + tl.arange(0, ATOMS)
    c = tl.arange(0, WIDTH)
    here = (i < atoms)[:, None] & (c < CHANNELS)[None, :]
    at = (i * CHANNELS)[:, None] + c[None, :]
    x = tl.load(a + at, here, 0.0)
    y = x
    if NORM:
        inverse = (1.0 / tl.sqrt(tl.sum(x * x, 1) * (1.0 / SIZE) + EPS))[:, None]
        x *= inverse
        factor = tl.load(scale + c, c < CHANNELS, 0.0)[None, :]
        y = x * factor + tl.load(offset + c, c < CHANNELS, 0.0)[None, :]
    g = 1.0 / (1.0 + tl.exp(-y))
    if not REVERSE:
        tl.store(out + at, y * g, here)
    else:
        result = tl.load(bar + at, here, 0.0) * (g * (1.0 + y * (1.0 - g)))
        if NORM:
            result *= factor
            result = inverse * (result - x * (tl.sum(result * x, 1) * (1.0 / SIZE))[:, None])
        tl.store(out + at, result, here)


@triton.jit(do_not_specialize=["atoms"])
def _invariants(
    a, mixed, f, atoms,
    TERMS: tl.constexpr, DEGREES: tl.constexpr, RADIAL: tl.constexpr, TRIPLE: tl.constexpr, FEATURES: tl.constexpr,
    WIDTH: tl.constexpr, ATOMS: tl.constexpr,
):  # fmt: skip
    harmonics: tl.constexpr = DEGREES * DEGREES
    stride: tl.constexpr = RADIAL + 2 * TRIPLE
    i = tl.program_id(0).to(tl.int64) * ATOMS + tl.arange(0, ATOMS)
    c = tl.arange(0, WIDTH)[None, :]
    here = (i < atoms)[:, None] & (c < RADIAL)
    at_a = a + (i * (harmonics * RADIAL))[:, None] + c
    at_mixed = mixed + (i * (harmonics * stride))[:, None] + c
    at_f = f + (i * FEATURES)[:, None] + c
    tl.store(at_f, tl.load(at_a, here, 0.0), here)
    for degree in tl.static_range(DEGREES):
        square = tl.zeros((ATOMS, WIDTH), a.dtype.element_ty)
        cross = tl.zeros((ATOMS, WIDTH), a.dtype.element_ty)
        for q in tl.static_range(degree * degree, (degree + 1) * (degree + 1)):
            x = tl.load(at_a + q * RADIAL, here, 0.0)
            square += x * x
            cross += x * tl.load(at_mixed + q * stride, here, 0.0)
        tl.store(at_f + RADIAL * (1 + 2 * degree), square * (1.0 / (2 * degree + 1)), here)
        tl.store(at_f + RADIAL * (2 + 2 * degree), cross * (1.0 / (2 * degree + 1)), here)
    if TRIPLE > 0:
        here = (i < atoms)[:, None] & (c < TRIPLE)
        twice = ()
        for q in tl.static_range(harmonics):
            twice = twice + (tl.load(at_mixed + q * stride + RADIAL + TRIPLE, here, 0.0),)
        for k in tl.static_range(len(TERMS)):
            total = tl.zeros((ATOMS, WIDTH), a.dtype.element_ty)
            for g in tl.static_range(len(TERMS[k])):
                once = tl.load(at_mixed + TERMS[k][g][0] * stride + RADIAL, here, 0.0)
                total += once * _sum(twice, TERMS[k][g][1])
            tl.store(at_f + RADIAL * (2 * DEGREES + 1) + k * TRIPLE, total, here)


@triton.jit
def _sum(twice, TERMS: tl.constexpr):
    """Σ_bc weight · B_b · B_c."""
    total = twice[0] * 0.0
    for h in tl.static_range(len(TERMS)):
        total += twice[TERMS[h][0]] * _weighted(twice, TERMS[h][1])
    return total


@triton.jit
def _weighted(values, TERMS: tl.constexpr):
    total = values[TERMS[0][0]] * TERMS[0][1]
    for t in tl.static_range(1, len(TERMS)):
        total += values[TERMS[t][0]] * TERMS[t][1]
    return total


@triton.jit(do_not_specialize=["atoms"])
def _invariants_reverse(
    a, mixed, f_bar, a_bar, mixed_bar, atoms,
    ONCE: tl.constexpr, TWICE: tl.constexpr, COUPLINGS: tl.constexpr, DEGREES: tl.constexpr, RADIAL: tl.constexpr,
    TRIPLE: tl.constexpr, FEATURES: tl.constexpr, WIDTH: tl.constexpr, ATOMS: tl.constexpr,
):  # fmt: skip
    harmonics: tl.constexpr = DEGREES * DEGREES
    stride: tl.constexpr = RADIAL + 2 * TRIPLE
    i = tl.program_id(0).to(tl.int64) * ATOMS + tl.arange(0, ATOMS)
    c = tl.arange(0, WIDTH)[None, :]
    here = (i < atoms)[:, None] & (c < RADIAL)
    at_a = (i * (harmonics * RADIAL))[:, None] + c
    at_mixed = (i * (harmonics * stride))[:, None] + c
    at_f = f_bar + (i * FEATURES)[:, None] + c
    for degree in tl.static_range(DEGREES):
        square = tl.load(at_f + RADIAL * (1 + 2 * degree), here, 0.0) * (2.0 / (2 * degree + 1))
        cross = tl.load(at_f + RADIAL * (2 + 2 * degree), here, 0.0) * (1.0 / (2 * degree + 1))
        for q in tl.static_range(degree * degree, (degree + 1) * (degree + 1)):
            x = tl.load(a + at_a + q * RADIAL, here, 0.0)
            bar = square * x + cross * tl.load(mixed + at_mixed + q * stride, here, 0.0)
            if q == 0:
                bar += tl.load(at_f, here, 0.0)
            tl.store(a_bar + at_a + q * RADIAL, bar, here)
            tl.store(mixed_bar + at_mixed + q * stride, cross * x, here)
    if TRIPLE > 0:
        here = (i < atoms)[:, None] & (c < TRIPLE)
        once = ()
        twice = ()
        bars = ()
        for q in tl.static_range(harmonics):
            once = once + (tl.load(mixed + at_mixed + q * stride + RADIAL, here, 0.0),)
            twice = twice + (tl.load(mixed + at_mixed + q * stride + RADIAL + TRIPLE, here, 0.0),)
        for k in tl.static_range(COUPLINGS):
            bars = bars + (tl.load(at_f + RADIAL * (2 * DEGREES + 1) + k * TRIPLE, here, 0.0),)
        to = mixed_bar + at_mixed + RADIAL
        for q in tl.static_range(harmonics):
            once_bar = tl.zeros((ATOMS, WIDTH), a.dtype.element_ty)
            for g in tl.static_range(len(ONCE[q])):
                once_bar += bars[ONCE[q][g][0]] * _sum(twice, ONCE[q][g][1])
            tl.store(to + q * stride, once_bar, here)
            twice_bar = tl.zeros((ATOMS, WIDTH), a.dtype.element_ty)
            for g in tl.static_range(len(TWICE[q])):
                both = bars[TWICE[q][g][0]] * once[TWICE[q][g][1]]
                twice_bar += both * _weighted(twice, TWICE[q][g][2])
            tl.store(to + q * stride + TRIPLE, twice_bar, here)
