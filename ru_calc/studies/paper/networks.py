"""The five networks of the paper's Table 1, from principal components to energy and force components of each atom.

They are not potentials: forces are outputs beside the energy, not its derivatives.  Each network maps (n_atoms, inputs)
and, if it has a graph, pairs to (n_atoms, 1 + force components).

Not stated in the paper, and chosen here:
- KAN: two hidden layers of 16, with the splines of `ru_calc.potentials.kan` on 8 intervals of −3 … 3;
- ANI: the network of one atom of J. S. Smith, O. Isayev, A. E. Roitberg, Chem. Sci. 8, 3192 (2017): 128, 128 and 64
  Gaussian units, exp(−x²);
- CalHousNet: hidden layers of 64 and 32, ReLU, which is what small networks for the California housing table have;
- GNN: three convolutions of 64 channels by T. N. Kipf and M. Welling, arXiv:1609.02907, x_i ← relu(W Σ_j x_j / √(D_i
  D_j) + b) over the atom and its D_i − 1 neighbours; ReLU also between the dense layers of 256 and 128;
- SchNet: 20 Gaussians of the distance, faded out before the cutoff, are the features of its filter networks; widths of
  the pathways are those of `ru_calc.potentials.paper`, whose blocks and pathways these are.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ru_calc.potentials.kan import KANLayer
from ru_calc.potentials.layers import GaussianBasis
from ru_calc.potentials.pairs import Pairs
from ru_calc.potentials.paper import PaperBlock, PaperSettings, pathway
from ru_calc.studies.paper.settings import STEPWISE
from ru_calc.tables.smooth import envelope


class Gaussian(nn.Module):
    """exp(−x²), the activation of ANI-1."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(-x.square())


class PerAtom(nn.Module):
    """A network of each atom's own inputs only."""

    uses_graph = False

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor, pairs: Pairs | None = None) -> Tensor:
        """(n_atoms, outputs) from (n_atoms, inputs)."""
        return self.layers(x)


class GraphConvolutions(nn.Module):
    """Graph convolutions, max pooling over each neighbourhood, dense layers."""

    uses_graph = True

    def __init__(self, inputs: int, outputs: int, channels: int = 64, convolutions: int = 3) -> None:
        super().__init__()
        widths = (inputs, *[channels] * convolutions)
        self.convolutions = nn.ModuleList(nn.Linear(*two) for two in pairwise(widths))
        self.readout = perceptron(nn.ReLU, channels, 256, 128, outputs)

    def forward(self, x: Tensor, pairs: Pairs) -> Tensor:
        """(n_atoms, outputs) from (n_atoms, inputs)."""
        ones = x.new_ones(len(pairs.first), 1)
        weight = (1.0 + pairs.sum_over_neighbors(ones, ones)).rsqrt()
        for linear in self.convolutions:
            x = weight * x
            x = torch.relu(linear(weight * (x + pairs.sum_over_neighbors(x[pairs.second], x[pairs.first]))))
        return self.readout(largest_around(x, pairs))


class SchNet(nn.Module):
    """The network of section 2.8 on principal components; its parts are named as `part_rates` expects."""

    uses_graph = True

    def __init__(self, inputs: int, outputs: int, cutoff_A: float) -> None:
        super().__init__()
        self.settings = settings = PaperSettings(cutoff_A=cutoff_A, force_components=outputs - 1)
        self.radial_basis = GaussianBasis(settings.n_radial, 1.0, cutoff_A)
        self.embedding = nn.Sequential(
            nn.BatchNorm1d(inputs), nn.Linear(inputs, settings.channels), nn.BatchNorm1d(settings.channels)
        )
        self.blocks = nn.ModuleList(PaperBlock(settings) for _ in range(settings.blocks))
        self.energy_pathway = pathway(settings, 1)
        self.force_pathway = pathway(settings, outputs - 1)

    def forward(self, x: Tensor, pairs: Pairs) -> Tensor:
        """(n_atoms, outputs) from (n_atoms, inputs)."""
        gaussians = self.radial_basis(pairs.distances)
        fade = envelope(pairs.distances, self.settings.cutoff_A, self.settings.switch_A)
        x = self.embedding(x)
        for block in self.blocks:
            x = block(x, pairs, gaussians, fade)
        return torch.cat([self.energy_pathway(x), self.force_pathway(x)], dim=1)


Network = PerAtom | GraphConvolutions | SchNet


def build_network(family: str, inputs: int, outputs: int, cutoff_A: float) -> Network:
    """The network of a row of Table 1, with random weights from torch's generator.

    Args:
        inputs: principal components of the descriptors.
        outputs: 1 for the energy, and the principal components of the forces.
        cutoff_A: range of the pairs, Å.
    """
    if family == "KAN":
        return PerAtom(nn.Sequential(*(KANLayer(*two, 8, 3.0) for two in pairwise((inputs, 16, 16, outputs)))))
    if family in ("SchNet", STEPWISE):
        return SchNet(inputs, outputs, cutoff_A)
    if family == "ANI":
        return PerAtom(perceptron(Gaussian, inputs, 128, 128, 64, outputs))
    if family == "GNN":
        return GraphConvolutions(inputs, outputs)
    if family == "CalHousNet":
        return PerAtom(perceptron(nn.ReLU, inputs, 64, 32, outputs))
    raise ValueError(f"no network {family!r}")


def perceptron(activation: type[nn.Module], *widths: int) -> nn.Sequential:
    """Linear layers of the given widths with the activation between them."""
    layers: list[nn.Module] = []
    for k, two in enumerate(pairwise(widths)):
        layers += [activation()] * (k > 0) + [nn.Linear(*two)]
    return nn.Sequential(*layers)


def largest_around(x: Tensor, pairs: Pairs) -> Tensor:
    """(n_atoms, c) maximum of each column of x over an atom and its neighbours."""
    atoms = torch.arange(pairs.n_atoms, device=x.device)
    # Empty slots are filled with the atom itself, which is among the candidates anyway.
    others = torch.cat([pairs.second, pairs.first, pairs.second.new_full((1,), -1)])[pairs.slots]
    table = torch.cat([atoms[:, None], torch.where(others < 0, atoms[:, None], others)], dim=1)
    return x[table].max(dim=1).values
