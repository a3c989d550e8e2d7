"""Symmetry functions of one element: what an atom sees of its neighbours as fixed numbers, from distances and angles.

After J. S. Smith, O. Isayev, A. E. Roitberg, Chem. Sci. 8, 3192 (2017), equations 3 and 4, for a single element:

    G_k   = Σ_j exp(−η (r_ij − R_k)²) f_c(r_ij)
    G_z,q = 2^(1−ζ) Σ_{j<k} (1 + cos(θ_jik − θ_z))^ζ exp(−η_a ((r_ij + r_ik)/2 − R_q)²) f_a(r_ij) f_a(r_ik)

Differs from the paper in:
- f_c and f_a are `tables.smooth.envelope`: the paper's cosine has a curvature at the cutoff;
- cos θ is scaled by 0.95, as TorchANI does, so that sin θ = √(1 − (0.95 cos θ)²) has a slope where three atoms lie in
  a line; TorchANI's further factor 1/4 on the radial functions is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ru_calc.errors import SettingsError
from ru_calc.potentials.base import DescriptorPotential
from ru_calc.potentials.pairs import Pairs
from ru_calc.potentials.settings import LONGEST_A, WIDEST, AnchoredSettings
from ru_calc.tables.smooth import Constant, envelope

COSINE_SCALE = 0.95
# Triples are summed in products of matrices of this many rows; an atom's last one is filled up.
TILE = 32


@dataclass(frozen=True)
class SymmetrySettings(AnchoredSettings):
    """Hyper-parameters of the symmetry functions and of what all conservative families share.

    Attributes:
        radial_shells, radial_start_A: number of the R_k, evenly spaced from the start up to one spacing below the
            cutoff.
        radial_eta: η in Å⁻².
        angular_cutoff_A: range of the angular functions.
        angular_shells, angular_start_A: number of the R_q, spaced alike up to the angular cutoff.
        angular_eta: η_a in Å⁻².
        angles: number of the θ_z, in the middles of as many equal parts of 0 … π.
        zeta: ζ.
    """

    least: ClassVar[dict[str, float]] = {
        "radial_shells": 1, "radial_start_A": 0.0, "radial_eta": 0.0, "angular_shells": 1, "angular_start_A": 0.0,
        "angular_eta": 0.0, "angles": 1, "zeta": 1,
    }  # fmt: skip
    most: ClassVar[dict[str, float]] = {
        "radial_shells": WIDEST, "radial_start_A": LONGEST_A, "radial_eta": 1e4, "angular_shells": 128,
        "angular_start_A": LONGEST_A, "angular_eta": 1e4, "angles": 128, "zeta": WIDEST,
    }  # fmt: skip
    radial_shells: int = 24
    radial_start_A: float = 1.4
    radial_eta: float = 20.0
    angular_cutoff_A: float = 4.6
    angular_shells: int = 8
    angular_start_A: float = 1.9
    angular_eta: float = 8.0
    angles: int = 10
    zeta: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.switch_A <= self.angular_cutoff_A <= self.cutoff_A:
            raise SettingsError(
                f"angular_cutoff_A is {self.angular_cutoff_A}; it must lie between switch_A ({self.switch_A}) and "
                f"cutoff_A ({self.cutoff_A})"
            )


@dataclass(frozen=True)
class Triples:
    """Pairs of neighbours of each atom, each once, in tiles of `TILE` rows that belong to one atom.

    Attributes:
        near: (d,) *directed* pairs by centre: q < p is pair q seen from `first`, p + q is pair q seen from `second`.
        legs: (2, t) positions in `near` of both neighbours; d fills up an atom's last tile.
        owner: (t / TILE,) the atom of each tile.
    """

    near: Tensor
    legs: Tensor
    owner: Tensor

    @classmethod
    def of(cls, pairs: Pairs, range_A: float) -> Triples:
        """All triples with both legs shorter than `range_A`."""
        n, device = pairs.n_atoms, pairs.first.device
        chosen = torch.nonzero(pairs.distances.detach() < range_A).squeeze(1)
        center = torch.cat([pairs.first[chosen], pairs.second[chosen]])
        center, order = torch.sort(center, stable=True)
        near = torch.cat([chosen, chosen + len(pairs.first)])[order]
        counts = torch.bincount(center, minlength=n)
        place = torch.arange(len(near), device=device) - (torch.cumsum(counts, 0) - counts)[center]
        # A directed pair meets each earlier one of its centre: `place` many, after place (place − 1) / 2 others.
        later = torch.repeat_interleave(place)
        before = torch.arange(len(later), device=device) - (torch.cumsum(place, 0) - place)[later]
        tiles = (counts * (counts - 1) // 2 + TILE - 1) // TILE
        first_row = TILE * (torch.cumsum(tiles, 0) - tiles)
        row = first_row[center[later]] + place[later] * (place[later] - 1) // 2 + before
        owner = torch.repeat_interleave(tiles)
        legs = torch.full((2, TILE * len(owner)), len(near), device=device)
        legs[0, row] = later - place[later] + before
        legs[1, row] = later
        return cls(near, legs, owner)


class SymmetryFunctions(nn.Module):
    """Radial and angular symmetry functions of every atom; nothing in it is fitted.

    Attributes:
        cutoff: f_c(r, range) → (p,) for both kinds.
    """

    def __init__(self, settings: SymmetrySettings) -> None:
        super().__init__()
        self.settings = settings
        self.cutoff = partial(envelope, switch_A=settings.switch_A)
        s, shells = settings, partial(np.linspace, endpoint=False)
        self.radial_centers = Constant(shells(s.radial_start_A, s.cutoff_A, s.radial_shells))
        self.angular_centers = Constant(shells(s.angular_start_A, s.angular_cutoff_A, s.angular_shells))
        angles = (np.arange(s.angles) + 0.5) * np.pi / s.angles
        self.angles = Constant(0.5 * np.array([COSINE_SCALE * np.cos(angles), np.sin(angles)]))

    @property
    def width(self) -> int:
        """Number of functions of an atom."""
        return self.settings.radial_shells + self.settings.angles * self.settings.angular_shells

    def forward(self, pairs: Pairs) -> Tensor:
        """(n_atoms, width): the G_k, then the G_z,q with q running fastest."""
        return torch.cat([self.radial(pairs), self.angular(pairs)], dim=1)

    def radial(self, pairs: Pairs) -> Tensor:
        """(n_atoms, radial_shells) G_k."""
        shells = gaussians(pairs.distances, self.radial_centers, self.settings.radial_eta)
        shells = shells * self.cutoff(pairs.distances, self.settings.cutoff_A)[:, None]
        return pairs.sum_over_neighbors(shells, shells)

    def angular(self, pairs: Pairs) -> Tensor:
        """(n_atoms, angles · angular_shells) G_z,q."""
        triples = Triples.of(pairs, self.settings.angular_cutoff_A)
        fade = self.cutoff(pairs.distances, self.settings.angular_cutoff_A)
        seen = torch.cat([pairs.directions, pairs.distances[:, None], fade[:, None]], dim=1)
        turned = torch.cat([-seen[:, :3], seen[:, 3:]], dim=1)
        seen = torch.cat([seen, turned]).index_select(0, triples.near)
        seen = torch.cat([seen, seen.new_zeros(1, 5)])
        one, other = (seen.index_select(0, leg) for leg in triples.legs)
        angles = self.of_angle((one[:, :3] * other[:, :3]).sum(dim=1))
        shells = gaussians(0.5 * (one[:, 3] + other[:, 3]), self.angular_centers, self.settings.angular_eta)
        shells = shells * (2.0 * one[:, 4] * other[:, 4])[:, None]
        angles, shells = (part.view(-1, TILE, part.shape[1]) for part in (angles, shells))
        tiles = torch.bmm(angles.transpose(1, 2), shells).flatten(1)
        return tiles.new_zeros(pairs.n_atoms, tiles.shape[1]).index_add(0, triples.owner, tiles)

    def of_angle(self, cosine: Tensor) -> Tensor:
        """(t, angles) ((1 + cos(θ − θ_z)) / 2)^ζ from (t,) cos θ."""
        sine = (1.0 - (COSINE_SCALE * cosine).square()).sqrt()
        value = torch.addmm(cosine.new_tensor(0.5), torch.stack([cosine, sine], dim=1), self.angles.like(cosine))
        return value.pow(self.settings.zeta)


class SymmetryPotential(DescriptorPotential):
    """A network on standardised symmetry functions: give it an `energy`."""

    fit_settings = MappingProxyType({"rate_readout": 2e-3})

    def __init__(self, settings: SymmetrySettings) -> None:
        symmetry = SymmetryFunctions(settings)
        super().__init__(settings, symmetry.width)
        self.symmetry = symmetry

    def descriptors(self, pairs: Pairs) -> Tensor:
        """(n_atoms, width) symmetry functions."""
        return self.symmetry(pairs)


def gaussians(distances: Tensor, centers: Constant, eta: float) -> Tensor:
    """(p, c) exp(−η (r − R_c)²) from (p,) distances in Å; η in Å⁻²."""
    return torch.exp(-eta * (distances[:, None] - centers.like(distances)).square())
