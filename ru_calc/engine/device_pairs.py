"""The passes over pairs: what atoms gather from their neighbours, and its derivatives.

`pull` (slots, 3), float64, takes the derivative of what atom i gathers by r_ij; the other end's is at the mirror image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ru_calc.engine.device_layers import derivative
from ru_calc.engine.device_model import Angular
from ru_calc.engine.device_rows import Near
from ru_calc.tables.smooth import ZBLCore
from ru_calc.units import VOIGT_COLUMNS, VOIGT_ROWS


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
    y = one.piece.rows(angular.harmonics(one.direction.to(angular.table.dtype)))
    return torch.bmm(y.transpose(1, 2), one.piece.rows(read_table(angular.table, one, one.weights)))


def density_pull(angular: Angular, one: Near, a_bar: Tensor, pull: Tensor) -> None:
    """The derivative of ⟨Ā, A⟩."""
    n = one.direction.to(a_bar.dtype)
    values, slopes = (
        torch.bmm(one.piece.rows(read_table(angular.table, one, weights)), a_bar.transpose(1, 2)).flatten(0, 1)
        for weights in (one.weights, one.slopes)
    )
    y, turned = derivative(angular.harmonics, n, values)
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
