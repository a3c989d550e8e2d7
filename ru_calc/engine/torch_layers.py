"""What the passes do to single atoms, in plain torch: activations, invariants of the angular density."""

from __future__ import annotations

import torch
from torch import Tensor

from ru_calc.engine.device_model import Angular, Source


def activate(source: Source, a: Tensor, width: int, eps: float) -> Tensor:
    """silu(norm(a)); the mean was taken off by the layer before."""
    if source.scale is None:
        return torch.nn.functional.silu(a)
    return torch.nn.functional.silu(a * _inverse_norm(a, width, eps) * source.scale + source.offset)


def activate_reverse(source: Source, a: Tensor, bar: Tensor, width: int, eps: float) -> Tensor:
    """ā from the adjoint of `activate`."""
    if source.scale is None:
        return bar * silu_slope(a)
    inverse = _inverse_norm(a, width, eps)
    x = a * inverse
    g = bar * silu_slope(x * source.scale + source.offset) * source.scale
    return inverse * (g - x * ((g * x).sum(dim=1, keepdim=True) / width))


def _inverse_norm(a: Tensor, width: int, eps: float) -> Tensor:
    return torch.rsqrt((a * a).sum(dim=1, keepdim=True) / width + eps)


def invariants(angular: Angular, a: Tensor, mixed: Tensor) -> tuple[Tensor, Tensor]:
    """(n, features) of the density and its mixings, and what their reverse needs again.

    In this order: A_00; per degree Σ_m A² and Σ_m A (M A), both over 2l + 1; the third order.
    """
    n = angular.radial
    square, cross = angular.by_degree @ (a * a), angular.by_degree @ (a * mixed[:, :, :n])
    parts = [a[:, 0], torch.stack([square, cross], dim=2).flatten(1)]
    sums = a.new_zeros(0)
    if angular.triple:
        once, twice = mixed[:, :, n:].split(angular.triple, dim=2)
        b, c = angular.products
        sums = angular.group_sums @ (twice.index_select(1, b) * twice.index_select(1, c))
        parts.append((angular.couple @ (sums * once.index_select(1, angular.group_factor))).flatten(1))
    return torch.cat(parts, dim=1), sums


def invariants_reverse(
    angular: Angular, a: Tensor, mixed: Tensor, sums: Tensor, f_bar: Tensor
) -> tuple[Tensor, Tensor]:
    """Ā and the adjoint of the mixings, both without what flows through the mixing."""
    n, degrees = angular.radial, angular.l_max + 1
    first, pairs, third = f_bar.split([n, 2 * n * degrees, f_bar.shape[1] - n * (2 * degrees + 1)], dim=1)
    square, cross = (angular.by_degree.T @ part for part in pairs.view(-1, degrees, 2, n).unbind(2))
    a_bar = 2.0 * square * a + cross * mixed[:, :, :n]
    a_bar[:, 0] += first
    parts = [cross * a]
    if angular.triple:
        parts += _triples_reverse(angular, mixed[:, :, n:], sums, third)
    return a_bar, torch.cat(parts, dim=2)


def _triples_reverse(angular: Angular, factors: Tensor, sums: Tensor, f_bar: Tensor) -> list[Tensor]:
    once, twice = factors.split(angular.triple, dim=2)
    b, c = angular.products
    bar = angular.couple.T @ f_bar.view(len(f_bar), angular.couplings, angular.triple)
    products = angular.group_sums.T @ (bar * once.index_select(1, angular.group_factor))
    by_b, by_c = products * twice.index_select(1, c), products * twice.index_select(1, b)
    return [angular.spread_a @ (bar * sums), angular.spread_b @ by_b + angular.spread_c @ by_c]


def silu_slope(y: Tensor) -> Tensor:
    """Derivative of y · sigmoid(y)."""
    g = torch.sigmoid(y)
    return g * (1 + y * (1 - g))
