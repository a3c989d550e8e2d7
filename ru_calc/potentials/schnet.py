"""SchNet for ruthenium: conservative, extensive, smooth, with or without an angular embedding.

After K. T. Schütt et al., J. Chem. Phys. 148, 241722 (2018), in the form of the paper that this package starts from
(doi 10.36922/ijamd.8291, section 2.8): an embedding to 128 channels; interaction blocks with a filter network and
two dense layers, layer normalisation (here an option) and SiLU; an energy pathway that narrows to one number per atom.

    x_i  = embedding                                          one learned vector, or a function of the angles
    m_i  = Σ_j (U x_j) ⊙ W(r_ij),   W(r) = f_c(r) · filter(g(r))
    x_i ← x_i + D₂ silu(norm(D₁ m_i))                         in each block
    E    = Σ_i [E_atom + ε(x_i) − ε(x_lone)] + ½ Σ_ij ZBL(r_ij)

Differs from the paper in:
- forces and stress are derivatives of the energy; the paper's are a second output pathway (see `paper.py`, which
  keeps the paper's network whole);
- the input is atoms and their distances, not principal components of SOAP vectors; instead of the first batch
  normalisation and linear embedding there is one learned vector, as there is one element;
- no batch normalisation, no dropout, SiLU instead of ReLU: they would make the energy depend on the batch, or rough;
- filters see Gaussians of the distance and end in an envelope f_c whose value, slope and curvature vanish at the
  cutoff; a fixed ZBL core repels atoms that come too close;
- the energy of a lone atom is a constant of the model, not fitted;
- angular embedding (an option, on by default): A_n,lm = Σ_j R_n(r_ij) Y_lm(r̂_ij), and x_i is a two-layer network of
  rotation invariants of second and third order in A; see `AngularEmbedding`.  With it, at l ≤ 5, 64 channels are as
  good as 128; the highest degree matters more than width, depth or cutoff (models/sweep.md).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ru_calc.kernels.geometry import PairGeometry
from ru_calc.kernels.network import NetworkPlan, network_energies
from ru_calc.potentials.base import AnchoredPotential
from ru_calc.potentials.layers import RadialFunctions, RadialReader, atomic_density, dense
from ru_calc.potentials.pairs import Pairs
from ru_calc.potentials.settings import SchNetSettings
from ru_calc.tables.angular import invariants
from ru_calc.tables.constants import NORM_EPS
from ru_calc.tables.harmonics import InvariantPlan
from ru_calc.tables.splines import RadialGrid


class AngularEmbedding(nn.Module):
    """Atom features from the angles around it.

    A_n,lm = Σ_j R_n(r_ij) Y_lm(r̂_ij), R_n learned combinations of Gaussians under the envelope.  With M, M' learned
    mixings of the radial index and G the couplings of `triple_couplings`, the invariants are A_n,00, Σ_m A_n,lm²,
    Σ_m A_n,lm (M A)_n,lm (both over 2l + 1) and Σ G A'_n,a A''_n,b A''_n,c; asinh, then two dense layers.
    """

    def __init__(self, settings: SchNetSettings) -> None:
        super().__init__()
        n, l_max, triple = settings.angular_radial, settings.l_max, settings.triple
        self.plan = InvariantPlan(n, l_max, triple)
        self.radial = nn.Linear(settings.n_radial, n, bias=False)
        self.mix = nn.Parameter(torch.randn(n, n) / n**0.5)
        if triple:
            self.mix_once = nn.Parameter(torch.randn(n, triple) / n**0.5)
            self.mix_twice = nn.Parameter(torch.randn(n, triple) / n**0.5)
        self.dense = dense(self.plan.features, settings.channels, settings.channels)

    @property
    def mixing(self) -> Tensor:
        """(n, n + 2 triple) all mixings of the radial index."""
        return torch.cat([self.mix, self.mix_once, self.mix_twice], dim=1) if self.plan.triple else self.mix

    def invariants(self, pairs: Pairs, at: RadialReader) -> Tensor:
        """(n_atoms, plan.features) asinh of the invariants."""
        density = atomic_density(pairs, at(self.radial), self.plan.l_max).transpose(0, 1)
        return torch.asinh(invariants(self.plan, density, density @ self.mixing))


class InteractionBlock(nn.Module):
    """x_i ← x_i + D₂ silu(norm(D₁ Σ_j (U x_j) ⊙ W(r_ij)))."""

    def __init__(self, settings: SchNetSettings) -> None:
        super().__init__()
        width = settings.channels
        self.filter = dense(settings.n_radial, settings.filter_hidden, width)
        self.incoming = nn.Linear(width, width, bias=False)
        self.dense1 = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS) if settings.layer_norm else nn.Identity()
        self.dense2 = nn.Linear(width, width)

    def activation(self, x: Tensor, pairs: Pairs, at: RadialReader) -> Tensor:
        """(n_atoms, channels) silu(norm(D₁ Σ_j (U x_j) ⊙ W(r_ij)))."""
        h, filters = self.incoming(x), at(self.filter)
        messages = pairs.sum_over_neighbors(
            filters * h.index_select(0, pairs.second), filters * h.index_select(0, pairs.first)
        )
        return nn.functional.silu(self.norm(self.dense1(messages)))


class SchNet(AnchoredPotential):
    """The potential of this package; see the top of the file."""

    family = "schnet"

    def __init__(self, settings: SchNetSettings) -> None:
        super().__init__(settings)
        grid = RadialGrid(settings.cutoff_A, settings.switch_A, settings.spline_intervals)
        self.radial = RadialFunctions(settings.n_radial, settings.core_inner_A, grid)
        self.embedding = AngularEmbedding(settings) if settings.angular else nn.Embedding(1, settings.channels)
        self.blocks = nn.ModuleList(InteractionBlock(settings) for _ in range(settings.blocks))
        self.energy = dense(settings.channels, *settings.readout, 1)

    def network(self, pairs: Pairs) -> Tensor:
        """(n_atoms,) energies in eV, without core and zero."""
        return self.energy(self._layers(pairs)[0]).squeeze(1)

    def features(self, pairs: Pairs) -> Tensor:
        """(n_atoms, width) invariants of the angular embedding, then the activations of all blocks."""
        return torch.cat(self._layers(pairs)[1], dim=1)

    def _layers(self, pairs: Pairs) -> tuple[Tensor, list[Tensor]]:
        """x (n_atoms, channels) after the last block, and what the layers before it have found."""
        at, found = self.radial.at(pairs), list[Tensor]()
        if isinstance(self.embedding, AngularEmbedding):
            found.append(self.embedding.invariants(pairs, at))
            x = self.embedding.dense(found[0])
        else:
            x = self.embedding.weight.expand(pairs.n_atoms, -1)
        for block in self.blocks:
            assert isinstance(block, InteractionBlock)
            found.append(block.activation(x, pairs, at))
            x = x + block.dense2(found[-1])
        return x, found

    def compiled_network(self, pairs: Pairs) -> Tensor:
        """See `AnchoredPotential.compiled_network`; without tables there are no compiled passes."""
        if not self.radial.grid.intervals:
            return self.network(pairs)
        geometry = PairGeometry.of(pairs.n_atoms, pairs.first, pairs.second, pairs.vectors, self.radial.grid)
        return network_energies(self.plan, geometry, pairs.vectors, self._weights(pairs))

    @property
    def plan(self) -> NetworkPlan:
        """The shape of the network, for the compiled passes."""
        s = self.settings
        angular = self.embedding.plan if isinstance(self.embedding, AngularEmbedding) else None
        return NetworkPlan(s.channels, s.blocks, s.readout, NORM_EPS if s.layer_norm else None, angular)

    def _weights(self, pairs: Pairs) -> list[Tensor]:
        """What `network_energies` takes, tables included."""
        weights: list[Tensor] = []
        if isinstance(self.embedding, AngularEmbedding):
            table = self.radial.table(self.embedding.radial, pairs.vectors)
            weights += [table, self.embedding.mixing, *_matrices(self.embedding.dense)]
        else:
            weights.append(self.embedding.weight[0])
        for block in self.blocks:
            assert isinstance(block, InteractionBlock)
            weights += [self.radial.table(block.filter, pairs.vectors), block.incoming.weight]
            weights += _matrices((block.dense1, block.norm, block.dense2))
        return weights + _matrices(self.energy)


def _matrices(layers: Iterable[nn.Module]) -> list[Tensor]:
    return [
        weight
        for layer in layers
        if isinstance(layer, nn.Linear | nn.LayerNorm)
        for weight in (layer.weight, layer.bias)
    ]
