"""The operators' sums in plain torch, on any device; `compiled` says what each computes.

The sums of pairs into atoms and tables repeat bit by bit on the CPU; on a GPU they add in any order.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ru_calc.harmonics import harmonic_coefficients
from ru_calc.operators.geometry import ORDERS, SPLINES, PairGeometry, RadialGrid, Sphere

LARGEST = 2**24  # numbers of an array in between; more pairs are taken in turns


def pair_weights(vectors: Tensor, grid: RadialGrid) -> tuple[Tensor, Tensor, Tensor]:
    """See `compiled`.  B-splines as in `plain.spline_basis`; their slopes are differences of those of degree 4."""
    distances = vectors.square().sum(dim=1).sqrt()
    u = distances * (grid.intervals / grid.cutoff_A)
    interval = torch.where(u < grid.intervals, u, grid.intervals - 1).long()
    t, q = (u - interval)[:, None], torch.arange(SPLINES, device=u.device)
    by_degree = [torch.ones_like(t)]
    for d in range(1, SPLINES):
        lower, here = F.pad(by_degree[-1], (1, 1)), q[: d + 1]
        by_degree.append(((t + (d - here)) * lower[:, :-1] + (here + 1 - t) * lower[:, 1:]) / d)
    per_A = grid.intervals / grid.cutoff_A
    value = by_degree[5]
    slope = -per_A * F.pad(by_degree[4], (1, 1)).diff(dim=1)
    bend = per_A**2 * F.pad(by_degree[3], (2, 2)).diff(n=2, dim=1)
    w = (1.0 - (distances - (grid.cutoff_A - grid.switch_A)) / grid.switch_A).clamp(0.0, 1.0)[:, None]
    fade = w**3 * (10.0 + w * (-15.0 + 6.0 * w))
    dfade = -30.0 / grid.switch_A * (w * (1.0 - w)).square()
    ddfade = 60.0 / grid.switch_A**2 * w * (1.0 - w) * (1.0 - 2.0 * w)
    orders = fade * value, dfade * value + fade * slope, ddfade * value + 2.0 * dfade * slope + fade * bend
    return interval, torch.stack(orders, dim=1).view(len(vectors), ORDERS, SPLINES), vectors / distances[:, None]


def pair_harmonics(vectors: Tensor, l_max: int) -> tuple[Tensor, Tensor]:
    """See `compiled`; from degree to degree as in `plain.SphericalHarmonics`."""
    cyclic = [1, 2, 0]
    distances = vectors.square().sum(dim=1).sqrt()[:, None]
    units = vectors / distances
    to = units[:, cyclic]
    turn = (torch.eye(3).to(units) - units[:, :, None] * units[:, None, :])[:, :, cyclic] / distances[:, :, None]
    y, dy = [torch.ones_like(distances), 3**0.5 * to][: l_max + 1], [turn.new_zeros(len(turn), 3, 1), 3**0.5 * turn]
    for degree in range(1, l_max):
        raising = torch.from_numpy(harmonic_coefficients(degree)).to(units)
        raised = torch.einsum("oki,pi->pok", raising, y[-1])
        slopes = torch.einsum("pok,pak->pao", raised, turn)
        dy.append(slopes + torch.einsum("oki,pk,pai->pao", raising, to, dy[-1]))
        y.append(torch.einsum("pok,pk->po", raised, to))
    return torch.cat(y, dim=1), torch.cat(dy[: l_max + 1], dim=2)


def node(g: PairGeometry, order: int, e: Tensor | None, h: Tensor, table: Tensor) -> Tensor:
    """See `compiled`."""
    out = h.new_zeros(h.shape)
    for part, i, j in _turns(g, h.shape[1]):
        filters = _filters(g, order, table, part)
        filters = filters if e is None else filters * e[part, None]
        out.index_add_(0, i, filters * h[j]).index_add_(0, j, filters * h[i])
    return out


def edge(g: PairGeometry, order: int, a: Tensor, h: Tensor, table: Tensor) -> Tensor:
    """See `compiled`."""
    out = h.new_zeros(len(g.first))
    for part, i, j in _turns(g, h.shape[1]):
        out[part] = (_filters(g, order, table, part) * (a[i] * h[j] + a[j] * h[i])).sum(dim=1)
    return out


def table(g: PairGeometry, order: int, e: Tensor | None, a: Tensor, h: Tensor) -> Tensor:
    """See `compiled`."""
    out = h.new_zeros(g.grid.rows, h.shape[1])
    for part, i, j in _turns(g, h.shape[1]):
        weights = g.weights[part, order]
        weights = weights if e is None else weights * e[part, None]
        _into_rows(out, g, part, weights[:, :, None] * (a[i] * h[j] + a[j] * h[i])[:, None])
    return out


def density(g: PairGeometry, on: Sphere, u: Tensor | None, table: Tensor) -> Tensor:
    """See `compiled`."""
    out = table.new_zeros(g.n_atoms, len(on.parity), table.shape[1])
    for part, i, j in _turns(g, table.shape[1], len(on.parity)):
        angles, radial = on.values[part, :, None], _filters(g, 0, table, part)[:, None]
        if u is None:
            add = angles * radial
        else:
            along, turned = _moved(g, on, u, part)
            add = turned[:, :, None] * radial + angles * (along[:, None] * _filters(g, 1, table, part))[:, None]
        out.index_add_(0, i, add).index_add_(0, j, on.parity[:, None] * add)
    return out


def density_slopes(g: PairGeometry, on: Sphere, bar: Tensor, table: Tensor) -> Tensor:
    """See `compiled`."""
    out = table.new_zeros(len(g.first), 3)
    for part, i, j in _turns(g, table.shape[1], len(on.parity)):
        both = bar[i] + on.parity[:, None] * bar[j]
        along = torch.einsum("phk,pk->ph", both, _filters(g, 1, table, part))
        across = torch.einsum("phk,pk->ph", both, _filters(g, 0, table, part))
        out[part] = (along * on.values[part]).sum(dim=1, keepdim=True) * g.units[part]
        out[part] += torch.einsum("ph,pah->pa", across, on.slopes[part])
    return out


def density_table(g: PairGeometry, on: Sphere, u: Tensor | None, bar: Tensor) -> Tensor:
    """See `compiled`."""
    out = bar.new_zeros(g.grid.rows, bar.shape[2])
    for part, i, j in _turns(g, bar.shape[2], len(on.parity)):
        both = bar[i] + on.parity[:, None] * bar[j]
        angles, weights = on.values[part], g.weights[part, :, :, None]
        if u is None:
            add = weights[:, 0] * torch.einsum("phk,ph->pk", both, angles)[:, None]
        else:
            along, turned = _moved(g, on, u, part)
            add = weights[:, 0] * torch.einsum("phk,ph->pk", both, turned)[:, None]
            add += weights[:, 1] * torch.einsum("phk,ph->pk", both, along[:, None] * angles)[:, None]
        _into_rows(out, g, part, add)
    return out


def _turns(g: PairGeometry, width: int, terms: int = SPLINES) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Some of the pairs at a time, with their atoms."""
    step = max(1, LARGEST // max(1, width * max(terms, SPLINES)))
    for start in range(0, len(g.first), step):
        part = slice(start, start + step)
        yield part, g.first[part], g.second[part]


def _rows(g: PairGeometry, part: slice) -> Tensor:
    """(p, 6) rows of a table that the pairs read."""
    return g.interval[part, None] + torch.arange(SPLINES, device=g.interval.device)


def _filters(g: PairGeometry, order: int, table: Tensor, part: slice) -> Tensor:
    """(p, c) W^(order)(r_ij)"""
    return torch.einsum("pq,pqc->pc", g.weights[part, order], table[_rows(g, part)])


def _into_rows(out: Tensor, g: PairGeometry, part: slice, values: Tensor) -> None:
    """Adds (p, 6, c) to the rows of a table."""
    out.index_add_(0, _rows(g, part).flatten(), values.flatten(0, 1))


def _moved(g: PairGeometry, on: Sphere, u: Tensor, part: slice) -> tuple[Tensor, Tensor]:
    """Changes (p,) of the distances and (p, h) of the harmonics where vectors move along u."""
    return (u[part] * g.units[part]).sum(dim=1), torch.einsum("pa,pah->ph", u[part], on.slopes[part])
