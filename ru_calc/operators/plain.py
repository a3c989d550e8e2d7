"""The density as torch writes it, differentiable any number of times: what everything faster is held against."""

from __future__ import annotations

import torch
from torch import Tensor

from ru_calc.operators.geometry import PairGeometry, RadialGrid


def spline_basis(distances: Tensor, grid: RadialGrid) -> Tensor:
    """(p, rows) quintic B-splines of distances (p,) in Å, without the envelope; C. de Boor's recursion."""
    u = distances * (grid.intervals / grid.cutoff_A)
    k = u.detach().long().clamp(0, grid.intervals - 1)
    t = u - k
    values = [torch.ones_like(t)]
    for d in range(1, 6):
        lower = [torch.zeros_like(t), *values, torch.zeros_like(t)]
        values = [((t + (d - q)) * lower[q] + ((q + 1) - t) * lower[q + 1]) / d for q in range(d + 1)]
    places = k[:, None] + torch.arange(6, device=k.device)
    return t.new_zeros(len(t), grid.rows).scatter(1, places, torch.stack(values, dim=1))
