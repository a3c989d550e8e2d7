"""Smooth functions of the distance and of the direction as torch writes them, differentiable any number of times."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from scipy.linalg import block_diag
from torch import Tensor, nn

from ru_calc.tables.harmonics import harmonic_coefficients, triple_couplings
from ru_calc.tables.plans import InvariantPlan
from ru_calc.tables.splines import DEGREE, RadialGrid


class Constant:
    """A fixed array, handed out in the dtype and on the device of whatever it meets.

    It is exact in float64 even in a module that has been float32 in between, which a buffer would not be.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.array(values)
        self._made: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, other: Tensor) -> Tensor:
        """The array as a tensor like `other`."""
        key = (other.dtype, other.device)
        if key not in self._made:
            self._made[key] = torch.from_numpy(self.values).to(other.device, other.dtype)
        return self._made[key]


def smooth_step(u: Tensor) -> Tensor:
    """1 − 10u³ + 15u⁴ − 6u⁵ on [0, 1]: from 1 to 0, slope and curvature vanish at both ends; constant outside.

    Evaluated as w³ (10 − 15w + 6w²) with w = 1 − u, which keeps its digits where it vanishes.
    """
    w = (1.0 - u).clamp(0.0, 1.0)
    return w * w * w * (10.0 + w * (-15.0 + 6.0 * w))


def envelope(distances: Tensor, cutoff_A: float, switch_A: float) -> Tensor:
    """1 up to `cutoff_A − switch_A`, then `smooth_step` to 0 at `cutoff_A`: (p,) from (p,) distances in Å."""
    return smooth_step((distances - (cutoff_A - switch_A)) / switch_A)


def spline_basis(distances: Tensor, grid: RadialGrid) -> Tensor:
    """(p, rows) quintic B-splines under the envelope, of distances (p,) in Å.

    C. de Boor, A Practical Guide to Splines (1978): on its interval, at t in [0, 1], spline q of degree d is
    ((t + d − q) b_(q−1) + (q + 1 − t) b_q) / d of those of degree d − 1.
    """
    u = distances * (grid.intervals / grid.cutoff_A)
    interval = u.detach().long().clamp(0, grid.intervals - 1)
    t, nothing = u - interval, torch.zeros_like(u)
    splines = [torch.ones_like(t)]
    for d in range(1, DEGREE + 1):
        lower = [nothing, *splines, nothing]
        splines = [((t + (d - q)) * lower[q] + ((q + 1) - t) * lower[q + 1]) / d for q in range(d + 1)]
    places = interval[:, None] + torch.arange(DEGREE + 1, device=u.device)
    fade = envelope(distances, grid.cutoff_A, grid.switch_A)
    values = torch.stack(splines, dim=1) * fade[:, None]
    return values.new_zeros(len(u), grid.rows).scatter(1, places, values)


class SphericalHarmonics(nn.Module):
    """Real spherical harmonics with Σ_m Y_lm² = 2l + 1, columns l = 0 … l_max, m = −l … l.

    Y_(l+1) is the part of degree l + 1 in the products of Y_1 and Y_l, hence Y_l times the direction times constants:
    polynomials in x, y, z, with nothing singular at the poles.
    """

    def __init__(self, l_max: int) -> None:
        super().__init__()
        self.l_max = l_max
        self.raising = [
            Constant(harmonic_coefficients(degree).reshape(2 * degree + 3, -1).T) for degree in range(1, l_max)
        ]

    def forward(self, directions: Tensor) -> Tensor:
        """(p, (l_max + 1)²) from unit vectors (p, 3)."""
        cyclic = directions[:, [1, 2, 0]]
        columns = [torch.ones_like(cyclic[:, :1]), 3**0.5 * cyclic][: self.l_max + 1]
        for raising in self.raising:
            products = cyclic[:, :, None] * columns[-1][:, None, :]
            columns.append(products.flatten(1) @ raising.like(directions))
        return torch.cat(columns, dim=1)


@cache
def _sums_by_degree(l_max: int) -> Constant:
    degree = np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)
    return Constant((degree == np.arange(l_max + 1)[:, None]) / (2.0 * degree + 1.0))


@cache
def _couplings(l_max: int) -> tuple[Constant, Constant]:
    """Indices (3, terms) of the factors, and the matrix (couplings, terms) that sums the terms."""
    rows = [rows for _, rows in triple_couplings(l_max)]
    return (
        Constant(np.concatenate(rows)[:, :3].T.astype(np.int64)),
        Constant(block_diag(*[part[:, 3] for part in rows])),
    )


def plain_invariants(plan: InvariantPlan, a: Tensor, m: Tensor) -> Tensor:
    """(n, features) invariants of a density a (n, h, k) and its mixings m (n, h, k + 2 triple); see `InvariantPlan`."""
    n, k, triple = len(a), plan.radial, plan.triple
    a, m = a.transpose(0, 1), m.transpose(0, 1)
    products = torch.cat([a.square(), a * m[:, :, :k]], dim=2)
    parts = [a[0], *(_sums_by_degree(plan.l_max).like(a) @ products.flatten(1)).view(-1, n, 2 * k).unbind(0)]
    if plan.couplings:
        once, twice = m[:, :, k : k + triple], m[:, :, k + triple :]
        index, sums = _couplings(plan.l_max)
        first, second, third = torch.from_numpy(index.values).to(a.device)
        terms = once.index_select(0, first) * twice.index_select(0, second) * twice.index_select(0, third)
        parts += (sums.like(a) @ terms.flatten(1)).view(-1, n, triple).unbind(0)
    return torch.cat(parts, dim=1)
