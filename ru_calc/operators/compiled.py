"""The operators' sums on the CPU, by the compiled module; see kernels/src/training.hpp.

The same names are in `torch_forms` for every device.  No derivative flows through any of them; `functions` adds that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ru_calc import kernels
from ru_calc.harmonics import raising_terms
from ru_calc.operators.geometry import ORDERS, SPLINES, PairGeometry, RadialGrid, Sphere


def pair_weights(vectors: Tensor, grid: RadialGrid) -> tuple[Tensor, Tensor, Tensor]:
    """Interval (p,), weights (p, 3, 6) and directions (p, 3) of vectors (p, 3); see `PairGeometry`."""
    n = len(vectors)
    interval = torch.empty(n, dtype=torch.int64)
    weights, units = vectors.new_empty(n, ORDERS, SPLINES), vectors.new_empty(n, 3)
    _call("pair_weights", vectors, grid.cutoff_A, grid.switch_A, grid.intervals, vectors, interval, weights, units)
    return interval, weights, units


def pair_harmonics(vectors: Tensor, l_max: int) -> tuple[Tensor, Tensor]:
    """Harmonics (p, h) of the directions of vectors (p, 3) and their slopes (p, 3, h)."""
    count = (l_max + 1) ** 2
    y, dy = vectors.new_empty(len(vectors), count), vectors.new_empty(len(vectors), 3, count)
    _call("pair_harmonics", vectors, l_max, raising_terms(l_max), vectors, y, dy)
    return y, dy


def node(g: PairGeometry, order: int, e: Tensor | None, h: Tensor, table: Tensor) -> Tensor:
    """(n, c) Σ_j e_ij h_j ⊙ W^(order)(r_ij) from e (p,) or None for 1, h (n, c), table (rows, c)."""
    out = h.new_zeros(h.shape)
    _call("node", h, order, *_pairs(g, table), e, h, table, out)
    return out


def edge(g: PairGeometry, order: int, a: Tensor, h: Tensor, table: Tensor) -> Tensor:
    """(p,) ⟨W^(order)(r_ij), a_i ⊙ h_j + a_j ⊙ h_i⟩ from a and h (n, c), table (rows, c)."""
    out = h.new_zeros(len(g.first))
    _call("edge", h, order, *_pairs(g, table), a, h, table, out)
    return out


def table(g: PairGeometry, order: int, e: Tensor | None, a: Tensor, h: Tensor) -> Tensor:
    """(rows, c) Σ_ij e_ij w_q^(order)(r_ij) (a_i ⊙ h_j + a_j ⊙ h_i), in the rows that pair ij reads."""
    out = h.new_zeros(g.grid.rows, h.shape[1])
    _call("table", h, order, *_pairs(g, out), e, a, h, out)
    return out


def density(g: PairGeometry, on: Sphere, u: Tensor | None, table: Tensor) -> Tensor:
    """(n, h, k) Σ_j R(r_ij) Y(r̂_ij) from table (rows, k); with u (p, 3) its change where each r_ij moves along u_ij."""
    out = table.new_zeros(g.n_atoms, len(on.parity), table.shape[1])
    _call("density", table, *_pairs(g, table), *_sphere(g, on), u, table, out)
    return out


def density_slopes(g: PairGeometry, on: Sphere, bar: Tensor, table: Tensor) -> Tensor:
    """(p, 3) ∂/∂r_ij ⟨bar, density⟩ from bar (n, h, k), table (rows, k)."""
    out = table.new_zeros(len(g.first), 3)
    _call("density_slopes", table, *_pairs(g, table), *_sphere(g, on), bar, table, out)
    return out


def density_table(g: PairGeometry, on: Sphere, u: Tensor | None, bar: Tensor) -> Tensor:
    """(rows, k) ∂/∂table ⟨bar, density⟩, or with u (p, 3) of ⟨bar, its change along u⟩; bar (n, h, k)."""
    out = bar.new_zeros(g.grid.rows, bar.shape[2])
    _call("density_table", bar, *_pairs(g, out), *_sphere(g, on), u, bar, out)
    return out


def _pairs(g: PairGeometry, table: Tensor) -> tuple[Any, ...]:
    return g.n_atoms, *table.shape, *g.arrays


def _sphere(g: PairGeometry, on: Sphere) -> tuple[Any, ...]:
    return *on.arrays, g.units, on.parity


def _call(name: str, like: Tensor, *arguments: Any) -> None:
    module = kernels.fastest()
    assert module is not None  # whoever chose this form has looked
    plain = [value.detach().contiguous().numpy() if isinstance(value, Tensor) else value for value in arguments]
    getattr(module, name)(8 * like.element_size(), *plain)
