"""`Dataset`: frames with their labels, NaN where a label is missing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ru_calc.dataset.labels import labels_of
from ru_calc.dataset.levels import UNSTATED
from ru_calc.dataset.values import WEIGHT_RULE, fine_weights
from ru_calc.errors import DataError
from ru_calc.structures import Structures
from ru_calc.units import RUTHENIUM

LABELS = ("energy", "forces", "stress")


@dataclass(frozen=True)
class Dataset:
    """Frames with labels at one level of theory.

    Attributes:
        structures: the f frames, n atoms in all.
        energy: (f,) eV, force-consistent; NaN where missing, as in all labels.
        forces: (n, 3) eV/Å.
        stress: (f, 6) eV/Å³, tension positive, xx yy zz yz xz xy.
        config_type: (f,) kind of structure, for reports.
        group_id: (f,) shared by frames that a split must keep together.
        weight: (f,) weight in a fit.
        level_of_theory, energy_reference: description of the labels.

    Raises:
        DataError: a weight is negative, not finite or above 1e12.
    """

    structures: Structures
    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray
    config_type: np.ndarray
    group_id: np.ndarray
    weight: np.ndarray
    level_of_theory: str = UNSTATED
    energy_reference: str = "as labelled"

    def __post_init__(self) -> None:
        wrong = np.flatnonzero(~fine_weights(self.weight))
        if len(wrong):
            raise DataError(f"the weight of frame {wrong[0]} is {self.weight[wrong[0]]}; it must be {WEIGHT_RULE}")

    def __len__(self) -> int:
        return len(self.structures)

    @classmethod
    def from_atoms(
        cls, frames: Sequence[Atoms], level_of_theory: str = UNSTATED, energy_reference: str = "as labelled"
    ) -> Dataset:
        """Labels from each frame's calculator, `info` or arrays, as `ase.io` attaches them.

        Args:
            frames: at least one; `info` may hold `config_type`, `group_id` and `weight`.
            level_of_theory, energy_reference: description of the labels.

        Raises:
            DataError: no frame, atoms that `check_atoms` refuses, or a label that `labels_of` refuses.
        """
        if not len(frames):
            raise DataError("there are 0 frames; a data set needs at least one")
        structures = Structures.from_atoms(frames)
        labels = [_missing(a) | labels_of(a, where=f"frame {k}: ").values for k, a in enumerate(frames)]
        return cls(
            structures,
            energy=np.array([of_frame["energy"] for of_frame in labels]),
            forces=np.concatenate([of_frame["forces"] for of_frame in labels]),
            stress=np.array([of_frame["stress"] for of_frame in labels]),
            config_type=np.array([str(a.info.get("config_type", "unnamed")) for a in frames]),
            group_id=np.array([str(a.info.get("group_id", f"frame_{k:06d}")) for k, a in enumerate(frames)]),
            weight=np.array([float(a.info.get("weight", 1.0)) for a in frames]),
            level_of_theory=level_of_theory,
            energy_reference=energy_reference,
        )

    def select(self, indices: Iterable[int]) -> Dataset:
        """The frames with the given indices, in that order."""
        indices = np.asarray(list(indices), dtype=np.int64)
        per_frame = ("energy", "stress", "config_type", "group_id", "weight")
        return replace(
            self,
            structures=self.structures.select(indices),
            forces=self.forces[self.structures.atoms_of(indices)],
            **{name: getattr(self, name)[indices] for name in per_frame},
        )

    @staticmethod
    def joined(parts: Sequence[Dataset]) -> Dataset:
        """The frames of all parts, in order; groups of different parts stay apart, though their `group_id` be equal."""
        if len(parts) == 1:
            return parts[0]
        arrays = ("energy", "forces", "stress", "config_type", "weight")
        groups = [np.char.add(f"{k}:", part.group_id) for k, part in enumerate(parts)]
        return Dataset(
            Structures.joined([part.structures for part in parts]),
            group_id=np.concatenate(groups),
            level_of_theory=parts[0].level_of_theory,
            energy_reference="; ".join(dict.fromkeys(part.energy_reference for part in parts)),
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays},
        )

    def atoms(self, k: int) -> Atoms:
        """Frame `k` as `ase.Atoms`, with its labels in a `SinglePointCalculator`."""
        s, part = self.structures, self.structures.atoms_of([k])
        atoms = Atoms([RUTHENIUM] * len(part), positions=s.positions[part], cell=s.cells[k], pbc=s.pbc[k])
        atoms.info = {"config_type": str(self.config_type[k]), "group_id": str(self.group_id[k])}
        labels = {"energy": self.energy[k], "forces": self.forces[part], "stress": self.stress[k]}
        present = {name: value for name, value in labels.items() if np.isfinite(value).all()}
        if "energy" in present:
            present["free_energy"] = present["energy"] = float(present["energy"])
        atoms.calc = SinglePointCalculator(atoms, **present)
        return atoms

    def has(self, label: str) -> np.ndarray:
        """(f,) whether each frame has the label, one of `LABELS`."""
        if label != "forces":
            return np.isfinite(getattr(self, label).reshape(len(self), -1)).all(axis=1)
        complete = np.isfinite(self.forces).all(axis=1)
        return np.bincount(self.structures.frame_of_atom, ~complete, minlength=len(self)) == 0

    def require(self, labels: Iterable[str]) -> None:
        """Checks that each of these labels is there in some frame.

        Raises:
            DataError: one is missing in all frames.
        """
        absent = [label for label in labels if not self.has(label).any()]
        if absent:
            raise DataError(
                f"none of the {len(self)} frames has {' or '.join(absent)}; label them, or leave "
                f"{' and '.join(absent)} out of the fit ({' '.join(f'--set {name}_weight=0' for name in absent)})"
            )

    def fingerprint(self) -> str:
        """SHA-256 of structures and labels, which identifies the data set."""
        digest = hashlib.sha256()
        s = self.structures
        for array in (s.positions, s.cells, s.pbc, s.counts, self.energy, self.forces, self.stress):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def _missing(atoms: Atoms) -> dict[str, np.ndarray]:
    shapes: dict[str, tuple[int, ...]] = {"energy": (), "forces": (len(atoms), 3), "stress": (6,)}
    return {name: np.full(shape, np.nan) for name, shape in shapes.items()}
