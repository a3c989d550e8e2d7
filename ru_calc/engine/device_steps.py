"""The steps of the passes: what is done to single atoms, what atoms gather from their neighbours, and derivatives.

`pull` (slots, 3), float64, takes the derivative of what atom i gathers by r_ij; the other end's is at the mirror image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from ru_calc.engine.device_model import Angular, DeviceModel, Source
from ru_calc.engine.device_rows import Near
from ru_calc.tables.angular import spherical_harmonics
from ru_calc.tables.smooth import ZBLCore
from ru_calc.units import VOIGT_COLUMNS, VOIGT_ROWS


def derivative(function: Callable[[Tensor], Tensor], x: Tensor, bar: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """function(x), and x̄ from the adjoint of that; None stands for ones."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = function(x)
        (x_bar,) = torch.autograd.grad(value, x, torch.ones_like(value) if bar is None else bar)
    return value.detach(), x_bar


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


def read_table(table: Tensor, near: Near, weights: Tensor) -> Tensor:
    """(s, c) Σ_k w_k C_(interval + k)."""
    total = weights[:, :1] * table.index_select(0, near.interval)
    for k in range(1, weights.shape[1]):
        total.addcmul_(weights[:, k : k + 1], table.index_select(0, near.interval + k))
    return total


def repel(core: ZBLCore, one: Near, energies: Tensor, pull: Tensor) -> None:
    """Starts the energies (n,) and the pull with ½ ZBL(r_ij)."""
    energy, slope = derivative(core, one.distance)
    energies[one.piece.atoms] = 0.5 * one.piece.rows(energy).sum(dim=1)
    pull[one.piece.slots] = (0.5 * slope)[:, None] * one.direction


def gather(table: Tensor, near: Sequence[Near], h: Tensor | None, atoms: int) -> Tensor:
    """(n, c) m_i = Σ_j W(r_ij) ⊙ h_j; without h, of atoms that are all alike, Σ_j W(r_ij)."""
    m = table.new_empty(atoms, table.shape[1])
    for one in near:
        filters = read_table(table, one, one.weights)
        given = filters if h is None else filters * h.index_select(0, one.piece.neighbor)
        m[one.piece.atoms] = one.piece.rows(given).sum(dim=1)
    return m


def gather_pull(table: Tensor, near: Sequence[Near], h: Tensor | None, m_bar: Tensor, pull: Tensor) -> None:
    """⟨m̄_i ⊙ h_j, W'(r_ij)⟩ along r_ij: the derivative of `gather`."""
    for one in near:
        bar = m_bar[one.piece.atoms].repeat_interleave(one.piece.width, dim=0)
        bar = bar if h is None else bar * h.index_select(0, one.piece.neighbor)
        pull[one.piece.slots] += (read_table(table, one, one.slopes) * bar).sum(dim=1, keepdim=True) * one.direction


def density(angular: Angular, one: Near) -> Tensor:
    """(atoms, harmonics, radial) A = Σ_j Y_lm(r̂_ij) R_n(r_ij)."""
    y = one.piece.rows(spherical_harmonics(one.direction.to(angular.table.dtype), angular.plan.l_max))
    return torch.bmm(y.transpose(1, 2), one.piece.rows(read_table(angular.table, one, one.weights)))


def density_pull(angular: Angular, one: Near, a_bar: Tensor, pull: Tensor) -> None:
    """The derivative of ⟨Ā, A⟩."""
    n = one.direction.to(a_bar.dtype)
    values, slopes = (
        torch.bmm(one.piece.rows(read_table(angular.table, one, weights)), a_bar.transpose(1, 2)).flatten(0, 1)
        for weights in (one.weights, one.slopes)
    )
    y, turned = derivative(partial(spherical_harmonics, l_max=angular.plan.l_max), n, values)
    along = (slopes * y).sum(dim=1, keepdim=True)
    across = (turned - (turned * n).sum(dim=1, keepdim=True) * n) / one.distance[:, None]
    pull[one.piece.slots] += along * n + across


def forces(near: Sequence[Near], pull: Tensor, atoms: int, virial: bool) -> tuple[Tensor, Tensor | None]:
    """(n, 3) F_i = Σ_j g_ij, g_ij the derivative of E by r_ij, and (n, 6) ½ Σ_j r_ij ⊗ g_ij where wanted."""
    total, found = pull.new_empty(atoms, 3), pull.new_empty(atoms, 6) if virial else None
    for one in near:
        g = one.piece.rows(pull[one.piece.slots] - pull.index_select(0, one.piece.mirror))
        total[one.piece.atoms] = g.sum(dim=1)
        if found is not None:
            full = one.piece.rows(one.distance[:, None] * one.direction).transpose(1, 2) @ g
            found[one.piece.atoms] = 0.25 * (full + full.transpose(1, 2))[:, VOIGT_ROWS, VOIGT_COLUMNS]
    return total, found
