"""GNN: graph convolutions over the neighbours, from nodes that carry the power spectrum of their surroundings.

The starting paper (doi 10.36922/ijamd.8291, Table 1) has a stack of graph convolutions with ReLU on nodes that carry
SOAP vectors, a global max pooling, then 256 → 128 → output.  The convolution is that of T. N. Kipf and M. Welling,
arXiv:1609.02907, with one matrix for each of a few functions of the distance, as in the continuous filters of
K. T. Schütt et al., J. Chem. Phys. 148, 241722 (2018):

    x_i  = silu(W d̂_i + b)                                     d̂_i standardised power spectrum, see `power.py`
    a_ij = f_c(r_ij) / √(D_i D_j),   D_i = 1 + Σ_j f_c(r_ij)
    x_i ← x_i + silu(W₀ x_i + Σ_k W_k Σ_j g_k(r_ij) a_ij x_j)    g_k the Gaussians of the distance
    ε_i  = dense layers of x_i: 256 → 128 → 1
    E    = Σ_i [E_atom + ε_i − ε_lone] + ½ Σ_ij ZBL(r_ij)

Differs from the paper in:
- the energies of the atoms are summed; with a global max pooling the energy of two frames together would not be the
  sum of theirs, and forces would jump when another atom becomes the largest;
- edges fade towards the cutoff, and so do the degrees D by which Kipf and Welling weight them; with an edge that
  appears at once the energy would jump;
- SiLU in place of ReLU, and each convolution adds to its input;
- the paper does not state the number and width of the convolutions; here there are 2 of 64 channels;
- forces and stress are derivatives of the energy, where the paper fits forces as further outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ru_calc.potentials.layers import dense
from ru_calc.potentials.pairs import Pairs
from ru_calc.potentials.power import PowerPotential, PowerSettings
from ru_calc.potentials.settings import DEEPEST, WIDEST


@dataclass(frozen=True)
class GNNSettings(PowerSettings):
    """Hyper-parameters: those of the descriptors, and

    Attributes:
        channels, blocks: width of the atom features, number of graph convolutions.
        readout: hidden widths of the energy pathway.
    """

    least: ClassVar[dict[str, float]] = {"channels": 1, "blocks": 0, "readout": 1}
    most: ClassVar[dict[str, float]] = {"channels": WIDEST, "blocks": DEEPEST, "readout": WIDEST}
    channels: int = 64
    blocks: int = 2
    readout: tuple[int, ...] = (256, 128)


@dataclass(frozen=True)
class Edges:
    """The graph as a padded table of each atom's neighbours.

    Attributes:
        neighbors: (n_atoms, s) atoms; anything where there is no neighbour.
        gaussians: (n_atoms, s, n_radial) Gaussians of the distance times f_c; 0 where there is no neighbour.
        norm: (n_atoms, 1) 1/√D.
    """

    neighbors: Tensor
    gaussians: Tensor
    norm: Tensor

    @classmethod
    def of(cls, pairs: Pairs, gaussians: Tensor, fade: Tensor) -> Edges:
        """From the Gaussians under the envelope (p, n_radial) and the envelope (p, 1)."""
        other = torch.cat([pairs.second, pairs.first, pairs.first.new_zeros(1)])
        norm = (1.0 + pairs.sum_over_neighbors(fade, fade)).rsqrt()
        return cls(other[pairs.slots], pairs.by_slot(gaussians, gaussians), norm)


class GraphConvolution(nn.Module):
    """x_i ← x_i + silu(W₀ x_i + Σ_k W_k Σ_j g_k(r_ij) a_ij x_j); see the top of the file."""

    def __init__(self, settings: GNNSettings) -> None:
        super().__init__()
        width = settings.channels
        self.own = nn.Linear(width, width)
        self.neighbors = nn.Linear(settings.n_radial * width, width, bias=False)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """(n_atoms, channels) from features (n_atoms, channels)."""
        sent = (x * edges.norm).index_select(0, edges.neighbors.flatten()).view(*edges.neighbors.shape, x.shape[1])
        # The sum over neighbours comes first, the matrices after it: nothing has a row per pair, Gaussian and channel.
        sums = torch.bmm(edges.gaussians.transpose(1, 2), sent).flatten(1) * edges.norm
        return x + nn.functional.silu(self.own(x) + self.neighbors(sums))


class GNN(PowerPotential):
    """The graph network; see the top of the file."""

    family = "gnn"

    def __init__(self, settings: GNNSettings) -> None:
        super().__init__(settings)
        self.embedding = nn.Sequential(nn.Linear(self.power.width, settings.channels), nn.SiLU())
        self.blocks = nn.ModuleList(GraphConvolution(settings) for _ in range(settings.blocks))
        self.energy = dense(settings.channels, *settings.readout, 1)

    def network(self, pairs: Pairs) -> Tensor:
        """(n_atoms,) energies in eV, without core and zero."""
        fade = self.fade(pairs)
        gaussians = self.gaussians(pairs.distances) * fade
        x = self.embedding(self.standardizer(self.power(pairs, gaussians)))
        edges = Edges.of(pairs, gaussians, fade)
        for block in self.blocks:
            x = block(x, edges)
        return self.energy(x).squeeze(1)
