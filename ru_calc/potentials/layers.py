"""Parts that several families share: functions of the distance, the angular density, standardisation, dense layers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from ru_calc.potentials.pairs import Pairs
from ru_calc.tables.angular import parity, spherical_harmonics
from ru_calc.tables.smooth import Constant, envelope, spline_basis
from ru_calc.tables.splines import RadialGrid, interpolation_matrix, spline_nodes

Network = Callable[[Tensor], Tensor]
RadialReader = Callable[[Network], Tensor]


class GaussianBasis(nn.Module):
    """Radial basis g_k(r) = exp(−(r − μ_k)² / (2 w²)), μ_k evenly spaced from start to stop, w their spacing."""

    def __init__(self, n_radial: int, start_A: float, stop_A: float) -> None:
        super().__init__()
        self.centers = Constant(np.linspace(start_A, stop_A, n_radial))
        self.coefficient = -0.5 / ((stop_A - start_A) / (n_radial - 1)) ** 2

    def forward(self, distances: Tensor) -> Tensor:
        """(p, n_radial) from (p,) distances in Å."""
        return torch.exp(self.coefficient * (distances[:, None] - self.centers.like(distances)).square())


class RadialFunctions(nn.Module):
    """f(r) = f_c(r) · network(g(r)), with Gaussians g and the envelope f_c.

    With one element, f is a function of one number.  On a grid the network is only evaluated at the knots, and f is by
    definition the envelope times the quintic B-spline through these values: a table, which the engine uses unchanged.

    Args:
        n_radial: number of Gaussians.
        start_A: centre of the first one; the last stands at the cutoff.
        grid: cutoff, envelope and intervals; 0 intervals evaluate the network at every pair.
    """

    def __init__(self, n_radial: int, start_A: float, grid: RadialGrid) -> None:
        super().__init__()
        self.grid = grid
        self.gaussians = GaussianBasis(n_radial, start_A, grid.cutoff_A)
        if grid.intervals:
            nodes = torch.from_numpy(spline_nodes(grid.cutoff_A, grid.intervals))
            self.at_nodes = Constant(self.gaussians(nodes).numpy())
            self.interpolate = Constant(interpolation_matrix(grid.intervals))

    def table(self, network: Network, like: Tensor) -> Tensor:
        """(rows, c) coefficients of the spline through network(g(r)), (m, n_radial) → (m, c), at the knots."""
        return self.interpolate.like(like) @ network(self.at_nodes.like(like))

    def at(self, pairs: Pairs) -> RadialReader:
        """f(r_ij) (p, c) of any network."""
        if self.grid.intervals:
            basis = spline_basis(pairs.distances, self.grid)
            return lambda network: basis @ self.table(network, pairs.vectors)

        def evaluate(network: Network) -> Tensor:
            fade = envelope(pairs.distances, self.grid.cutoff_A, self.grid.switch_A)
            return network(self.gaussians(pairs.distances)) * fade[:, None]

        return evaluate


def atomic_density(pairs: Pairs, radial: Tensor, l_max: int) -> Tensor:
    """((l_max + 1)², n_atoms, n) A_n,lm = Σ_j R_n(r_ij) Y_lm(r̂_ij) from radial functions (p, n)."""
    angles = spherical_harmonics(pairs.directions, l_max)
    angles = pairs.by_slot(angles, angles * parity(l_max).like(angles))
    return torch.bmm(angles.transpose(1, 2), pairs.by_slot(radial, radial)).transpose(0, 1).contiguous()


class Standardizer(nn.Module):
    """(x − mean) / spread, column by column, with mean and spread of the training set; constant columns give 0."""

    mean: Tensor
    inverse_spread: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("inverse_spread", torch.ones(width))

    def adopt(self, values: Tensor) -> None:
        """Sets mean and spread to those of values (m, width)."""
        spread = values.std(dim=0)
        flat = spread <= 1e-9 * values.abs().amax(dim=0)
        self.mean.copy_(values.mean(dim=0))
        self.inverse_spread.copy_(torch.where(flat, torch.zeros_like(spread), 1.0 / spread))

    def forward(self, values: Tensor) -> Tensor:
        """(m, width) from (m, width)."""
        return (values - self.mean) * self.inverse_spread


def dense(*widths: int) -> nn.Sequential:
    """Linear layers of the given widths with SiLU between them (none after the last)."""
    layers: list[nn.Module] = []
    for k, (fan_in, fan_out) in enumerate(pairwise(widths)):
        layers += [nn.SiLU()] * (k > 0) + [nn.Linear(fan_in, fan_out)]
    return nn.Sequential(*layers)
