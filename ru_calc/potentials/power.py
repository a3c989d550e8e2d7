"""The power spectrum of an atom's surroundings, differentiable, for networks on fixed descriptors.

After A. P. Bartók, R. Kondor, G. Csányi, Phys. Rev. B 87, 184115 (2013), who call a kernel of such vectors SOAP; the
starting paper (doi 10.36922/ijamd.8291) describes atoms by them:

    R_n(r)   = exp(−(r − μ_n)² / (2 w²)) · f_c(r)                        n = 1 … n_radial
    A_n,lm   = Σ_j R_n(r_ij) Y_lm(r̂_ij)                                   Σ_m Y_lm² = 2l + 1
    p_nn'l   = Σ_m A_n,lm A_n',lm / √(2l + 1)                             n ≤ n', l ≤ l_max
    d        = asinh(A_n,00 and p_nn'l)

By the addition theorem p_nn'l = √(2l + 1) Σ_jk R_n(r_ij) R_n'(r_ik) P_l(cos θ_jik): sums over angles, and the terms
with j = k; nothing is singular, wherever the neighbours are.

Differs from the paper in:
- the paper takes SOAP from DScribe, whose neighbours are Gaussian clouds, expanded in radial functions about the atom
  and in Y_lm; here they are points, smeared along r by the width of R_n and not at all along the angles, so that what
  a cloud does for high l is done by a low l_max;
- the radial functions are Gaussian shells, not orthonormal, and end in an envelope f_c whose value, slope and curvature
  vanish at the cutoff;
- the atom itself is no part of its own density, and the sums A_n,00 stand beside their products;
- asinh shortens the tails that compressed and shattered frames give to numbers of second order in the density;
- all components are kept, each brought to mean 0 and spread 1; the paper keeps three principal components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ru_calc.potentials.base import DescriptorPotential
from ru_calc.potentials.layers import GaussianBasis, atomic_density
from ru_calc.potentials.pairs import Pairs
from ru_calc.potentials.settings import MOST_DEGREE, AnchoredSettings
from ru_calc.tables.harmonics import degrees
from ru_calc.tables.smooth import Constant, envelope


@dataclass(frozen=True)
class PowerSettings(AnchoredSettings):
    """Hyper-parameters of the descriptors and of what all conservative families share.

    Attributes:
        n_radial: number of radial functions.
        l_max: highest degree of the spherical harmonics.
    """

    least: ClassVar[dict[str, float]] = {"n_radial": 2, "l_max": 0}
    most: ClassVar[dict[str, float]] = {"n_radial": 128, "l_max": MOST_DEGREE}
    n_radial: int = 12
    l_max: int = 4


class PowerSpectrum(nn.Module):
    """The descriptors d of every atom; see the top of the file."""

    def __init__(self, n_radial: int, l_max: int) -> None:
        super().__init__()
        self.l_max = l_max
        degree = degrees(l_max)
        self.by_degree = Constant((degree == np.arange(l_max + 1)[:, None]) / np.sqrt(2.0 * degree + 1.0))
        self.paired = nn.Buffer(torch.triu_indices(n_radial, n_radial), persistent=False)
        self.width = n_radial + self.paired.shape[1] * (l_max + 1)

    def forward(self, pairs: Pairs, radial: Tensor) -> Tensor:
        """(n_atoms, width) from radial functions (p, n_radial): the A_n,00, then p_nn'l by l, then by (n, n')."""
        density = atomic_density(pairs, radial, self.l_max)
        lower, upper = self.paired
        products = density.index_select(2, lower) * density.index_select(2, upper)
        powers = (self.by_degree.like(density) @ products.flatten(1)).view(-1, *products.shape[1:])
        return torch.asinh(torch.cat([density[0], *powers.unbind(0)], dim=1))


class PowerPotential(DescriptorPotential):
    """A network on standardised power spectra: give it an `energy`, or a `network` of its own."""

    def __init__(self, settings: PowerSettings) -> None:
        power = PowerSpectrum(settings.n_radial, settings.l_max)
        super().__init__(settings, power.width)
        self.power = power
        self.gaussians = GaussianBasis(settings.n_radial, settings.core_inner_A, settings.cutoff_A)

    def fade(self, pairs: Pairs) -> Tensor:
        """(p, 1) the envelope f_c."""
        return envelope(pairs.distances, self.settings.cutoff_A, self.settings.switch_A)[:, None]

    def descriptors(self, pairs: Pairs) -> Tensor:
        """(n_atoms, width) power spectra."""
        return self.power(pairs, self.gaussians(pairs.distances) * self.fade(pairs))
