"""The passes over pairs in plain torch.

Rows are read as matrices (atoms, longest row) with a mask, chunk after chunk of atoms, so that shapes never depend on
data and sums run in a fixed order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ru_calc.engine.device_model import Angular, Core, Grid
from ru_calc.engine.device_pairs import CoreTerms, Geometry, Rows
from ru_calc.engine.torch_layers import activate, activate_reverse, invariants, invariants_reverse
from ru_calc.tables.constants import ZBL_DECAYS, ZBL_STRENGTHS

__all__ = [
    "activate", "activate_reverse", "alike_reverse", "density", "density_reverse", "find_geometry", "forces", "gather",
    "gather_reverse", "invariants", "invariants_reverse",
]  # fmt: skip

ELEMENTS = 1 << 21  # of the largest temporary of a chunk
SCREENING = tuple(zip(ZBL_STRENGTHS, ZBL_DECAYS, strict=True))


def find_geometry(grid: Grid, core: Core, rows: Rows, x: Tensor, translations: Tensor, out: Geometry) -> CoreTerms:
    """Fills `out` with the pairs that are within the cutoff now; the ZBL core on the way.

    Args:
        x: (n, 3) positions in Å, float64.
        translations: of `rows`.
    """
    parts = []
    for a, b in _chunks(len(x), 3 * rows.longest):
        slots, here = _row_slots(rows.begin[a:b], rows.length[a:b], rows.longest, 0)
        j, shift = rows.atom[slots], translations[rows.image[slots]]
        d = x[j] - x[a:b, None] + shift
        r2 = (d * d).sum(dim=2)
        near = here & ~(r2 >= grid.cutoff**2)  # a distance that is not a number stays, and shows
        r = torch.where(near, r2, 1.0).sqrt()
        d = torch.where(near[:, :, None], d, 0.0) * (1 / r)[:, :, None]
        _put_in_front(grid, out, a, b, (near, slots, j, r, d))
        parts.append(_core(core, near, r, d))
    return CoreTerms(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _put_in_front(grid: Grid, out: Geometry, a: int, b: int, found: tuple[Tensor, ...]) -> None:
    near, slots, j, r, d = found
    last = len(out.atom) - 1
    rank = near.cumsum(dim=1) - 1
    to = torch.where(near, out.begin[a:b, None] + rank, last).flatten()
    u = r * (1 / grid.step)
    k = u.to(torch.int32).clamp(0, grid.intervals - 1)
    out.count[a:b] = near.sum(dim=1)
    for array, values in ((out.atom, j), (out.interval, k), (out.slot, slots), (out.place, u - k)):
        array[to] = values.flatten().to(array.dtype)
    for axis in range(3):
        out.direction[axis, to] = d[:, :, axis].flatten().to(out.direction.dtype)


def _core(core: Core, near: Tensor, r: Tensor, n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """½ ZBL(r) and its slopes, summed over the neighbours of each atom."""
    screen, dscreen = torch.zeros_like(r), torch.zeros_like(r)
    for strength, decay in SCREENING:
        term = strength * torch.exp(r * (-decay / core.length))
        screen, dscreen = screen + term, dscreen - term * (decay / core.length)
    width = core.outer - core.inner
    u = ((r - core.inner) / width).clamp(0.0, 1.0)
    s = 1 - u
    fade, dfade = s * s * s * (10 + s * (-15 + 6 * s)), -30 * u * u * s * s / width
    inside = near & ~(r >= core.outer)
    e = torch.where(inside, core.strength * screen * fade / r, 0.0)
    de = torch.where(inside, core.strength * (dscreen * fade + screen * dfade) / r, 0.0) - e / r
    pull = de[:, :, None] * n
    return 0.5 * e.sum(dim=1), pull.sum(dim=1), 0.5 * _outer(r[:, :, None] * n, pull)


def gather(grid: Grid, table: Tensor, near: Geometry, h: Tensor | None) -> Tensor:
    """(n, width) m_i = Σ_j W(r_ij) ⊙ h_j; without h, of atoms that are all alike, Σ_j W(r_ij)."""
    parts = []
    for seen in _rows(grid, near, table.shape[1]):
        filters = _spline(table, seen.interval, seen.weights())
        parts.append((filters if h is None else filters * h[seen.atom]).sum(dim=1))
    return torch.cat(parts)


def gather_reverse(grid: Grid, table: Tensor, near: Geometry, h: Tensor, m_bar: Tensor, add: bool) -> Tensor:
    """(n, width) h̄_i = Σ_j W(r_ij) ⊙ m̄_j, and ⟨m̄_j ⊙ h_i, W'(r_ij)⟩ into the slopes.

    The derivative of E by r_ij is that and what the other end finds.

    Args:
        add: to the slopes that are there, or anew.
    """
    parts = []
    for seen in _rows(grid, near, table.shape[1]):
        from_j = m_bar[seen.atom]
        parts.append((_spline(table, seen.interval, seen.weights()) * from_j).sum(dim=1))
        slope = torch.einsum("awc,awc,ac->aw", _spline(table, seen.interval, seen.slopes()), from_j, h[seen.a : seen.b])
        _put_slope(near, seen, slope, add)
    return torch.cat(parts)


def alike_reverse(grid: Grid, table: Tensor, near: Geometry, m_bar: Tensor, add: bool) -> None:
    """⟨m̄_i, W'(r_ij)⟩ into the slopes: the reverse of `gather` of atoms that are alike."""
    for seen in _rows(grid, near, table.shape[1]):
        slope = torch.einsum("awc,ac->aw", _spline(table, seen.interval, seen.slopes()), m_bar[seen.a : seen.b])
        _put_slope(near, seen, slope, add)


def _put_slope(near: Geometry, seen: Seen, slope: Tensor, add: bool) -> None:
    near.slope[seen.slot] = slope + near.slope[seen.slot] if add else slope


def density(grid: Grid, angular: Angular, near: Geometry) -> Tensor:
    """(n, harmonics, radial) A = Σ_j Y_lm(r̂_ij) R_n(r_ij)."""
    parts = []
    for seen in _rows(grid, near, angular.harmonics + angular.radial):
        y = torch.cat(_harmonics(angular, seen.cyclic), dim=2)
        parts.append(torch.bmm(y.transpose(1, 2), _spline(angular.table, seen.interval, seen.weights())))
    return torch.cat(parts)


def density_reverse(grid: Grid, angular: Angular, near: Geometry, a_bar: Tensor) -> None:
    """The derivative of E by r_ij through A_i, and the slope that is there along r̂_ij, into `near.pull`."""
    assert near.pull is not None
    for seen in _rows(grid, near, angular.harmonics + angular.radial):
        d, bar = seen.cyclic, a_bar[seen.a : seen.b].transpose(1, 2)
        y = _harmonics(angular, d)
        y_bar = torch.bmm(_spline(angular.table, seen.interval, seen.weights()), bar)
        along = torch.bmm(_spline(angular.table, seen.interval, seen.slopes()), bar)
        along = (along * torch.cat(y, dim=2)).sum(dim=2, keepdim=True) + near.slope[seen.slot][:, :, None]
        across = _harmonics_reverse(angular, d, y, y_bar)
        r = torch.where(seen.here, seen.distance(grid.step), 1.0)[:, :, None]
        pull = across / r + (along - (across * d).sum(dim=2, keepdim=True) / r) * d
        near.pull[seen.slot] = pull.roll(1, dims=2)  # y, z, x to x, y, z


def _harmonics(angular: Angular, d: Tensor) -> list[Tensor]:
    """Y by degree, from directions (y, z, x)."""
    y = [torch.ones_like(d[:, :, :1]), 3**0.5 * d]
    for matrix in angular.raise_degree:
        y.append((d[:, :, :, None] * y[-1][:, :, None, :]).flatten(2) @ matrix)
    return y[: angular.l_max + 1]


def _harmonics_reverse(angular: Angular, d: Tensor, y: list[Tensor], y_bar: Tensor) -> Tensor:
    bars = list(y_bar.split([part.shape[2] for part in y], dim=2))
    d_bar = torch.zeros_like(d)
    for degree in range(angular.l_max - 1, 0, -1):
        out = (bars[degree + 1] @ angular.raise_degree[degree - 1].T).unflatten(2, (3, -1))
        d_bar = d_bar + (out * y[degree][:, :, None, :]).sum(dim=3)
        bars[degree] = bars[degree] + (out * d[:, :, :, None]).sum(dim=2)
    return d_bar + 3**0.5 * bars[1]


def forces(grid: Grid, rows: Rows, near: Geometry, virial: bool) -> tuple[Tensor, Tensor | None]:
    """(n, 3) F_i = Σ_j g_ij, g_ij the derivative of E by r_ij, and (n, 6) ½ Σ_j r_ij ⊗ g_ij where wanted; float64."""
    totals, virials = [], []
    for seen in _rows(grid, near, 6):
        n = torch.stack([seen.direction[axis] for axis in range(3)], dim=2).double()
        mirror = rows.mirror[torch.where(seen.here, seen.slot, 0)] if len(rows.mirror) else seen.slot
        if near.pull is None:
            g = (near.slope[seen.slot].double() + near.slope[mirror].double())[:, :, None] * n
        else:
            g = near.pull[seen.slot].double() - near.pull[mirror].double()
        g = torch.where(seen.here[:, :, None], g, 0.0)
        totals.append(g.sum(dim=1))
        if virial:
            r = (seen.interval + seen.place.double()) * grid.step
            virials.append(0.5 * _outer(r[:, :, None] * n, g))
    return torch.cat(totals), torch.cat(virials) if virial else None


def _outer(r: Tensor, g: Tensor) -> Tensor:
    """(n, 6) the symmetric part of Σ_j r ⊗ g, in Voigt's order."""
    full = r.transpose(1, 2) @ g
    full = 0.5 * (full + full.transpose(1, 2))
    return torch.stack([full[:, p, q] for p, q in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))], dim=1)


class Seen(NamedTuple):
    """The rows of atoms a … b as matrices (atoms, longest); pairs that are not there have weight zero."""

    a: int
    b: int
    here: Tensor
    atom: Tensor
    interval: Tensor
    slot: Tensor
    place: Tensor
    direction: tuple[Tensor, Tensor, Tensor]
    grid: Grid

    @property
    def cyclic(self) -> Tensor:
        """(atoms, longest, 3) directions as y, z, x."""
        x, y, z = self.direction
        return torch.stack([y, z, x], dim=2)

    def distance(self, step: float) -> Tensor:
        return (self.interval + self.place) * step

    def weights(self) -> list[Tensor]:
        """Of the six rows of a table: B-splines under the envelope."""
        fade = self._envelope()[0]
        return [torch.where(self.here, fade * b, 0.0) for b in spline_weights(self.place)]

    def slopes(self) -> list[Tensor]:
        """And their derivatives by the distance."""
        (fade, dfade), per_step = self._envelope(), 1 / self.grid.step
        pairs = zip(spline_weights(self.place), spline_slopes(self.place), strict=True)
        return [torch.where(self.here, fade * d * per_step + dfade * b, 0.0) for b, d in pairs]

    def _envelope(self) -> tuple[Tensor, Tensor]:
        """From the cutoff inwards: exact where it vanishes."""
        grid = self.grid
        u = ((grid.intervals - self.interval.to(self.place.dtype) - self.place) * (grid.step / grid.fade)).clamp(
            max=1.0
        )
        return u * u * u * (10 + u * (-15 + 6 * u)), u * u * (1 - u) * (1 - u) * (-30 / grid.fade)


def _rows(grid: Grid, near: Geometry, width: int) -> Iterator[Seen]:
    last = len(near.atom) - 1
    for a, b in _chunks(len(near.begin), near.longest * width):
        slots, here = _row_slots(near.begin[a:b], near.count[a:b], near.longest, last)
        atom = torch.where(here, near.atom[slots], 0)
        interval, place = torch.where(here, near.interval[slots], 0), torch.where(here, near.place[slots], 0.0)
        slot = torch.where(here, near.slot[slots], last)
        x, y, z = (torch.where(here, near.direction[axis][slots], 0.0) for axis in range(3))
        yield Seen(a, b, here, atom, interval, slot, place, (x, y, z), grid)


def _row_slots(begin: Tensor, count: Tensor, longest: int, elsewhere: int) -> tuple[Tensor, Tensor]:
    lane = torch.arange(longest, device=begin.device, dtype=begin.dtype)
    here = lane < count[:, None]
    return torch.where(here, begin[:, None] + lane, elsewhere), here


def _chunks(atoms: int, per_atom: int) -> Iterator[tuple[int, int]]:
    size = max(1, ELEMENTS // max(per_atom, 1))
    return ((a, min(a + size, atoms)) for a in range(0, atoms, size))


def _spline(table: Tensor, interval: Tensor, weights: list[Tensor]) -> Tensor:
    total = weights[0][:, :, None] * table[interval]
    for k in range(1, 6):
        total += weights[k][:, :, None] * table[interval + k]
    return total


def spline_weights(t: Tensor) -> list[Tensor]:
    """The six quintic B-splines that reach into an interval, at t in [0, 1)."""
    c, s = 1.0 / 120, 1 - t
    t2, s2 = t * t, s * s
    return [
        c * s2 * s2 * s,
        c * (26 + t * (-50 + t * (20 + t * (20 + t * (-20 + 5 * t))))),
        c * (66 + t2 * (-60 + t2 * (30 - 10 * t))),
        c * (66 + s2 * (-60 + s2 * (30 - 10 * s))),
        c * (26 + s * (-50 + s * (20 + s * (20 + s * (-20 + 5 * s))))),
        c * t2 * t2 * t,
    ]


def spline_slopes(t: Tensor) -> list[Tensor]:
    """Their derivatives by t."""
    e, s = 1.0 / 24, 1 - t
    t2, s2 = t * t, s * s
    return [
        -e * s2 * s2,
        e * (-10 + t * (8 + t * (12 + t * (-16 + 5 * t)))),
        e * t * (-24 + t2 * (24 - 10 * t)),
        -e * s * (-24 + s2 * (24 - 10 * s)),
        -e * (-10 + s * (8 + s * (12 + s * (-16 + 5 * s)))),
        e * t2 * t2,
    ]
