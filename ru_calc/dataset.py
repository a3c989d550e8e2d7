"""Labelled frames: the native HDF5 file, splits by group, and a summary of what a set holds.

Layout of the file (schema `ru-calc/frames`, version 1): one group per frame size, `size_00012`, holding datasets whose
first axis is the frame and whose names are ASE's:

    order (f,)  numbers (f, n)  positions (f, n, 3) Å  cell (f, 3, 3) Å  pbc (f, 3)
    energy (f,) eV  forces (f, n, 3) eV/Å  stress (f, 6) eV/Å³ (xx yy zz yz xz xy)
    config_type (f,)  group_id (f,)  weight (f,)

`order` is the frame's place in the set.  A missing label is NaN.  Every dataset has an attribute `units`, is chunked,
compressed and checksummed (Fletcher-32).  The root attributes name schema, version, level of theory, energy reference
and stress convention.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ru_calc.errors import DataError
from ru_calc.files import whole_file
from ru_calc.structures import Structures
from ru_calc.units import RUTHENIUM, to_voigt

SCHEMA, VERSION = "ru-calc/frames", 1
STRESS_CONVENTION = "sigma = (1/V) dE/d(strain), tension positive, Voigt xx yy zz yz xz xy"
UNITS = {
    "order": "1", "numbers": "1", "positions": "Angstrom", "cell": "Angstrom", "pbc": "1", "energy": "eV",
    "forces": "eV/Angstrom", "stress": "eV/Angstrom^3", "config_type": "", "group_id": "", "weight": "1",
}  # fmt: skip
OPTIONAL = ("energy", "forces", "stress", "config_type", "group_id", "weight")
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
                f"{' and '.join(absent)} out of the fit (weight 0)"
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


def write_dataset(dataset: Dataset, path: str | Path) -> None:
    """Writes the native HDF5 file.

    Raises:
        OutputError: it cannot be written there.
    """
    s, offsets = dataset.structures, dataset.structures.offsets
    with whole_file(path) as temporary, h5py.File(temporary, "w", libver=("v110", "v110")) as file:
        file.attrs.update(
            schema=SCHEMA, version=VERSION, level_of_theory=dataset.level_of_theory,
            energy_reference=dataset.energy_reference, stress_convention=STRESS_CONVENTION, frames=len(dataset),
        )  # fmt: skip
        for size in np.unique(s.counts):
            frames = np.flatnonzero(s.counts == size)
            atoms = offsets[frames][:, None] + np.arange(size)
            group = file.create_group(f"size_{size:05d}")
            values = {
                "order": frames, "numbers": np.full(atoms.shape, RUTHENIUM, np.uint8), "positions": s.positions[atoms],
                "cell": s.cells[frames], "pbc": s.pbc[frames], "energy": dataset.energy[frames],
                "forces": dataset.forces[atoms], "stress": dataset.stress[frames], "weight": dataset.weight[frames],
                "config_type": np.char.encode(dataset.config_type[frames], "utf-8"),
                "group_id": np.char.encode(dataset.group_id[frames], "utf-8"),
            }  # fmt: skip
            for name, value in values.items():
                stored = group.create_dataset(
                    name, data=value, chunks=True, compression="gzip", compression_opts=9, shuffle=True, fletcher32=True
                )
                stored.attrs["units"] = UNITS[name]


def shipped_data() -> dict[str, Path]:
    """Data sets that come with the package, by name."""
    here = Path(__file__).parent
    folders = (here / "models" / "data", here.parent / "models" / "data")
    return {path.stem.removeprefix("ru_"): path for folder in folders for path in sorted(folder.glob("*.h5"))}


def read_dataset(path: str | Path) -> Dataset:
    """Reads a native HDF5 file, or a shipped set by name (`distilled`).

    Raises:
        DataError: the file is missing, damaged, of another kind, or holds other elements or units.
    """
    path = Path(shipped_data().get(str(path), path))
    if not path.is_file():
        raise DataError(f"there is no data file {path}; give an HDF5 file or one of {', '.join(shipped_data())}")
    try:
        with h5py.File(path) as file:
            return _read_open_file(file, path)
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as problem:  # whatever h5py meets in a damaged file
        raise DataError(
            f"{path} is not a whole HDF5 file ({str(problem).splitlines()[0]}); copy it again, or make it with "
            "'ru-calc convert'"
        ) from problem


def _read_open_file(file: h5py.File, path: Path) -> Dataset:
    schema, version = file.attrs.get("schema"), file.attrs.get("version")
    if schema != SCHEMA or version != VERSION:
        raise DataError(
            f"{path} has schema {schema!r} version {version}; this version reads "
            f"{SCHEMA!r} version {VERSION}: make it with 'ru-calc convert'"
        )
    total = int(file.attrs["frames"])
    if not total:
        raise DataError(f"{path} holds 0 frames; a data set needs at least one")
    parts = [_read_group(group, path) for group in file.values()]
    order = np.concatenate([part.pop("order") for part in parts])
    if not np.array_equal(np.sort(order), np.arange(total)):
        raise DataError(f"{path} says that it holds {total} frames, and has {len(order)}; make it again")
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    structures = Structures(joined["positions"], joined["cell"], joined["pbc"], joined["counts"])
    text = {name: np.char.decode(joined[name], "utf-8") for name in ("config_type", "group_id")}
    dataset = Dataset(
        structures, joined["energy"], joined["forces"], joined["stress"], text["config_type"], text["group_id"],
        joined["weight"], str(file.attrs["level_of_theory"]), str(file.attrs["energy_reference"]),
    )  # fmt: skip
    if not np.isfinite(structures.positions).all() or not np.isfinite(structures.cells).all():
        raise DataError(f"{path} holds positions or cells that are not finite; remove those frames")
    return dataset.select(np.argsort(order))


def _read_group(group: h5py.Group, path: Path) -> dict[str, np.ndarray]:
    values = {}
    for name, unit in UNITS.items():
        if name not in group:
            if name in OPTIONAL:
                continue
            raise DataError(f"{path}: {group.name} lacks {name!r}; make it with 'ru-calc convert'")
        found = group[name].attrs.get("units")
        if found != unit:
            raise DataError(f"{path}: {group.name}/{name} has units {found!r}; they must be {unit!r}")
        values[name] = group[name][:]
    f, n = values["numbers"].shape
    if (values["numbers"] != RUTHENIUM).any():
        raise DataError(f"{path}: {group.name} holds elements other than ruthenium (44); remove those frames")
    defaults = {
        "energy": np.full(f, np.nan), "forces": np.full((f, n, 3), np.nan), "stress": np.full((f, 6), np.nan),
        "weight": np.ones(f), "config_type": np.full(f, b"unnamed"),
        "group_id": np.array([b"frame_%06d" % k for k in values["order"]]),
    }  # fmt: skip
    values = defaults | values
    for name in ("positions", "forces"):
        values[name] = np.asarray(values[name], dtype=float).reshape(-1, 3)
    values["pbc"] = values["pbc"].astype(bool)
    values["counts"] = np.full(f, n, dtype=np.int64)
    values.pop("numbers")
    return values


def split_by_group(
    dataset: Dataset, fractions: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0
) -> dict[str, np.ndarray]:
    """Indices of training, validation and test frames; frames of one group stay together.

    Groups are shuffled within each `config_type` and dealt out so that every type is spread in proportion; a type too
    small for that goes to training first.

    Raises:
        DataError: fractions that are negative or do not add up to 1.
    """
    names = ("train", "validation", "test")
    share = np.asarray(fractions, dtype=float)
    if share.shape != (3,) or (share < 0).any() or abs(share.sum() - 1) > 1e-9 or share[0] == 0:
        raise DataError(f"the split is {tuple(fractions)}; it must be three fractions that add up to 1, the first > 0")
    rng = np.random.default_rng(seed)
    groups, first, inverse = np.unique(dataset.group_id, return_index=True, return_inverse=True)
    sizes = np.bincount(inverse)
    kind = dataset.config_type[first]
    owner = np.zeros(len(groups), dtype=np.int64)
    for name in np.unique(kind):
        dealt = np.zeros(3)
        for group in rng.permutation(np.flatnonzero(kind == name)):
            owner[group] = np.argmax(share * (dealt.sum() + sizes[group]) - dealt)
            dealt[owner[group]] += sizes[group]
    return {name: np.flatnonzero(owner[inverse] == k) for k, name in enumerate(names)}
