"""Energy, forces and stress from a potential's atomic energies: the one place where derivatives are taken."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ru_calc.errors import SettingsError
from ru_calc.neighbors import NeighborPairs, find_pairs
from ru_calc.potentials.base import Pairs, Potential
from ru_calc.structures import Structures
from ru_calc.units import VOIGT_COLUMNS, VOIGT_ROWS

WANTED = ("energy", "energies", "forces", "stress")


@dataclass(frozen=True)
class Prediction:
    """What was asked for; the rest is None.

    Attributes:
        energy: (n_frames,) eV.
        energies: (n_atoms,) eV.
        forces: (n_atoms, 3) eV/Å.
        stress: (n_frames, 6) eV/Å³, tension positive, xx yy zz yz xz xy; NaN for a frame without a volume.
    """

    energy: Any = None
    energies: Any = None
    forces: Any = None
    stress: Any = None


class Predictor(Protocol):
    """Anything that predicts: the reference here, and whatever is faster."""

    @property
    def cutoff_A(self) -> float: ...

    def predict(self, structures: Structures, pairs: NeighborPairs, want: Collection[str] = WANTED) -> Prediction: ...


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


def resolve_device(device: str) -> str:
    """`auto` as `cuda` where there is a CUDA device and `cpu` where not; others as they are.

    Raises:
        SettingsError: not one of auto, cpu, cuda, cuda:N, or a CUDA device that is not there.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(device)):
        raise SettingsError(f"device is {device!r}; choose one of auto, cpu, cuda, cuda:N")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and int(device.partition(":")[2] or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise SettingsError(f"device is {device!r} and {found} CUDA devices are there; use cpu or auto")
    return device


class Reference:
    """The truth that everything faster is held against: any potential, differentiated by autograd.

    Args:
        potential: the module; it is moved to `device` and `dtype` and set to evaluation.
        dtype: of the network; positions and energy sums are float64 in any case.
        device: where it runs.
    """

    def __init__(
        self, potential: Potential, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> None:
        self.potential = potential.to(device=device, dtype=dtype).eval()
        self.potential.requires_grad_(False)
        self.dtype, self.device = dtype, device

    @property
    def cutoff_A(self) -> float:
        """Interaction range in Å."""
        return self.potential.cutoff_A

    def predict(self, structures: Structures, pairs: NeighborPairs, want: Collection[str] = WANTED) -> Prediction:
        """What is wanted of `energy energies forces stress`, as float64 arrays; see `Prediction`."""
        batch = Batch.from_structures(structures, pairs, self.dtype, self.device)
        result = differentiate(self.potential, batch, want)
        return Prediction(
            **{
                field.name: getattr(result, field.name).detach().cpu().double().numpy()
                for field in fields(Prediction)
                if field.name in want and getattr(result, field.name) is not None
            }
        )


def predict_all(
    predictor: Predictor,
    structures: Structures,
    want: Collection[str] = ("energy", "forces", "stress"),
    batch_atoms: int = 1000,
    advance: Callable[[int], Any] = lambda frames: None,
) -> Prediction:
    """Predictions of many frames, in batches; NaN where there is none.

    Args:
        batch_atoms: atoms at once; a larger frame comes alone.
        advance: called with the number of frames that were done.
    """
    n_frames, n_atoms = len(structures), structures.n_atoms
    shapes = {"energy": (n_frames,), "energies": (n_atoms,), "forces": (n_atoms, 3), "stress": (n_frames, 6)}
    result = {name: np.full(shapes[name], np.nan) for name in want}
    for frames in batches(structures.counts, batch_atoms):
        part = structures.select(frames)
        found = predictor.predict(part, find_pairs(part, predictor.cutoff_A), want)
        index = {"energy": frames, "stress": frames}
        for name in want:
            if getattr(found, name) is not None:
                result[name][index.get(name, structures.atoms_of(frames))] = getattr(found, name)
        advance(len(frames))
    return Prediction(**result)


def batches(counts: np.ndarray, batch_atoms: int) -> Iterator[np.ndarray]:
    """Runs of frames with at most `batch_atoms` atoms together; a larger frame comes alone."""
    start, total = 0, 0
    for k, count in enumerate(counts):
        if total + count > batch_atoms and k > start:
            yield np.arange(start, k)
            start, total = k, 0
        total += int(count)
    if start < len(counts):
        yield np.arange(start, len(counts))
