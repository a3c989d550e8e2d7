"""What the passes do to single atoms: activations, the energy pathway, invariants of the angular density."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import silu

from ru_calc.engine.device_model import Angular, DeviceModel, Source


def derivative(function: Callable[[Tensor], Tensor], x: Tensor, bar: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """function(x), and x̄ from the adjoint of that; None stands for ones."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = function(x)
        (x_bar,) = torch.autograd.grad(value, x, torch.ones_like(value) if bar is None else bar)
    return value.detach(), x_bar


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(n, out) from (n, in)."""
    return torch.addmm(bias, x, weight.T)


def activate(source: Source, a: Tensor) -> Tensor:
    """silu(norm(a)); the mean was taken off by the layer before."""
    if source.scale is None or source.offset is None:
        return silu(a)
    inverse = torch.rsqrt(a.square().sum(dim=1, keepdim=True) / source.width + source.norm_eps)
    return silu(a * inverse * source.scale + source.offset)


def energy_pathway(model: DeviceModel, z: Tensor) -> Tensor:
    """(n,) energies in eV, float64, without the energy of a lone atom, from what all sources send."""
    for weight, bias in model.head_dense:
        z = linear(silu(z), weight, bias)
    last = z if model.linear_head else silu(z)
    return last.double() @ model.energy_weight.double() + model.energy_bias


def invariants(angular: Angular, a: Tensor, mixed: Tensor) -> tuple[Tensor, Tensor]:
    """(n, features) of the density (n, h, k) and its mixings, see `InvariantPlan`, and what their reverse needs again.

    As `tables.angular.invariants`, with atoms first and few dense matrices in place of one row for each term.
    """
    k = angular.plan.radial
    square, cross = angular.by_degree @ (a * a), angular.by_degree @ (a * mixed[:, :, :k])
    parts = [a[:, 0], torch.stack([square, cross], dim=2).flatten(1)]
    sums = a.new_zeros(0)
    if angular.plan.triple:
        once, twice = mixed[:, :, k:].split(angular.plan.triple, dim=2)
        b, c = angular.products
        sums = angular.group_sums @ (twice.index_select(1, b) * twice.index_select(1, c))
        parts.append((angular.couple @ (sums * once.index_select(1, angular.group_factor))).flatten(1))
    return torch.cat(parts, dim=1), sums


def invariants_reverse(
    angular: Angular, a: Tensor, mixed: Tensor, sums: Tensor, f_bar: Tensor
) -> tuple[Tensor, Tensor]:
    """Ā and the adjoint of the mixings, both without what flows through the mixing."""
    k, degrees = angular.plan.radial, angular.plan.l_max + 1
    first, pairs, third = f_bar.split([k, 2 * k * degrees, f_bar.shape[1] - k * (2 * degrees + 1)], dim=1)
    square, cross = (angular.by_degree.T @ part for part in pairs.view(-1, degrees, 2, k).unbind(2))
    a_bar = 2.0 * square * a + cross * mixed[:, :, :k]
    a_bar[:, 0] += first
    parts = [cross * a]
    if angular.plan.triple:
        parts += _triples_reverse(angular, mixed[:, :, k:], sums, third)
    return a_bar, torch.cat(parts, dim=2)


def _triples_reverse(angular: Angular, factors: Tensor, sums: Tensor, f_bar: Tensor) -> list[Tensor]:
    once, twice = factors.split(angular.plan.triple, dim=2)
    b, c = angular.products
    bar = angular.couple.T @ f_bar.view(len(f_bar), angular.plan.couplings, angular.plan.triple)
    products = angular.group_sums.T @ (bar * once.index_select(1, angular.group_factor))
    by_b, by_c = products * twice.index_select(1, c), products * twice.index_select(1, b)
    return [angular.spread_a @ (bar * sums), angular.spread_b @ by_b + angular.spread_c @ by_c]


@contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 matrices without TF32; what the user had set comes back."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
