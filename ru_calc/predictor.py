"""What a predictor is, what it gives, and predictions of many frames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from ase import Atoms

from ru_calc.structures import Structures, as_structures
from ru_calc.structures.neighbors import NeighborPairs, find_pairs

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
    """Anything that predicts: the reference, and whatever is faster."""

    @property
    def cutoff_A(self) -> float: ...

    def predict(
        self,
        structures: Structures | Sequence[Atoms],
        pairs: NeighborPairs | None = None,
        want: Collection[str] = WANTED,
    ) -> Prediction:
        """What is wanted of `energy energies forces stress`, as float64 arrays.

        Args:
            structures: frames, also as `ase.Atoms`: all of them in one call.
            pairs: every pair within the cutoff; pairs beyond it change nothing.  None finds them.
        """
        ...


def frames_and_pairs(
    structures: Structures | Sequence[Atoms], pairs: NeighborPairs | None, cutoff_A: float
) -> tuple[Structures, NeighborPairs]:
    """What `Predictor.predict` was given, with what was left out."""
    structures = as_structures(structures)
    return structures, find_pairs(structures, cutoff_A) if pairs is None else pairs


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
