"""What a potential is: a module that maps pairs of atoms to one energy per atom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ru_calc.dataset import Dataset
from ru_calc.potentials.layers import Standardizer
from ru_calc.potentials.pairs import Pairs
from ru_calc.potentials.settings import AnchoredSettings
from ru_calc.predictor import batches
from ru_calc.structures.neighbors import find_pairs
from ru_calc.tables.smooth import ZBLCore
from ru_calc.tables.uncertainty import no_uncertainty


class Potential(nn.Module):
    """A family of potentials: implement `atomic_energies`, and everything else follows from it.

    Attributes:
        family: its name in `FAMILIES`.
        settings: frozen dataclass of hyper-parameters; `settings.cutoff_A` is the interaction range in Å.
        conservative: forces are −∂E/∂r.  False only for the paper's own network.
        fit_settings: defaults of `ru_calc.fit.settings` that this family replaces, by name.
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

    def features(self, pairs: Pairs) -> Tensor:
        """(n_atoms, width) what the uncertainty judges an atom by, if the family has one."""
        raise no_uncertainty(self.family)

    @property
    def cutoff_A(self) -> float:
        """Interaction range in Å: pairs beyond it must not be needed."""
        return float(self.settings.cutoff_A)

    def hyperparameters(self) -> dict[str, Any]:
        """The settings as plain values, enough to build an equal module."""
        return asdict(self.settings)

    def prepare(self, dataset: Dataset) -> None:
        """Sets what is taken from the training set rather than learned, such as means and scales."""


class AnchoredPotential(Potential):
    """E = Σ_i [E_atom + ε_i − ε_lone] + ½ Σ_ij ZBL(r_ij): implement `network`, which gives the ε_i.

    The energy of a lone atom is a constant of the model, not fitted, and atoms that collide repel each other.
    """

    def __init__(self, settings: AnchoredSettings) -> None:
        super().__init__()
        self.settings = settings
        self.core = ZBLCore(settings.core_inner_A, settings.core_outer_A)

    def network(self, pairs: Pairs) -> Tensor:
        """(n_atoms,) energies ε_i in eV, up to a constant, in plain torch."""
        raise NotImplementedError

    def compiled_network(self, pairs: Pairs) -> Tensor:
        """The same by compiled passes, if the family has them, that a fit may differentiate twice."""
        return self.network(pairs)

    def atomic_energies(self, pairs: Pairs) -> Tensor:
        """(n_atoms,) energies in eV."""
        # One atom without neighbours is added: its energy is the zero of the scale.
        wide = replace(pairs, n_atoms=pairs.n_atoms + 1)
        found = self.compiled_network(wide) if pairs.compiled else self.network(wide)
        energies = found[:-1] - found[-1] + float(self.settings.atom_energy_eV)
        close = torch.nonzero(wide.distances.detach() < self.settings.core_outer_A).squeeze(1)
        if not len(close) and energies.requires_grad:  # without blocks and angles, only the core depends on vectors
            return energies
        half_core = 0.5 * self.core(wide.distances[close])
        return energies.index_add(0, pairs.first[close], half_core).index_add(0, pairs.second[close], half_core)


class DescriptorPotential(AnchoredPotential):
    """ε_i = network(descriptors of atom i, each standardised over the training set).

    Implement `descriptors`.  `energy` is the network, (n_atoms, width) → (n_atoms, 1).
    """

    def __init__(self, settings: AnchoredSettings, width: int) -> None:
        super().__init__(settings)
        self.standardizer = Standardizer(width)
        self.energy: nn.Module = nn.Identity()

    def descriptors(self, pairs: Pairs) -> Tensor:
        """(n_atoms, width) numbers that are invariant under rotation and under permutation of the neighbours."""
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
