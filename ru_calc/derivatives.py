"""Energy, forces and stress from a potential's atomic energies: the one place where derivatives are taken."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from ru_calc.devices import torch_threads
from ru_calc.errors import SettingsError
from ru_calc.neighbors import NeighborPairs
from ru_calc.potentials.base import Potential
from ru_calc.potentials.pairs import Pairs
from ru_calc.predictor import WANTED, Prediction, frames_and_pairs
from ru_calc.structures import Structures
from ru_calc.units import VOIGT_COLUMNS, VOIGT_ROWS


@dataclass(frozen=True)
class Batch:
    """Frames as tensors: all that `differentiate` needs.

    Attributes:
        vectors: (p, 3) r_ij in Å.
        first, second: (p,) atoms of each pair.
        pair_frames: (p,) and atom_frames: (n,) frame indices.
        volumes: (f,) Å³.
    """

    vectors: Tensor
    first: Tensor
    second: Tensor
    pair_frames: Tensor
    atom_frames: Tensor
    volumes: Tensor

    @classmethod
    def from_structures(
        cls, structures: Structures, pairs: NeighborPairs, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> Batch:
        """Differences are formed in float64 and rounded once, so that atoms may lie far from the origin."""

        def index(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        return cls(
            vectors=torch.from_numpy(pairs.vectors(structures)).to(device, dtype),
            first=index(pairs.first),
            second=index(pairs.second),
            pair_frames=index(pairs.frames),
            atom_frames=index(structures.frame_of_atom),
            volumes=torch.from_numpy(structures.volumes).to(device, dtype),
        )


def differentiate(
    potential: Potential, batch: Batch, want: Collection[str] = WANTED, training: bool = False
) -> Prediction:
    """Energies of a batch and those of its derivatives that are wanted, as tensors.

    With g = ∂E/∂r_ij of each pair, F_i = Σ_j g_ij − Σ_j g_ji and σ = (1/V) Σ_pairs r_ij ⊗ g, symmetric because the
    energy is invariant under rotation.  A network that is not conservative gives forces of its own, and no stress.

    Args:
        training: keep the graph, so that a loss on forces and stress has gradients.
    """
    slopes = potential.conservative and ("forces" in want or "stress" in want)
    forces = stress = None
    with torch.set_grad_enabled(training or slopes):
        vectors = batch.vectors.detach().requires_grad_(slopes)
        pairs = Pairs(len(batch.atom_frames), batch.first, batch.second, vectors)
        if not potential.conservative and "forces" in want:
            energies, forces = potential.direct_forces(pairs)
        else:
            energies = potential.atomic_energies(pairs)
        energy = energies.new_zeros(len(batch.volumes), dtype=torch.float64)
        energy = energy.index_add(0, batch.atom_frames, energies.double())
        if slopes:
            (slope,) = torch.autograd.grad(energies.sum(), vectors, create_graph=training)
            forces = _forces(batch, slope) if "forces" in want else None
            stress = _stress(batch, vectors, slope) if "stress" in want else None
    return Prediction(energy, energies, forces, stress)


def _forces(batch: Batch, slope: Tensor) -> Tensor:
    forces = slope.new_zeros(len(batch.atom_frames), 3).index_add(0, batch.first, slope)
    return forces.index_add(0, batch.second, -slope)


def _stress(batch: Batch, vectors: Tensor, slope: Tensor) -> Tensor:
    outer = vectors[:, VOIGT_ROWS] * slope[:, VOIGT_COLUMNS] + vectors[:, VOIGT_COLUMNS] * slope[:, VOIGT_ROWS]
    virial = outer.new_zeros(len(batch.volumes), 6).index_add(0, batch.pair_frames, 0.5 * outer)
    return virial / batch.volumes[:, None]


class Reference:
    """The truth that everything faster is held against: any potential, differentiated by autograd.

    Args:
        potential: the module; it is moved to `device` and `dtype` and set to evaluation.
        dtype: of the network; positions and energy sums are float64 in any case.
        device: where it runs.
        threads: CPU threads of torch during a prediction, on the CPU; None leaves torch's own number.

    Raises:
        SettingsError: fewer threads than one.
    """

    def __init__(
        self,
        potential: Potential,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        threads: int | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise SettingsError(f"threads is {threads}; it must be 1 or more")
        self.potential = potential.to(device=device, dtype=dtype).eval()
        self.potential.requires_grad_(False)
        self.dtype, self.device = dtype, device
        self.threads = threads if torch.device(device).type == "cpu" else None

    @property
    def cutoff_A(self) -> float:
        """Interaction range in Å."""
        return self.potential.cutoff_A

    def predict(
        self,
        structures: Structures | Sequence[Atoms],
        pairs: NeighborPairs | None = None,
        want: Collection[str] = WANTED,
    ) -> Prediction:
        """See `Predictor.predict`."""
        structures, pairs = frames_and_pairs(structures, pairs, self.cutoff_A)
        pairs = pairs.within(structures, self.cutoff_A)
        with torch_threads(self.threads):
            batch = Batch.from_structures(structures, pairs, self.dtype, self.device)
            result = differentiate(self.potential, batch, want)
        return Prediction(
            **{
                field.name: getattr(result, field.name).detach().cpu().double().numpy()
                for field in fields(Prediction)
                if field.name in want and getattr(result, field.name) is not None
            }
        )
