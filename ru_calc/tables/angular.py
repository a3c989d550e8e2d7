"""Functions of directions in torch: spherical harmonics, and the invariants of the angular density."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from scipy.linalg import block_diag
from torch import Tensor

from ru_calc.tables.harmonics import InvariantPlan, degrees, harmonic_coefficients, triple_couplings
from ru_calc.tables.smooth import Constant


@cache
def _raising(degree: int) -> Constant:
    return Constant(harmonic_coefficients(degree).reshape(2 * degree + 3, -1).T)


def spherical_harmonics(directions: Tensor, l_max: int) -> Tensor:
    """(p, (l_max + 1)²) from unit vectors (p, 3): real, Σ_m Y_lm² = 2l + 1, columns l = 0 … l_max, m = −l … l.

    Y_(l+1) is the part of degree l + 1 in the products of Y_1 and Y_l, hence Y_l times the direction times constants:
    polynomials in x, y, z, with nothing singular at the poles.
    """
    cyclic = directions.roll(-1, dims=1)  # y, z, x
    columns = [torch.ones_like(cyclic[:, :1]), 3**0.5 * cyclic][: l_max + 1]
    for degree in range(1, l_max):
        products = cyclic[:, :, None] * columns[-1][:, None, :]
        columns.append(products.flatten(1) @ _raising(degree).like(directions))
    return torch.cat(columns, dim=1)


@cache
def parity(l_max: int) -> Constant:
    """((l_max + 1)²,) sign of each harmonic in the opposite direction."""
    return Constant((-1.0) ** degrees(l_max))


@cache
def sums_by_degree(l_max: int) -> Constant:
    """(l_max + 1, (l_max + 1)²) that sums the harmonics of each degree, over 2l + 1."""
    degree = degrees(l_max)
    return Constant((degree == np.arange(l_max + 1)[:, None]) / (2.0 * degree + 1.0))


@cache
def _couplings(l_max: int) -> tuple[Constant, Constant]:
    """Indices (3, terms) of the factors, and the matrix (couplings, terms) that sums the terms."""
    rows = [rows for _, rows in triple_couplings(l_max)]
    return (
        Constant(np.concatenate(rows)[:, :3].T.astype(np.int64)),
        Constant(block_diag(*[part[:, 3] for part in rows])),
    )


def invariants(plan: InvariantPlan, a: Tensor, m: Tensor) -> Tensor:
    """(n, features) invariants of a density a (n, h, k) and its mixings m (n, h, k + 2 triple); see `InvariantPlan`."""
    n, k, triple = len(a), plan.radial, plan.triple
    a, m = a.transpose(0, 1), m.transpose(0, 1)
    products = torch.cat([a.square(), a * m[:, :, :k]], dim=2)
    parts = [a[0], *(sums_by_degree(plan.l_max).like(a) @ products.flatten(1)).view(-1, n, 2 * k).unbind(0)]
    if plan.couplings:
        once, twice = m[:, :, k : k + triple], m[:, :, k + triple :]
        index, sums = _couplings(plan.l_max)
        first, second, third = torch.from_numpy(index.values).to(a.device)
        terms = once.index_select(0, first) * twice.index_select(0, second) * twice.index_select(0, third)
        parts += (sums.like(a) @ terms.flatten(1)).view(-1, n, triple).unbind(0)
    return torch.cat(parts, dim=1)
