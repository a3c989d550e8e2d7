"""Training frames as tensors, with pairs found once, and their division into shuffled batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ru_calc.dataset import Dataset
from ru_calc.fit.pair_cache import PairCache
from ru_calc.fit.settings import FitSettings
from ru_calc.potentials.derivatives import Batch


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
        cutoff_A: of the pairs.
        dtype, device: of the tensors.
        cache: for the pairs; None is the user's.
    """

    def __init__(
        self,
        dataset: Dataset,
        cutoff_A: float,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        cache: PairCache | None = None,
    ) -> None:
        structures = dataset.structures
        pairs = (cache or PairCache()).pairs(structures, cutoff_A)
        self.dataset, self.dtype, self.device = dataset, dtype, torch.device(device)
        self.counts, self.offsets = structures.counts, structures.offsets
        # A frame without a volume has no stress label; any finite volume keeps its gradient finite.
        self.volumes = np.nan_to_num(structures.volumes, nan=1.0)
        self.pair_counts = np.bincount(pairs.frames, minlength=len(structures))
        self.pair_offsets = np.concatenate([[0], np.cumsum(self.pair_counts)])
        self.vectors = self._real(pairs.vectors(structures))
        start = self.offsets[pairs.frames]
        self.first, self.second = pairs.first - start, pairs.second - start
        self.forces, self.stress = self._real(dataset.forces), self._real(dataset.stress)

    def __len__(self) -> int:
        return len(self.counts)

    def gather(self, frames: np.ndarray) -> tuple[Batch, Targets]:
        """One batch of the frames with these indices, and their labels."""
        counts, pair_counts = self.counts[frames], self.pair_counts[frames]
        pairs = _ranges(self.pair_offsets[frames], pair_counts)
        start = np.repeat(np.concatenate([[0], np.cumsum(counts)[:-1]]), pair_counts)
        targets = self.targets(frames)
        batch = Batch(
            vectors=self.vectors.index_select(0, self._index(pairs)),
            first=self._index(self.first[pairs] + start),
            second=self._index(self.second[pairs] + start),
            pair_frames=self._index(np.repeat(np.arange(len(frames)), pair_counts)),
            atom_frames=targets.atom_frames,
            volumes=self._real(self.volumes[frames]),
        )
        return batch, targets

    def targets(self, frames: np.ndarray) -> Targets:
        """The labels of the frames with these indices."""
        labels, counts = self.dataset, self.counts[frames]
        atoms = self._index(_ranges(self.offsets[frames], counts))
        return Targets(
            energy=torch.from_numpy(labels.energy[frames]).to(self.device),
            forces=self.forces.index_select(0, atoms),
            stress=self.stress.index_select(0, self._index(frames)),
            counts=self._real(counts),
            weight=self._real(labels.weight[frames]),
            atom_frames=self._index(np.repeat(np.arange(len(frames)), counts)),
        )

    def batches(self, settings: FitSettings, epoch: int | None = None, turn: int = 0) -> list[np.ndarray]:
        """Frame indices of each batch, shuffled by seed, epoch and turn in it, or in order if `epoch` is None."""
        order = np.arange(len(self))
        sizes = np.stack([np.ones_like(self.counts), self.counts, self.pair_counts], axis=1)
        bounds = [settings.batch_frames, settings.batch_atoms, settings.batch_pairs]
        if epoch is None:
            return pack(order, sizes, bounds)
        rng = np.random.default_rng([settings.seed, epoch, turn] if turn else [settings.seed, epoch])
        batches = pack(rng.permutation(order), sizes, bounds, settings.open_batches)
        if settings.open_batches > 1:
            # The batches closed last are less full, and hold the frames that fit badly.
            batches = [batches[k] for k in rng.permutation(len(batches))]
        return batches

    def _index(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.astype(np.int64, copy=False)).to(self.device)

    def _real(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(array, dtype=float)).to(self.device, self.dtype)


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The ranges start, start + 1, …, joined."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)


@dataclass
class _Open:
    """A batch being filled: its frames, and the room left within each bound."""

    room: list[float]
    frames: list[int] = field(default_factory=list)


def pack(order: np.ndarray, sizes: np.ndarray, bounds: Sequence[int], open_batches: int = 1) -> list[np.ndarray]:
    """Packs every frame once into batches within the bounds; a frame that exceeds them gets a batch of its own.

    Each frame goes to the first open batch with room for it; if there is none, the fullest batch is closed.

    Args:
        order: frame indices in the order of packing.
        sizes: (f, b) size of each frame by each measure; the last bounded measure decides which batch is the fullest.
        bounds: (b,) of a batch; 0 means none.
        open_batches: number of batches filled side by side; 1 keeps the frames in order.
    """
    limits = [float(bound or np.inf) for bound in bounds]
    judge = max(k for k, limit in enumerate(limits) if limit < np.inf)
    needs = sizes.tolist()
    closed: list[_Open] = []
    filling: list[_Open] = []
    for k in order.tolist():
        need = needs[k]
        batch = next((b for b in filling if all(n <= r for n, r in zip(need, b.room, strict=True))), None)
        if batch is None:
            if len(filling) == open_batches:
                fullest = min(range(open_batches), key=lambda j: filling[j].room[judge])
                closed.append(filling.pop(fullest))
            batch = _Open(list(limits))
            filling.append(batch)
        batch.frames.append(k)
        batch.room = [r - n for n, r in zip(need, batch.room, strict=True)]
    return [np.array(batch.frames) for batch in (*closed, *filling)]
