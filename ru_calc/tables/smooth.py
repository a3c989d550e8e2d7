"""Smooth functions of the distance in torch: envelope, B-splines and the ZBL core."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from ru_calc.tables.constants import ZBL_DECAYS, ZBL_LENGTH_A, ZBL_SCALE_EV_A, ZBL_STRENGTHS
from ru_calc.tables.splines import DEGREE, RadialGrid


class Constant:
    """A fixed array, available in any dtype and on any device.

    Unlike a buffer it stays exact in float64 when its module is converted to float32 and back.
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

    Evaluated as w³ (10 − 15w + 6w²) with w = 1 − u, which stays accurate where it vanishes.
    """
    w = (1.0 - u).clamp(0.0, 1.0)
    return w * w * w * (10.0 + w * (-15.0 + 6.0 * w))


def smooth_step_slope(u: Tensor) -> Tensor:
    """Derivative of `smooth_step`: −30u² (1 − u)² on [0, 1], 0 outside."""
    w = (1.0 - u).clamp(0.0, 1.0)
    return -30.0 * (w * (1.0 - w)).square()


def envelope(distances: Tensor, cutoff_A: float, switch_A: float) -> Tensor:
    """1 up to `cutoff_A − switch_A`, then `smooth_step` to 0 at `cutoff_A`: (p,) from (p,) distances in Å."""
    return smooth_step((distances - (cutoff_A - switch_A)) / switch_A)


def splines(t: Tensor, degree: int = DEGREE) -> list[Tensor]:
    """The degree + 1 uniform B-splines that are not zero on an interval, at t in [0, 1].

    C. de Boor, A Practical Guide to Splines (1978): spline q of degree d is
    ((t + d − q) b_(q−1) + (q + 1 − t) b_q) / d of those of degree d − 1.
    """
    found, nothing = [torch.ones_like(t)], torch.zeros_like(t)
    for d in range(1, degree + 1):
        lower = [nothing, *found, nothing]
        found = [((t + (d - q)) * lower[q] + ((q + 1) - t) * lower[q + 1]) / d for q in range(d + 1)]
    return found


def spline_slopes(t: Tensor, degree: int = DEGREE) -> list[Tensor]:
    """Derivatives of `splines` by t: differences of the splines of one degree less."""
    nothing = torch.zeros_like(t)
    return [left - right for left, right in pairwise([nothing, *splines(t, degree - 1), nothing])]


def spline_basis(distances: Tensor, grid: RadialGrid) -> Tensor:
    """(p, rows) quintic B-splines under the envelope, of distances (p,) in Å."""
    u = distances * (grid.intervals / grid.cutoff_A)
    interval = u.detach().long().clamp(0, grid.intervals - 1)
    places = interval[:, None] + torch.arange(DEGREE + 1, device=u.device)
    fade = envelope(distances, grid.cutoff_A, grid.switch_A)
    values = torch.stack(splines(u - interval), dim=1) * fade[:, None]
    return values.new_zeros(len(u), grid.rows).scatter(1, places, values)


class ZBLCore(nn.Module):
    """Screened nuclear repulsion, faded out over `inner_A … outer_A`, so that colliding atoms turn back.

    E(r) = Z² e² / r · φ(r / a) with the universal screening function φ; see `ru_calc.tables.constants`.  No parameter
    is fitted.
    """

    def __init__(self, inner_A: float, outer_A: float) -> None:
        super().__init__()
        self.inner_A, self.outer_A = inner_A, outer_A
        self.strength = Constant(ZBL_SCALE_EV_A * np.array(ZBL_STRENGTHS))
        self.decay = Constant(-np.array(ZBL_DECAYS) / ZBL_LENGTH_A)

    def forward(self, distances: Tensor) -> Tensor:
        """(p,) pair energies in eV from (p,) distances in Å."""
        fade = smooth_step((distances - self.inner_A) / (self.outer_A - self.inner_A))
        screened = torch.exp(distances[:, None] * self.decay.like(distances)) @ self.strength.like(distances)
        return screened * fade / distances
