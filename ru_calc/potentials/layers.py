"""Parts that several families share: Gaussians of the distance, the angular density, standardisation, dense layers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from ru_calc.potentials.pairs import Pairs
from ru_calc.tables.angular import SphericalHarmonics
from ru_calc.tables.harmonics import degrees
from ru_calc.tables.smooth import Constant


class GaussianBasis(nn.Module):
    """Radial basis g_k(r) = exp(−(r − μ_k)² / (2 w²)), μ_k evenly spaced, w their spacing.

    Args:
        n_radial: number of Gaussians.
        start_A, stop_A: first and last centre in Å.
    """

    def __init__(self, n_radial: int, start_A: float, stop_A: float) -> None:
        super().__init__()
        self.centers = Constant(np.linspace(start_A, stop_A, n_radial))
        self.coefficient = -0.5 / ((stop_A - start_A) / (n_radial - 1)) ** 2

    def forward(self, distances: Tensor) -> Tensor:
        """(p, n_radial) from (p,) distances in Å."""
        return torch.exp(self.coefficient * (distances[:, None] - self.centers.like(distances)).square())


class AtomicDensity(nn.Module):
    """A_n,lm = Σ_j R_n(r_ij) Y_lm(r̂_ij): the neighbours of an atom, expanded in radial functions and harmonics."""

    def __init__(self, l_max: int) -> None:
        super().__init__()
        self.harmonics = SphericalHarmonics(l_max)
        self.parity = Constant((-1.0) ** degrees(l_max))

    def forward(self, pairs: Pairs, radial: Tensor) -> Tensor:
        """((l_max + 1)², n_atoms, n) from radial functions (p, n): one product of matrices over the neighbours."""
        angles = self.harmonics(pairs.directions)
        seen = torch.cat([radial, radial, radial.new_zeros(1, radial.shape[1])])
        angles = torch.cat([angles, angles * self.parity.like(angles), angles.new_zeros(1, angles.shape[1])])
        slots = pairs.slots.flatten()
        seen, angles = (part.index_select(0, slots).view(*pairs.slots.shape, part.shape[1]) for part in (seen, angles))
        return torch.bmm(angles.transpose(1, 2), seen).transpose(0, 1).contiguous()


class Standardizer(nn.Module):
    """(x − mean) / spread, column by column, with mean and spread of the training set; columns that do not vary give 0.

    Args:
        width: number of columns.
    """

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
