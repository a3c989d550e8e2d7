"""Energy, forces and stress from a potential's atomic energies: the only place where derivatives are taken."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from ru_calc.devices import torch_threads
from ru_calc.errors import require
from ru_calc.potentials.base import Potential
from ru_calc.potentials.pairs import Pairs
from ru_calc.predictor import WANTED, Prediction, frames_and_pairs
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs
from ru_calc.tables.uncertainty import Uncertainty, no_uncertainty
from ru_calc.units import VOIGT_COLUMNS, VOIGT_ROWS


@dataclass(frozen=True)
class Batch:
    """Frames as tensors: the input of `differentiate`.

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
        """Differences are taken in float64 and rounded once, so that atoms may be far from the origin."""

        vectors, volumes = (
            torch.from_numpy(array).to(device, dtype) for array in (pairs.vectors(structures), structures.volumes)
        )
        first, second, pair_frames, atom_frames = (
            torch.from_numpy(np.ascontiguousarray(index)).to(device)
            for index in (pairs.first, pairs.second, pairs.frames, structures.frame_of_atom)
        )
        return cls(vectors, first, second, pair_frames, atom_frames, volumes)


def differentiate(
    potential: Potential,
    batch: Batch,
    want: Collection[str] = WANTED,
    training: bool = False,
    compiled: bool = False,
) -> Prediction:
    """Energies of a batch and those of its derivatives that are wanted, as tensors.

    With g = ∂E/∂r_ij of each pair, F_i = Σ_j g_ij − Σ_j g_ji and σ = (1/V) Σ_pairs r_ij ⊗ g, symmetric because the
    energy is invariant under rotation.  A network that is not conservative predicts forces directly, and no stress.

    Args:
        training: keep the graph, so that a loss on forces and stress has gradients.
        compiled: use compiled passes if the potential has them, instead of plain torch.
    """
    slopes = potential.conservative and bool({"forces", "stress", "stresses"} & {*want})
    forces = None
    with torch.set_grad_enabled(training or slopes):
        vectors = batch.vectors.detach().requires_grad_(slopes)
        pairs = Pairs(len(batch.atom_frames), batch.first, batch.second, vectors, compiled)
        if not potential.conservative and "forces" in want:
            energies, forces = potential.direct_forces(pairs)
        else:
            energies = potential.atomic_energies(pairs)
        slope = None
        if slopes:
            # Without blocks and angles, and with no atoms within a core, energies do not depend on vectors.
            (slope,) = torch.autograd.grad(energies.sum(), vectors, create_graph=training, materialize_grads=True)
        energy, by_slope, stress = Assembly.apply(batch, energies, slope, "forces" in want, "stress" in want)
    stresses = _by_atom(batch, slope.detach()) if slope is not None and "stresses" in want else None
    return Prediction(energy, energies, forces if by_slope is None else by_slope, stress, stresses)


def _by_atom(batch: Batch, slope: Tensor) -> Tensor:
    """(n, 6) stresses of the atoms: half of what each pair adds goes to either end."""
    outer = 0.5 * (batch.vectors[:, :, None] * slope[:, None, :]).flatten(1)
    virial = outer.new_zeros(len(batch.atom_frames), 9)
    virial.index_add_(0, batch.first, outer).index_add_(0, batch.second, outer)
    return virial @ _to_voigt(slope) / batch.volumes[batch.atom_frames, None]


# From a matrix to its symmetric part in Voigt order.
TO_VOIGT = np.zeros((3, 3, 6))
TO_VOIGT[VOIGT_ROWS, VOIGT_COLUMNS, np.arange(6)] += 0.5
TO_VOIGT[VOIGT_COLUMNS, VOIGT_ROWS, np.arange(6)] += 0.5


class Assembly(Function):
    """Energy (f,), forces (n, 3) and stress (f, 6) from energies (n,) and slopes ∂E/∂r_ij (p, 3), which may be None."""

    @staticmethod
    def forward(ctx, batch: Batch, energies, slope, forces: bool, stress: bool):
        ctx.batch, ctx.dtype = batch, energies.dtype
        ctx.set_materialize_grads(False)
        n_frames = len(batch.volumes)
        energy = energies.new_zeros(n_frames, dtype=torch.float64).index_add(0, batch.atom_frames, energies.double())
        force, found = None, None
        if slope is not None and forces:
            force = slope.new_zeros(len(energies), 3).index_add_(0, batch.first, slope)
            force.index_add_(0, batch.second, slope, alpha=-1)
        if slope is not None and stress:
            outer = (batch.vectors[:, :, None] * slope[:, None, :]).flatten(1)
            virial = outer.new_zeros(n_frames, 9).index_add_(0, batch.pair_frames, outer)
            found = virial @ _to_voigt(slope) / batch.volumes[:, None]
        return energy, force, found

    @staticmethod
    @once_differentiable
    def backward(ctx, by_energy, by_force, by_stress):
        batch, energies, slope = ctx.batch, None, None
        if by_energy is not None:
            energies = by_energy.index_select(0, batch.atom_frames).to(ctx.dtype)
        if by_force is not None:
            slope = by_force.index_select(0, batch.first) - by_force.index_select(0, batch.second)
        if by_stress is not None:
            matrix = (by_stress / batch.volumes[:, None] @ _to_voigt(by_stress).T).view(-1, 3, 3)
            through = torch.bmm(batch.vectors[:, None, :], matrix.index_select(0, batch.pair_frames)).squeeze(1)
            slope = through if slope is None else slope.add_(through)
        return None, energies, slope, None, None


def _to_voigt(like: Tensor) -> Tensor:
    return torch.from_numpy(TO_VOIGT.reshape(9, 6)).to(like)


class Reference:
    """The reference against which faster predictors are checked: any potential, differentiated by autograd.

    Args:
        potential: the module; it is moved to `device` and `dtype` and set to evaluation.
        dtype: of the network; positions and energy sums are float64 in any case.
        device: where it runs.
        threads: CPU threads of torch during a prediction on the CPU; None keeps torch's setting.
        uncertainty: of the model, if it has one.

    Raises:
        SettingsError: fewer threads than one.
    """

    def __init__(
        self,
        potential: Potential,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        threads: int | None = None,
        uncertainty: Uncertainty | None = None,
    ) -> None:
        require(threads is None or threads >= 1, "threads", threads, "1 or more")
        self.potential = potential.to(device=device, dtype=dtype).eval()
        self.potential.requires_grad_(False)
        self.dtype, self.device, self.uncertainty = dtype, device, uncertainty
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
        if "uncertainty" in want and self.uncertainty is None:
            raise no_uncertainty(self.potential.family)
        structures, pairs = frames_and_pairs(structures, pairs, self.cutoff_A)
        pairs = pairs.within(structures, self.cutoff_A)
        with torch_threads(self.threads):
            batch = Batch.from_structures(structures, pairs, self.dtype, self.device)
            result = vars(differentiate(self.potential, batch, want))
            if "uncertainty" in want:
                result = {**result, "uncertainty": self._uncertainty(batch)}
        found = {name: value for name, value in result.items() if name in want and value is not None}
        return Prediction(**{name: value.detach().cpu().double().numpy() for name, value in found.items()})

    def _uncertainty(self, batch: Batch) -> Tensor:
        assert self.uncertainty is not None
        with torch.no_grad():
            features = self.potential.features(Pairs(len(batch.atom_frames), batch.first, batch.second, batch.vectors))
            projection, offset = (
                torch.from_numpy(array).to(features) for array in (self.uncertainty.projection, self.uncertainty.offset)
            )
            squares = (features @ projection.T - offset).double().square().sum(dim=1)
        return torch.from_numpy(self.uncertainty.of(squares.cpu().numpy()))
