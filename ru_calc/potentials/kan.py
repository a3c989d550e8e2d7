"""A Kolmogorov-Arnold network for ruthenium: an atom's energy from sums of learned functions of one number.

Layers after Z. Liu et al., KAN: Kolmogorov-Arnold networks, arXiv:2404.19756, section 2:

    y_o = Σ_i [w_oi silu(x_i) + Σ_k c_oik B_ik(x_i)]

with B_ik cubic B-splines on knots t_i0 < t_i1 < …, one set for each input x_i; the first layer's inputs are the
symmetry functions of `symmetry.py`, standardised over the training set.  An edge is twice continuously differentiable.

    E = Σ_i [E_atom + ε(x_i) − ε(x_lone)] + ½ Σ_ij ZBL(r_ij)

Differs from the paper in:
- knots are learned with everything else; the paper moves them now and then to quantiles of the samples.  They are sums
  of positive increments, and so stay sorted;
- w is a matrix of its own; the paper scales spline and silu of each edge by one more factor each;
- beyond its knots, where the symmetry functions of violent frames lie, an edge is w silu(x) alone; compressing them by
  asinh did not fit better;
- the starting paper (doi 10.36922/ijamd.8291) does not state its KAN's layers and grid, and its inputs are principal
  components of SOAP vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from ru_calc.errors import require
from ru_calc.potentials.settings import WIDEST
from ru_calc.potentials.symmetry import SymmetryPotential, SymmetrySettings

DEGREE = 3


@dataclass(frozen=True)
class KANSettings(SymmetrySettings):
    """Hyper-parameters: those of the symmetry functions, and

    Attributes:
        hidden: widths of the hidden layers.
        intervals: of each input's grid before it is learned, over −grid_range … grid_range.
        grid_range: see there; in units of the inputs' spread.
    """

    least: ClassVar[dict[str, float]] = {"hidden": 1, "intervals": 1}
    most: ClassVar[dict[str, float]] = {"hidden": WIDEST, "intervals": 256, "grid_range": 1e3}
    hidden: tuple[int, ...] = (32,)
    intervals: int = 8
    grid_range: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.grid_range > 0, "grid_range", self.grid_range, "positive")


def spline_basis(x: Tensor, knots: Tensor) -> Tensor:
    """(m, i, t − DEGREE − 1) B-splines of inputs x (m, i) on rising knots (i, t), zero outside of them.

    By the recursion of Cox and de Boor; in x of class C^(DEGREE − 1).
    """
    x = x[:, :, None]
    basis = ((x >= knots[:, :-1]) & (x < knots[:, 1:])).to(x.dtype)
    for k in range(1, DEGREE + 1):
        # (x − t_j) / (t_j+k − t_j) rises from 0 to 1 over the support of the j-th spline of degree k − 1.
        rise = (x - knots[:, :-k]) / (knots[:, k:] - knots[:, :-k])
        weighted = rise * basis
        basis = weighted[..., :-1] + basis[..., 1:] - weighted[..., 1:]
    return basis


class KANLayer(nn.Module):
    """y_o = Σ_i [w_oi silu(x_i) + Σ_k c_oik B_ik(x_i)], at first on the uniform grid of `KANSettings`."""

    def __init__(self, fan_in: int, fan_out: int, intervals: int, grid_range: float) -> None:
        super().__init__()
        self.spacing = 2.0 * grid_range / intervals
        self.start = -grid_range - DEGREE * self.spacing
        self.shift = nn.Parameter(torch.zeros(fan_in, 1))
        self.log_increments = nn.Parameter(torch.zeros(fan_in, intervals + 2 * DEGREE))
        self.base = nn.Parameter(torch.randn(fan_out, fan_in) / fan_in**0.5)
        self.coefficients = nn.Parameter(0.3 * torch.randn(fan_out, fan_in, intervals + DEGREE) / fan_in**0.5)

    def knots(self) -> Tensor:
        """(fan_in, intervals + 2 · DEGREE + 1) positions, rising."""
        increments = self.spacing * torch.cumsum(torch.exp(self.log_increments), dim=1)
        return self.start + self.shift + nn.functional.pad(increments, (1, 0))

    def forward(self, x: Tensor) -> Tensor:
        """(m, fan_out) from (m, fan_in)."""
        splines = spline_basis(x, self.knots())
        return nn.functional.silu(x) @ self.base.T + splines.flatten(1) @ self.coefficients.flatten(1).T


class KAN(SymmetryPotential):
    """Layers of splines on symmetry functions; see the top of the file."""

    family = "kan"

    def __init__(self, settings: KANSettings) -> None:
        super().__init__(settings)
        layers = (
            KANLayer(*widths, settings.intervals, settings.grid_range)
            for widths in pairwise((self.symmetry.width, *settings.hidden, 1))
        )
        self.energy = nn.Sequential(*layers)
