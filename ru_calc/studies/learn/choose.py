"""Candidates of which a model knows little, and a few of them that differ from each other and from what it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ru_calc.fit.uncertainty import whitened
from ru_calc.modelfiles import load_model, open_model
from ru_calc.modelfiles.load import StoredModel
from ru_calc.predictor import predict_all
from ru_calc.structures import Structures
from ru_calc.tables.uncertainty import no_uncertainty

UNCERTAINTY = "uncertainty_eV_per_A"


@dataclass(frozen=True)
class Candidates:
    """Frames, with the largest uncertainty of their atoms as `info["uncertainty_eV_per_A"]`.

    Attributes:
        frames: as sampled.
        uncertainty_eV_per_A: (f,) largest of each frame's atoms.
        threshold_eV_per_A: above which a frame is uncertain.
    """

    frames: list[Atoms]
    uncertainty_eV_per_A: np.ndarray
    threshold_eV_per_A: float

    @property
    def uncertain(self) -> np.ndarray:
        """Indices of the frames above the threshold, the most uncertain first."""
        above = np.flatnonzero(self.uncertainty_eV_per_A > self.threshold_eV_per_A)
        return above[np.argsort(-self.uncertainty_eV_per_A[above], kind="stable")]


def assessed(frames: Sequence[Atoms], model: str, threshold_eV_per_A: float | None) -> Candidates:
    """The candidates with their uncertainties by a model.

    Raises:
        ModelError: the model has no uncertainty.
    """
    stored = load_model(model)
    if stored.uncertainty is None:
        raise no_uncertainty(stored.potential.family)
    structures = Structures.from_atoms(list(frames))
    found = predict_all(open_model(model).predictor, structures, ("uncertainty",)).uncertainty
    largest = np.maximum.reduceat(found, structures.offsets[:-1])
    for atoms, value in zip(frames, largest, strict=True):
        atoms.info[UNCERTAINTY] = round(float(value), 4)
    limit = threshold_eV_per_A
    if limit is None:
        limit = float(stored.header["uncertainty"]["threshold_eV_per_A"])
    return Candidates(list(frames), largest, limit)


def chosen(candidates: Candidates, count: int, model: str, known: Structures) -> list[int]:
    """Indices of at most `count` uncertain candidates.

    The first is the most uncertain one; each further one is the farthest, in the whitened features averaged over a
    frame, from all that are chosen and from the frames that the model was fitted to (farthest-point sampling).
    """
    uncertain = candidates.uncertain
    if len(uncertain) <= count:
        return uncertain.tolist()
    stored = load_model(model)
    places = _places(stored, Structures.from_atoms([candidates.frames[k] for k in uncertain]))
    distance = np.min([np.linalg.norm(places - one, axis=1) for one in _places(stored, known)], axis=0)
    picked = [0]
    while len(picked) < count:
        distance = np.minimum(distance, np.linalg.norm(places - places[picked[-1]], axis=1))
        distance[picked] = -1.0
        picked.append(int(np.argmax(distance)))
    return [int(uncertain[k]) for k in picked]


def _places(stored: StoredModel, structures: Structures) -> np.ndarray:
    """(f, k) mean over the atoms of each frame of the whitened features."""
    law = stored.uncertainty
    assert law is not None
    found = whitened(stored.potential, structures, law.projection, law.offset)
    return np.add.reduceat(found, structures.offsets[:-1], axis=0) / structures.counts[:, None]
