"""Sums over pairs as autograd functions that may be differentiated twice, whatever computes them.

One form, T_d(a, h, e) = Σ_ij e_ij ⟨W^(d)(r_ij), a_i ⊙ h_j + a_j ⊙ h_i⟩ with W(r) = b(r)·C, has three derivatives: by a
a node output, by e an edge output, by C a table output.  Each is linear in the others' arguments, so their derivatives
are these three again, with d + 1 where the distance is differentiated.  The density of the angular embedding has a set
of its own; its second derivative by geometry goes through its plain form, since no fit needs it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from ru_calc.operators import plain
from ru_calc.operators.geometry import PairGeometry, Sphere


def wanted(ctx: Any, place: int) -> bool:
    """Whether this backward pass has a use for the gradient of tensor `place` of `ctx.saved_tensors`.

    `needs_input_grad` alone would have forces pay for the gradients of tables, which only a loss needs.
    """
    tensors = ctx.saved_tensors
    if tensors[place] is None or not ctx.needs_input_grad[2 + place]:
        return False
    # Of the inputs, torch counts the tensors only.
    return executes(ctx, sum(tensor is not None for tensor in tensors[:place]))


def executes(ctx: Any, place: int) -> bool:
    """Whether this backward pass goes on to where the tensor `place` among the inputs came from."""
    following = ctx.next_functions[place][0]
    try:
        return following is not None and torch._C._will_engine_execute_node(following)
    except RuntimeError:  # a leaf that is asked for by name
        return True


class Node(Function):
    """m_i = Σ_j e_ij h_j ⊙ W^(d)(r_ij) from h (n, c), table (rows, c), distances (p,), e (p,) or None for 1: (n, c)."""

    @staticmethod
    def forward(ctx, g: PairGeometry, order: int, e, h, table, distances):
        ctx.g, ctx.order = g, order
        ctx.save_for_backward(e, h, table, distances)
        return g.forms.node(g, order, e, h, table)

    @staticmethod
    def backward(ctx, bar):
        (e, h, table, distances), g, order = ctx.saved_tensors, ctx.g, ctx.order
        e_bar = Edge.apply(g, order, bar, h, table, distances) if wanted(ctx, 0) else None
        h_bar = Node.apply(g, order, e, bar, table, distances) if wanted(ctx, 1) else None
        table_bar = Table.apply(g, order, e, bar, h, distances) if wanted(ctx, 2) else None
        slope = _times(e, Edge.apply(g, order + 1, bar, h, table, distances)) if wanted(ctx, 3) else None
        return None, None, e_bar, h_bar, table_bar, slope


class Edge(Function):
    """s_ij = ⟨W^(d)(r_ij), a_i ⊙ h_j + a_j ⊙ h_i⟩ from a and h (n, c), table (rows, c), distances (p,): (p,)."""

    @staticmethod
    def forward(ctx, g: PairGeometry, order: int, a, h, table, distances):
        ctx.g, ctx.order = g, order
        ctx.save_for_backward(a, h, table, distances)
        return g.forms.edge(g, order, a, h, table)

    @staticmethod
    def backward(ctx, bar):
        (a, h, table, distances), g, order = ctx.saved_tensors, ctx.g, ctx.order
        a_bar = Node.apply(g, order, bar, h, table, distances) if wanted(ctx, 0) else None
        h_bar = Node.apply(g, order, bar, a, table, distances) if wanted(ctx, 1) else None
        table_bar = Table.apply(g, order, bar, a, h, distances) if wanted(ctx, 2) else None
        slope = bar * Edge.apply(g, order + 1, a, h, table, distances) if wanted(ctx, 3) else None
        return None, None, a_bar, h_bar, table_bar, slope


class Table(Function):
    """C̄ = Σ_ij e_ij b^(d)(r_ij) ⊗ (a_i ⊙ h_j + a_j ⊙ h_i) from e (p,) or None, a and h (n, c), distances: (rows, c)."""

    @staticmethod
    def forward(ctx, g: PairGeometry, order: int, e, a, h, distances):
        ctx.g, ctx.order = g, order
        ctx.save_for_backward(e, a, h, distances)
        return g.forms.table(g, order, e, a, h)

    @staticmethod
    def backward(ctx, bar):
        (e, a, h, distances), g, order = ctx.saved_tensors, ctx.g, ctx.order
        e_bar = Edge.apply(g, order, a, h, bar, distances) if wanted(ctx, 0) else None
        a_bar = Node.apply(g, order, e, h, bar, distances) if wanted(ctx, 1) else None
        h_bar = Node.apply(g, order, e, a, bar, distances) if wanted(ctx, 2) else None
        slope = _times(e, Edge.apply(g, order + 1, a, h, bar, distances)) if wanted(ctx, 3) else None
        return None, None, e_bar, a_bar, h_bar, slope


def _times(e: Tensor | None, s: Tensor) -> Tensor:
    return s if e is None else e * s


class Density(Function):
    """A_i,lm,k = Σ_j R_k(r_ij) Y_lm(r̂_ij) from table (rows, k) and vectors (p, 3): (n, (l_max + 1)², k)."""

    @staticmethod
    def forward(ctx, g: PairGeometry, on: Sphere, table, vectors):
        ctx.g, ctx.on = g, on
        ctx.save_for_backward(table, vectors)
        return g.forms.density(g, on, None, table)

    @staticmethod
    def backward(ctx, bar):
        (table, vectors), g, on = ctx.saved_tensors, ctx.g, ctx.on
        table_bar = DensityTable.apply(g, on, bar, vectors) if wanted(ctx, 0) else None
        slopes = DensitySlopes.apply(g, on, bar, table, vectors) if wanted(ctx, 1) else None
        return None, None, table_bar, slopes


class DensitySlopes(Function):
    """∂/∂r_ij ⟨bar, A⟩ from bar (n, h, k), table (rows, k), vectors (p, 3): (p, 3)."""

    @staticmethod
    def forward(ctx, g: PairGeometry, on: Sphere, bar, table, vectors):
        ctx.g, ctx.on = g, on
        ctx.save_for_backward(bar, table, vectors)
        return g.forms.density_slopes(g, on, bar, table)

    @staticmethod
    @once_differentiable
    def backward(ctx, u):
        (bar, table, vectors), g, on = ctx.saved_tensors, ctx.g, ctx.on
        bar_bar = g.forms.density(g, on, u, table) if wanted(ctx, 0) else None
        table_bar = g.forms.density_table(g, on, u, bar) if wanted(ctx, 1) else None
        bend = plain.density_bend(g, on.l_max, bar, table, vectors, u) if wanted(ctx, 2) else None
        return None, None, bar_bar, table_bar, bend


class DensityTable(Function):
    """∂/∂C ⟨bar, A⟩ from bar (n, h, k) and vectors (p, 3): (rows, k)."""

    @staticmethod
    def forward(ctx, g: PairGeometry, on: Sphere, bar, vectors):
        ctx.g, ctx.on = g, on
        ctx.save_for_backward(bar, vectors)
        return g.forms.density_table(g, on, None, bar)

    @staticmethod
    def backward(ctx, table):
        (bar, vectors), g, on = ctx.saved_tensors, ctx.g, ctx.on
        bar_bar = Density.apply(g, on, table, vectors) if wanted(ctx, 0) else None
        slopes = DensitySlopes.apply(g, on, bar, table, vectors) if wanted(ctx, 1) else None
        return None, None, bar_bar, slopes
