"""Learned functions of the distance, evaluated at every pair or read from a table of splines."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ru_calc.potentials.layers import AtomicDensity, GaussianBasis
from ru_calc.potentials.pairs import Pairs
from ru_calc.tables.smooth import Constant, envelope
from ru_calc.tables.splines import RadialGrid, interpolation_matrix, spline_nodes

Network = Callable[[Tensor], Tensor]


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

    def at_pairs(self, network: Network, pairs: Pairs) -> Tensor:
        """(p, c) values f(r_ij)."""
        if self.grid.intervals:
            return pairs.spline_basis(self.grid) @ self.table(network, pairs.vectors)
        fade = envelope(pairs.distances, self.grid.cutoff_A, self.grid.switch_A)
        return network(self.gaussians(pairs.distances)) * fade[:, None]

    def messages(self, network: Network, pairs: Pairs, h: Tensor) -> Tensor:
        """(n_atoms, c) Σ_j h_j ⊙ f(r_ij) from h (n_atoms, c)."""
        filters = self.at_pairs(network, pairs)
        return pairs.sum_over_neighbors(
            filters * h.index_select(0, pairs.second), filters * h.index_select(0, pairs.first)
        )

    def density(self, network: Network, pairs: Pairs, density: AtomicDensity) -> Tensor:
        """(n_atoms, (l_max + 1)², c) Σ_j f(r_ij) Y_lm(r̂_ij)."""
        return density(pairs, self.at_pairs(network, pairs)).transpose(0, 1)
