"""H5MD 1.1 trajectories (de Buyl, Colberg, Höfling, Comput. Phys. Commun. 185, 1546 (2014)).

A killed process can leave an HDF5 file unreadable.  Frames therefore go into a plain journal of fixed-size records
beside it (`NAME.h5.part`), from which the HDF5 file is made when the run ends or is interrupted.  In that file values
and structure carry checksums.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from ase import Atoms, units

import ru_calc
from ru_calc.dataset.checked_hdf5 import INTEGERS, NUMBERS, CheckedFile, open_hdf5
from ru_calc.dataset.storage import whole_hdf5
from ru_calc.errors import DataError, OutputError
from ru_calc.md.growing import GrowingFile

# MDAnalysis refuses a file whose force has a unit that it does not know, such as eV Å⁻¹.
FORCE_UNIT, FORCE_PER_EV_A = "kJ mol-1 Angstrom-1", units.mol / units.kJ
EARLIER_FORCE_UNIT = "eV Angstrom-1"
# Where the fields of a record stand in the HDF5 file, and their units.
PLACES = {
    "step": ("particles/all/position/step", ""),
    "time": ("particles/all/position/time", "fs"),
    "position": ("particles/all/position/value", "Angstrom"),
    "velocity": ("particles/all/velocity/value", "Angstrom fs-1"),
    "force": ("particles/all/force/value", FORCE_UNIT),
    "edges": ("particles/all/box/edges/value", "Angstrom"),
    "energy": ("observables/potential_energy/value", "eV"),
}
FRAMES_AT_ONCE = 64
# Fletcher-32 alone takes the bytes 00 00 and FF FF for the same; compressed values have a second sum.
CHECKED = {"fletcher32": True, "compression": "gzip", "compression_opts": 1, "shuffle": True}


class H5MDWriter:
    """Writes frames of the same atoms.

    `resume_at` is the number of frames to keep of an earlier file; None starts a new one.

    Raises:
        OutputError: the earlier file holds fewer frames.
    """

    def __init__(self, path: Path, atoms: Atoms, resume_at: int | None = None) -> None:
        self.path, self.atoms = path, atoms
        self.journal = path.with_name(path.name + ".part")
        vectors = [(name, "<f8", (len(atoms), 3)) for name in ("position", "velocity", "force")]
        self.record = np.dtype(
            [("step", "<i8"), ("time", "<f8"), ("energy", "<f8"), ("edges", "<f8", (3, 3)), *vectors]
        )
        if resume_at is not None and not self.journal.is_file():
            self._recover(resume_at)
        mark = None if resume_at is None else resume_at * self.record.itemsize
        self._journal = GrowingFile(self.journal, mark, binary=True)

    def append(self, frame: Atoms) -> None:
        """Adds a frame that carries energy, forces and `info` with `step` and `time_fs`."""
        row = np.zeros((), dtype=self.record)
        row["step"], row["time"] = frame.info["step"], frame.info["time_fs"]
        row["energy"], row["edges"] = frame.calc.results["energy"], frame.cell.array
        row["position"], row["force"] = frame.positions, frame.calc.results["forces"]
        row["force"] *= FORCE_PER_EV_A
        row["velocity"] = frame.get_velocities() * units.fs
        self._journal.file.write(row.tobytes())
        self._journal.file.flush()

    def mark(self) -> int:
        """Number of frames so far."""
        return self._journal.mark() // self.record.itemsize

    def close(self) -> None:
        """Makes the HDF5 file and removes the journal."""
        count = self.mark()
        self._journal.close()
        with whole_hdf5(self.path, libver=("v110", "v110")) as file:
            self._write_header(file)
            datasets = self._make_datasets(file, count)
            with open(self.journal, "rb") as journal:
                for start in range(0, count, FRAMES_AT_ONCE):
                    rows = np.frombuffer(journal.read(FRAMES_AT_ONCE * self.record.itemsize), dtype=self.record)
                    for name, dataset in datasets.items():
                        dataset[start : start + len(rows)] = rows[name]
        self.journal.unlink()

    def _write_header(self, file: h5py.File) -> None:
        root = file.create_group("h5md")
        root.attrs["version"] = np.array([1, 1], dtype="<i4")
        root.create_group("author").attrs["name"] = "not stated"
        root.create_group("creator").attrs.update({"name": "ru-calc", "version": ru_calc.__version__})
        root.create_group("modules/units").attrs["version"] = np.array([1, 0], dtype="<i4")
        particles = file.create_group("particles/all")
        particles.create_dataset("species", data=self.atoms.numbers.astype("<i4"))
        particles.create_dataset("mass", data=self.atoms.get_masses()).attrs["unit"] = "u"
        box = particles.create_group("box")
        box.attrs["dimension"] = 3
        box.attrs["boundary"] = np.array(["periodic" if p else "none" for p in self.atoms.pbc], dtype="S8")

    def _make_datasets(self, file: h5py.File, count: int) -> dict[str, h5py.Dataset]:
        made = {}
        for field, (path, unit) in PLACES.items():
            kind = self.record[field]
            chunks = (1 if kind.shape else FRAMES_AT_ONCE, *kind.shape)
            made[field] = file.create_dataset(
                path, (count, *kind.shape), kind.base, chunks=chunks, maxshape=(None, *kind.shape), **CHECKED
            )
            if unit:
                made[field].attrs["unit"] = unit
        for path, _ in PLACES.values():
            for shared in ("step", "time"):
                if shared not in file[path].parent:
                    file[path].parent[shared] = made[shared]
        return made

    def _recover(self, count: int) -> None:
        """Makes the journal of a finished HDF5 file."""
        try:
            with open(self.journal, "wb") as journal:
                for rows in self._earlier_rows(count):
                    journal.write(rows.tobytes())
        except (DataError, OSError) as problem:
            self.journal.unlink(missing_ok=True)
            why = f"no longer holds its {count} frames: {problem}"
            raise OutputError(f"{self.path} {why}; start a new run") from problem

    def _earlier_rows(self, count: int) -> Iterator[np.ndarray]:
        with open_hdf5(self.path) as file:
            arrays = {name: self._earlier(file, name, count) for name in PLACES}
            factor = FORCE_PER_EV_A if _unit(file, "force") == EARLIER_FORCE_UNIT else 1.0
            for start in range(0, count, FRAMES_AT_ONCE):
                rows = np.zeros(min(FRAMES_AT_ONCE, count - start), dtype=self.record)
                for name, array in arrays.items():
                    rows[name] = array[start : start + len(rows)]
                rows["force"] *= factor
                yield rows

    def _earlier(self, file: CheckedFile, name: str, count: int) -> h5py.Dataset:
        path, unit = PLACES[name]
        if _unit(file, name) not in (unit, EARLIER_FORCE_UNIT if name == "force" else unit):
            file.refuse(path, f"has the unit {_unit(file, name)!r}; it must be {unit!r}")
        kind = self.record[name]
        array = file.dataset(path, (None, *kind.shape), INTEGERS if kind.base.kind == "i" else NUMBERS)
        if len(array) < count:
            file.refuse(path, f"has {len(array)} frames")
        return array


def _unit(file: CheckedFile, name: str) -> str:
    return file.attribute(PLACES[name][0], "unit") or ""
