"""The interface of predictors, their results, and predictions in batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from ase import Atoms

from ru_calc.errors import DataError
from ru_calc.structures import Structures, as_structures
from ru_calc.structures.neighbors import SAME_PLACE_A, NeighborPairs, closest_of, find_pairs

WANTED = ("energy", "energies", "forces", "stress")


@dataclass(frozen=True)
class Prediction:
    """Predicted quantities; None for those not requested.

    Attributes:
        energy: (n_frames,) eV.
        energies: (n_atoms,) eV.
        forces: (n_atoms, 3) eV/Å.
        stress: (n_frames, 6) eV/Å³, tension positive, xx yy zz yz xz xy; NaN for a frame without a volume.
        stresses: (n_atoms, 6) shares of the atoms, whose sum is the stress: ½ Σ_j r_ij ⊗ ∂E/∂r_ij / V, symmetric.
        uncertainty: (n_atoms,) expected error of each force component in eV/Å, see `tables.uncertainty`.
    """

    energy: Any = None
    energies: Any = None
    forces: Any = None
    stress: Any = None
    stresses: Any = None
    uncertainty: Any = None


class Predictor(Protocol):
    """Anything that predicts energies and their derivatives: the reference or an engine."""

    @property
    def cutoff_A(self) -> float: ...

    def predict(
        self,
        structures: Structures | Sequence[Atoms],
        pairs: NeighborPairs | None = None,
        want: Collection[str] = WANTED,
    ) -> Prediction:
        """The requested ones of `energy energies forces stress stresses uncertainty`, as float64 arrays.

        Args:
            structures: frames, all predicted in one call.
            pairs: every pair within the cutoff, and possibly more; found here if None.

        Raises:
            ModelError: `uncertainty` is wanted of a model that has none.
        """
        ...


def frames_and_pairs(
    structures: Structures | Sequence[Atoms], pairs: NeighborPairs | None, cutoff_A: float
) -> tuple[Structures, NeighborPairs]:
    """The arguments of `Predictor.predict`, completed."""
    structures = as_structures(structures)
    return structures, find_pairs(structures, cutoff_A) if pairs is None else pairs


def predict_all(
    predictor: Predictor,
    structures: Structures,
    want: Collection[str] = ("energy", "forces", "stress"),
    batch_atoms: int = 1000,
    advance: Callable[[int], Any] = lambda frames: None,
    refuse: Callable[[int, str], Any] | None = None,
) -> Prediction:
    """Predictions of many frames, in batches; NaN where a predictor gives none.

    Args:
        batch_atoms: atoms in one batch; a larger frame is a batch of its own.
        advance: called with the number of frames of each finished batch.
        refuse: called with each frame whose atoms are too close or too dense to be predicted, and the reason; its
            predictions are NaN.  By default that is an error, as in a calculation.

    Raises:
        DataError: a frame is too dense, and `refuse` is None.
    """
    n_frames, n_atoms = len(structures), structures.n_atoms
    shapes = {"energy": (n_frames,), "forces": (n_atoms, 3), "stress": (n_frames, 6), "stresses": (n_atoms, 6)}
    result = {name: np.full(shapes.get(name, (n_atoms,)), np.nan) for name in want}
    for frames in batches(structures.counts, batch_atoms):
        part = structures.select(frames)
        refused: dict[int, str] = {}
        pairs = find_pairs(part, predictor.cutoff_A, refused.__setitem__)
        if refused and refuse is None:
            k = min(refused)
            raise DataError(f"frame {frames[k]}: {refused[k]}")
        found = predictor.predict(part, pairs, want)
        index = {"energy": frames, "stress": frames}
        for name in want:
            if getattr(found, name) is not None:
                result[name][index.get(name, structures.atoms_of(frames))] = getattr(found, name)
        if refuse is not None:
            refused |= _in_one_place(part, pairs)
            _leave_out(result, structures, {int(frames[k]): refused[k] for k in sorted(refused)}, refuse)
        advance(len(frames))
    return Prediction(**result)


def _leave_out(
    result: dict[str, np.ndarray], structures: Structures, refused: dict[int, str], refuse: Callable[[int, str], Any]
) -> None:
    atoms = structures.atoms_of(list(refused))
    for name, values in result.items():
        values[list(refused) if name in ("energy", "stress") else atoms] = np.nan
    for frame, why in refused.items():
        refuse(frame, why)


def _in_one_place(structures: Structures, pairs: NeighborPairs) -> dict[int, str]:
    """Frames with two atoms in one place, and which."""
    near = pairs.within(structures, SAME_PLACE_A)
    found = {}
    for k in np.unique(near.frames).tolist():
        alone = find_pairs(structures.frame(k), SAME_PLACE_A)
        found[k] = str(closest_of(structures.frame(k), alone))
    return found


def batches(counts: np.ndarray, batch_atoms: int) -> Iterator[np.ndarray]:
    """Consecutive frames with at most `batch_atoms` atoms in all; a larger frame is a batch of its own."""
    start, total = 0, 0
    for k, count in enumerate(counts):
        if total + count > batch_atoms and k > start:
            yield np.arange(start, k)
            start, total = k, 0
        total += int(count)
    if start < len(counts):
        yield np.arange(start, len(counts))
