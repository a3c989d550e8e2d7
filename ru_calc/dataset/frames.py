"""`Dataset`: frames with their labels, NaN where one is missing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ru_calc.errors import DataError
from ru_calc.structures import Structures
from ru_calc.units import RUTHENIUM, to_voigt

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
        group_id: (f,) frames that must stay on one side of a split share it.
        weight: (f,) weight in a fit.
        level_of_theory, energy_reference: what the labels are.
    """

    structures: Structures
    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray
    config_type: np.ndarray
    group_id: np.ndarray
    weight: np.ndarray
    level_of_theory: str = "not stated"
    energy_reference: str = "as labelled"

    def __len__(self) -> int:
        return len(self.structures)

    @classmethod
    def from_atoms(
        cls, frames: Sequence[Atoms], energy_key: str = "auto", level_of_theory: str = "not stated", **attributes: str
    ) -> Dataset:
        """Labels from each frame's calculator, as `ase.io` attaches them.

        Args:
            energy_key: `free_energy`, `energy`, or `auto`: the force-consistent `free_energy` where a frame has one.

        Raises:
            DataError: no frame, an atom that is not ruthenium, or a label or position that is not finite.
        """
        if not len(frames):
            raise DataError("there are 0 frames; a data set needs at least one")
        structures = Structures.from_atoms(frames)
        labels = [_labels(atoms, k, energy_key) for k, atoms in enumerate(frames)]
        return cls(
            structures,
            energy=np.array([energy for energy, _, _ in labels]),
            forces=np.concatenate([forces for _, forces, _ in labels]),
            stress=np.array([stress for _, _, stress in labels]),
            config_type=np.array([str(a.info.get("config_type", "unnamed")) for a in frames]),
            group_id=np.array([str(a.info.get("group_id", f"frame_{k:06d}")) for k, a in enumerate(frames)]),
            weight=np.array([float(a.info.get("weight", 1.0)) for a in frames]),
            level_of_theory=level_of_theory,
            **attributes,
        )

    def select(self, indices: Iterable[int]) -> Dataset:
        """The frames with these indices, in this order."""
        indices = np.asarray(list(indices), dtype=np.int64)
        per_frame = ("energy", "stress", "config_type", "group_id", "weight")
        return replace(
            self,
            structures=self.structures.select(indices),
            forces=self.forces[self.structures.atoms_of(indices)],
            **{name: getattr(self, name)[indices] for name in per_frame},
        )

    def atoms(self, k: int) -> Atoms:
        """Frame `k` as `ase.Atoms` with its labels in a `SinglePointCalculator`."""
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
        """(f,) whether each frame has the label `energy`, `forces` or `stress`."""
        if label != "forces":
            return np.isfinite(getattr(self, label).reshape(len(self), -1)).all(axis=1)
        complete = np.isfinite(self.forces).all(axis=1)
        return np.bincount(self.structures.frame_of_atom, ~complete, minlength=len(self)) == 0

    def require(self, labels: Iterable[str]) -> None:
        """Refuses a set in which no frame has a label that is asked for.

        Raises:
            DataError: naming the labels that are absent.
        """
        absent = [label for label in labels if not self.has(label).any()]
        if absent:
            raise DataError(
                f"none of the {len(self)} frames has {' or '.join(absent)}; label them, or leave "
                f"{' and '.join(absent)} out of the fit ({' '.join(f'--set {name}_weight=0' for name in absent)})"
            )

    def fingerprint(self) -> str:
        """SHA-256 over structures and labels, to tell data sets apart."""
        digest = hashlib.sha256()
        s = self.structures
        for array in (s.positions, s.cells, s.pbc, s.counts, self.energy, self.forces, self.stress):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def _labels(atoms: Atoms, k: int, energy_key: str) -> tuple[float, np.ndarray, np.ndarray]:
    results = dict(getattr(atoms.calc, "results", {}))
    keys = ("free_energy", "energy") if energy_key == "auto" else (energy_key,)
    energy = next((results[key] for key in keys if results.get(key) is not None), None)
    given = {"energy": energy, "forces": results.get("forces"), "stress": results.get("stress")}
    for name, value in given.items():
        if value is not None and not np.isfinite(np.asarray(value, dtype=float)).all():
            raise DataError(f"frame {k}: its {name} is not finite; remove the frame or the label")
    forces, stress = (
        np.full(shape, np.nan) if given[name] is None else np.asarray(given[name], dtype=float)
        for name, shape in (("forces", (len(atoms), 3)), ("stress", 6))
    )
    stress = to_voigt(stress.reshape(3, 3)) if stress.size == 9 else stress
    energy = np.nan if energy is None else energy
    return float(energy), forces, stress
