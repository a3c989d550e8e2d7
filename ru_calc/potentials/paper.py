"""The starting paper's SchNet, complete: forces are a second output, so it is for comparison, not for dynamics.

Section 2.8 of doi 10.36922/ijamd.8291: input features → batch normalisation → linear embedding to 128 → batch
normalisation; three interaction blocks, each with a filter network (linear layers and ReLU on features of the
distance) and two dense layers of 128 with layer normalisation and SiLU; two parallel pathways that narrow from 128
through two batch normalisations, ReLU and dropout 0.1, the energy's to 1 number, the forces' to 2.

Differs from the paper in:
- the input features of an atom are its sums of Gaussians of the neighbours' distances; the paper feeds three principal
  components of a SOAP vector (for the paper's own pipeline see `ru_calc.studies.paper`);
- energy and forces are predicted per atom, and a frame's energy is the sum, so that frames of any size fit;
- the two numbers of the force pathway are, as in the paper, the leading principal components of the force targets; the
  third component is lost;
- messages end at a cutoff under an envelope, as a neighbour list has to.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ru_calc.dataset import Dataset
from ru_calc.errors import SettingsError, require
from ru_calc.potentials.base import Potential
from ru_calc.potentials.layers import GaussianBasis
from ru_calc.potentials.pairs import Pairs
from ru_calc.potentials.settings import DEEPEST, LONGEST_A, WIDEST, check_ranges, tuples
from ru_calc.tables.smooth import envelope


@dataclass(frozen=True)
class PaperSettings:
    """Hyper-parameters; the defaults are the paper's where it states them.

    Attributes:
        cutoff_A, switch_A: interaction range, and the width over which the envelope falls to zero.
        channels, blocks, n_radial: width, interaction blocks, Gaussians of the distance.
        pathway: widths between `channels` and the outputs, two of them.
        dropout: of both pathways.
        force_components: principal components of the forces that are predicted.
    """

    least: ClassVar[dict[str, float]] = {"channels": 2, "blocks": 0, "n_radial": 2, "pathway": 1, "dropout": 0.0}
    most: ClassVar[dict[str, float]] = {
        "cutoff_A": LONGEST_A, "channels": WIDEST, "blocks": DEEPEST, "n_radial": WIDEST, "pathway": WIDEST,
        "dropout": 0.99,
    }  # fmt: skip
    cutoff_A: float = 5.0
    switch_A: float = 1.2
    channels: int = 128
    blocks: int = 3
    n_radial: int = 20
    pathway: tuple[int, int] = (64, 32)
    dropout: float = 0.1
    force_components: int = 2

    def __post_init__(self) -> None:
        tuples(self)
        if len(self.pathway) != 2:
            raise SettingsError(f"pathway is {self.pathway}; it must hold two widths")
        check_ranges(self)
        require(0 < self.switch_A < self.cutoff_A, "switch_A", self.switch_A, f"between 0 and {self.cutoff_A}")
        require(1 <= self.force_components <= 3, "force_components", self.force_components, "1, 2 or 3")


class PaperBlock(nn.Module):
    """One interaction block: messages through filters with ReLU, two dense layers, layer norm and SiLU."""

    def __init__(self, settings: PaperSettings) -> None:
        super().__init__()
        width = settings.channels
        self.filter = nn.Sequential(nn.Linear(settings.n_radial, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        layers = ((nn.Linear(width, width), nn.LayerNorm(width), nn.SiLU()) for _ in range(2))
        self.dense = nn.Sequential(*chain.from_iterable(layers))

    def forward(self, x: Tensor, pairs: Pairs, gaussians: Tensor, fade: Tensor) -> Tensor:
        filters = self.filter(gaussians) * fade[:, None]
        messages = pairs.sum_over_neighbors(filters * x[pairs.second], filters * x[pairs.first])
        return x + self.dense(messages)


def pathway(settings: PaperSettings, outputs: int) -> nn.Sequential:
    """128 → … → outputs with batch normalisation, ReLU and dropout."""
    first, second = settings.pathway
    return nn.Sequential(
        nn.Linear(settings.channels, first), nn.BatchNorm1d(first), nn.ReLU(), nn.Dropout(settings.dropout),
        nn.Linear(first, second), nn.BatchNorm1d(second), nn.ReLU(), nn.Dropout(settings.dropout),
        nn.Linear(second, outputs),
    )  # fmt: skip


class PaperSchNet(Potential):
    """The paper's network; see the top of the file."""

    family = "paper"
    conservative = False
    energy_mean: Tensor
    energy_std: Tensor
    force_mean: Tensor
    force_basis: Tensor

    def __init__(self, settings: PaperSettings) -> None:
        super().__init__()
        self.settings = settings
        self.radial_basis = GaussianBasis(settings.n_radial, 1.0, settings.cutoff_A)
        self.embedding = nn.Sequential(
            nn.BatchNorm1d(settings.n_radial),
            nn.Linear(settings.n_radial, settings.channels),
            nn.BatchNorm1d(settings.channels),
        )
        self.blocks = nn.ModuleList(PaperBlock(settings) for _ in range(settings.blocks))
        self.energy_pathway = pathway(settings, 1)
        self.force_pathway = pathway(settings, settings.force_components)
        self.register_buffer("energy_mean", torch.zeros(()))
        self.register_buffer("energy_std", torch.ones(()))
        self.register_buffer("force_mean", torch.zeros(3))
        self.register_buffer("force_basis", torch.eye(3)[: settings.force_components].clone())

    def prepare(self, dataset: Dataset) -> None:
        """Mean and spread of the energy per atom, mean and scaled principal axes of the forces."""
        per_atom = (dataset.energy / dataset.structures.counts)[dataset.has("energy")]
        self.energy_mean.fill_(float(per_atom.mean()))
        self.energy_std.fill_(float(per_atom.std()) or 1.0)
        forces = dataset.forces[np.isfinite(dataset.forces).all(axis=1)]
        if len(forces) > 1:
            variances, axes = np.linalg.eigh(np.cov(forces.T))
            leading = np.argsort(variances)[::-1][: self.settings.force_components]
            self.force_mean.copy_(torch.from_numpy(forces.mean(axis=0)))
            self.force_basis.copy_(torch.from_numpy((axes[:, leading] * np.sqrt(variances[leading])).T.copy()))

    def features(self, pairs: Pairs) -> Tensor:
        """(n_atoms, channels) after the last block."""
        gaussians = self.radial_basis(pairs.distances)
        fade = envelope(pairs.distances, self.settings.cutoff_A, self.settings.switch_A)
        faded = gaussians * fade[:, None]
        x = self.embedding(pairs.sum_over_neighbors(faded, faded))
        for block in self.blocks:
            x = block(x, pairs, gaussians, fade)
        return x

    def atomic_energies(self, pairs: Pairs) -> Tensor:
        """(n_atoms,) energies in eV."""
        return self.energy_mean + self.energy_std * self.energy_pathway(self.features(pairs)).squeeze(1)

    def direct_forces(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Energies (n_atoms,) in eV, and forces (n_atoms, 3) in eV/Å from the second pathway."""
        x = self.features(pairs)
        energies = self.energy_mean + self.energy_std * self.energy_pathway(x).squeeze(1)
        return energies, self.force_mean + self.force_pathway(x) @ self.force_basis
