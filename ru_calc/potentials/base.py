"""What a potential is: a module that turns pairs of atoms into one energy per atom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ru_calc.dataset import Dataset
from ru_calc.neighbors import find_pairs
from ru_calc.potentials.layers import Standardizer, ZBLCore
from ru_calc.predictor import batches


@dataclass(frozen=True)
class Pairs:
    """Pairs of atoms within the cutoff, each unordered pair once.

    Attributes:
        n_atoms: number of atoms in all frames together.
        first, second: (p,) int64 indices of the two atoms.
        vectors: (p, 3) r_second − r_first in Å; derivatives flow through them.
    """

    n_atoms: int
    first: Tensor
    second: Tensor
    vectors: Tensor

    @cached_property
    def distances(self) -> Tensor:
        """(p,) |r_ij| in Å."""
        return self.vectors.square().sum(dim=1).sqrt()

    @cached_property
    def directions(self) -> Tensor:
        """(p, 3) unit vectors from first to second."""
        return self.vectors / self.distances[:, None]

    @cached_property
    def slots(self) -> Tensor:
        """Neighbours of each atom as a padded table of *directed* pairs.

        Returns:
            (n_atoms, k): q < p is pair q seen from `first`, p + q is pair q seen from `second`, and 2p fills up atoms
            that have fewer than k neighbours.
        """
        center = torch.cat([self.first, self.second])
        order = torch.argsort(center, stable=True)
        counts = torch.bincount(center, minlength=self.n_atoms)
        width = int(counts.max()) if len(center) else 0
        start = torch.cumsum(counts, 0) - counts
        sorted_center = center[order]
        place = sorted_center * width + torch.arange(len(center), device=center.device) - start[sorted_center]
        table = torch.full((self.n_atoms * width,), len(center), dtype=torch.int64, device=center.device)
        table[place] = order
        return table.view(self.n_atoms, width)

    def sum_over_neighbors(self, to_first: Tensor, to_second: Tensor) -> Tensor:
        """(n_atoms, c) sums of what each pair gives to its two ends, each (p, c)."""
        total = to_first.new_zeros((self.n_atoms, *to_first.shape[1:]))
        return total.index_add(0, self.first, to_first).index_add(0, self.second, to_second)


class Potential(nn.Module):
    """A family of potentials: implement `atomic_energies`, and everything else is derived from it.

    Attributes:
        family: its name in `FAMILIES`.
        settings: frozen dataclass of hyper-parameters; `settings.cutoff_A` is the interaction range in Å.
        conservative: forces are −∂E/∂r.  Only the paper's own network says False.
        fit_settings: what suits a fit of this family better than the defaults of `ru_calc.fit.settings`, by name.
    """

    family: ClassVar[str]
    conservative: ClassVar[bool] = True
    fit_settings: ClassVar[Mapping[str, Any]] = {}
    settings: Any

    def atomic_energies(self, pairs: Pairs) -> Tensor:
        """(n_atoms,) energies in eV, isolated atom included; their sum over a frame is its energy."""
        raise NotImplementedError

    def direct_forces(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Energies (n_atoms,) and forces (n_atoms, 3) of a network whose forces are an output of their own."""
        raise NotImplementedError

    @property
    def cutoff_A(self) -> float:
        """Interaction range in Å: pairs beyond it must not be needed."""
        return float(self.settings.cutoff_A)

    def hyperparameters(self) -> dict[str, Any]:
        """The settings as plain values, enough to build an equal module."""
        return asdict(self.settings)

    def prepare(self, dataset: Dataset) -> None:
        """Takes from the training set what is not learned (means, scales); some families need nothing."""


class AnchoredPotential(Potential):
    """E = Σ_i [E_atom + ε_i − ε_lone] + ½ Σ_ij ZBL(r_ij): implement `network`, which gives the ε_i.

    The energy of a lone atom is a constant of the model, not a matter of the fit, and atoms that collide are repelled.
    `settings` holds `core_inner_A`, `core_outer_A` and `atom_energy_eV`.
    """

    def __init__(self, settings: Any) -> None:
        super().__init__()
        self.settings = settings
        self.core = ZBLCore(settings.core_inner_A, settings.core_outer_A)

    def network(self, pairs: Pairs) -> Tensor:
        """(n_atoms,) energies ε_i in eV, on whatever scale."""
        raise NotImplementedError

    def atomic_energies(self, pairs: Pairs) -> Tensor:
        """(n_atoms,) energies in eV."""
        # One atom without neighbours is carried along: its energy is the zero of the scale.
        wide = Pairs(pairs.n_atoms + 1, pairs.first, pairs.second, pairs.vectors)
        network = self.network(wide)
        half_core = 0.5 * self.core(wide.distances)
        core = pairs.sum_over_neighbors(half_core, half_core)
        return network[:-1] - network[-1] + core + float(self.settings.atom_energy_eV)


class DescriptorPotential(AnchoredPotential):
    """ε_i = network(descriptors of atom i, each brought to mean 0 and spread 1 over the training set).

    Implement `descriptors`.  `energy` is the network, (n_atoms, width) → (n_atoms, 1).
    """

    def __init__(self, settings: Any, width: int) -> None:
        super().__init__(settings)
        self.standardizer = Standardizer(width)
        self.energy: nn.Module = nn.Identity()

    def descriptors(self, pairs: Pairs) -> Tensor:
        """(n_atoms, width) numbers that do not change when an atom's surroundings turn or its neighbours swap."""
        raise NotImplementedError

    def prepare(self, dataset: Dataset) -> None:
        """Means and spreads of the descriptors."""
        found = []
        with torch.no_grad():
            for frames in batches(dataset.structures.counts, 1000):
                part = dataset.structures.select(frames)
                pairs = find_pairs(part, self.cutoff_A)
                first, second, vectors = map(torch.from_numpy, (pairs.first, pairs.second, pairs.vectors(part)))
                found.append(self.descriptors(Pairs(part.n_atoms, first, second, vectors.to(self.standardizer.mean))))
        self.standardizer.adopt(torch.cat(found))

    def network(self, pairs: Pairs) -> Tensor:
        """(n_atoms,) energies in eV, without core and zero."""
        return self.energy(self.standardizer(self.descriptors(pairs))).squeeze(1)
