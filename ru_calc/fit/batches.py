"""Training frames as tensors, with their pairs found once, cut into shuffled batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ru_calc.dataset import Dataset
from ru_calc.derivatives import Batch
from ru_calc.fit.settings import FitSettings
from ru_calc.neighbors import find_pairs


@dataclass(frozen=True)
class Targets:
    """Labels of one batch; NaN where missing.

    Attributes:
        energy (f,) eV, forces (n, 3) eV/Å, stress (f, 6) eV/Å³, counts (f,) atoms, weight (f,), atom_frames (n,).
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor
    counts: Tensor
    weight: Tensor
    atom_frames: Tensor


class PackedFrames:
    """All frames of a set with their pairs, ready to be gathered into batches.

    Args:
        dataset: the frames.
        cutoff_A: range of the pairs.
        dtype, device: of the tensors.
    """

    def __init__(
        self, dataset: Dataset, cutoff_A: float, dtype: torch.dtype = torch.float32, device: str = "cpu"
    ) -> None:
        structures = dataset.structures
        pairs = find_pairs(structures, cutoff_A)
        self.dataset, self.dtype, self.device = dataset, dtype, torch.device(device)
        self.counts, self.offsets = structures.counts, structures.offsets
        # A frame without a volume has no stress label; any finite number keeps its gradient finite.
        self.volumes = np.nan_to_num(structures.volumes, nan=1.0)
        self.pair_counts = np.bincount(pairs.frames, minlength=len(structures))
        self.pair_offsets = np.concatenate([[0], np.cumsum(self.pair_counts)])
        self.vectors = pairs.vectors(structures)
        start = self.offsets[pairs.frames]
        self.first, self.second = pairs.first - start, pairs.second - start

    def __len__(self) -> int:
        return len(self.counts)

    def gather(self, frames: np.ndarray) -> tuple[Batch, Targets]:
        """The frames with these indices as one batch, and their labels."""
        counts, pair_counts = self.counts[frames], self.pair_counts[frames]
        atoms = np.concatenate([np.arange(self.offsets[k], self.offsets[k + 1]) for k in frames])
        pairs = np.concatenate([np.arange(self.pair_offsets[k], self.pair_offsets[k + 1]) for k in frames])
        start = np.repeat(np.concatenate([[0], np.cumsum(counts)[:-1]]), pair_counts)
        atom_frames = self._index(np.repeat(np.arange(len(frames)), counts))
        batch = Batch(
            vectors=self._real(self.vectors[pairs]),
            first=self._index(self.first[pairs] + start),
            second=self._index(self.second[pairs] + start),
            pair_frames=self._index(np.repeat(np.arange(len(frames)), pair_counts)),
            atom_frames=atom_frames,
            volumes=self._real(self.volumes[frames]),
        )
        labels = self.dataset
        targets = Targets(
            energy=torch.from_numpy(labels.energy[frames]).to(self.device),
            forces=self._real(labels.forces[atoms]),
            stress=self._real(labels.stress[frames]),
            counts=self._real(counts),
            weight=self._real(labels.weight[frames]),
            atom_frames=atom_frames,
        )
        return batch, targets

    def batches(self, settings: FitSettings, epoch: int | None = None) -> list[np.ndarray]:
        """Frame indices of each batch; shuffled by (seed, epoch), or in order where `epoch` is None."""
        order = np.arange(len(self))
        if epoch is not None:
            order = np.random.default_rng([settings.seed, epoch]).permutation(order)
        most_frames = settings.batch_frames or len(order)
        most_atoms = settings.batch_atoms or np.inf
        batches: list[list[int]] = [[]]
        atoms = 0
        for k in order:
            if batches[-1] and (len(batches[-1]) >= most_frames or atoms + self.counts[k] > most_atoms):
                batches.append([])
                atoms = 0
            batches[-1].append(int(k))
            atoms += self.counts[k]
        return [np.array(batch) for batch in batches]

    def _index(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.astype(np.int64)).to(self.device)

    def _real(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(array, dtype=float)).to(self.device, self.dtype)
