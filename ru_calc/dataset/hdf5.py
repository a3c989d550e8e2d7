"""The native HDF5 file of labelled frames.

Schema `ru-calc/frames`, version 1: one group per number of atoms, such as `size_00012`, with datasets whose first axis
is the frame and whose names are ASE's:

    order (f,)  numbers (f, n)  positions (f, n, 3) Å  cell (f, 3, 3) Å  pbc (f, 3)
    energy (f,) eV  forces (f, n, 3) eV/Å  stress (f, 6) eV/Å³ (xx yy zz yz xz xy)
    config_type (f,)  group_id (f,)  weight (f,)

`order` is the position of the frame in the data set.  A missing label is NaN.  Every dataset has an attribute `units`
and is chunked, compressed and checksummed (Fletcher-32).  The root attributes give schema, version, level of theory,
energy reference and stress convention.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from ru_calc.dataset.frames import Dataset
from ru_calc.errors import DataError
from ru_calc.files import shipped, whole_file
from ru_calc.structures import Structures
from ru_calc.units import RUTHENIUM

SCHEMA, VERSION = "ru-calc/frames", 1
STRESS_CONVENTION = "sigma = (1/V) dE/d(strain), tension positive, Voigt xx yy zz yz xz xy"
UNITS = {
    "order": "1", "numbers": "1", "positions": "Angstrom", "cell": "Angstrom", "pbc": "1", "energy": "eV",
    "forces": "eV/Angstrom", "stress": "eV/Angstrom^3", "config_type": "", "group_id": "", "weight": "1",
}  # fmt: skip
OPTIONAL = ("energy", "forces", "stress", "config_type", "group_id", "weight")


def write_dataset(dataset: Dataset, path: str | Path) -> None:
    """Writes the native HDF5 file.

    Raises:
        OutputError: it cannot be written.
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
    """Data sets shipped with the package, by name."""
    return {path.stem.removeprefix("ru_"): path for path in shipped("data/*.h5")}


def read_dataset(path: str | Path) -> Dataset:
    """Reads a native HDF5 file, or a shipped set by name (`distilled`).

    Raises:
        DataError: the file is missing, damaged or of another kind, or has other elements or units.
    """
    path = Path(shipped_data().get(str(path), path))
    if not path.is_file():
        raise DataError(f"there is no data file {path}; give an HDF5 file or one of {', '.join(shipped_data())}")
    if not h5py.is_hdf5(path):
        raise DataError(
            f"{path} is not a complete HDF5 file; make one from files that ASE reads: ru-calc convert {path} "
            f"{path.stem}.h5"
        )
    try:
        with h5py.File(path) as file:
            return _read_open_file(file, path)
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as problem:  # whatever h5py meets in a damaged file
        raise DataError(
            f"{path} is not a complete HDF5 file ({str(problem).splitlines()[0]}); copy it again, or make it with "
            "'ru-calc convert'"
        ) from problem


def _read_open_file(file: h5py.File, path: Path) -> Dataset:
    schema, version = file.attrs.get("schema"), file.attrs.get("version")
    if schema != SCHEMA:
        raise DataError(
            f"{path} is an HDF5 file from another program, not a ru-calc data file; make one from files that ASE reads "
            "with 'ru-calc convert'"
        )
    if version != VERSION:
        raise DataError(f"{path} has version {version}, but {VERSION} is needed; make it again with 'ru-calc convert'")
    total = int(file.attrs["frames"])
    if not total:
        raise DataError(f"{path} holds 0 frames; a data set needs at least one")
    parts = [_read_group(group, path) for group in file.values()]
    order = np.concatenate([part.pop("order") for part in parts])
    if not np.array_equal(np.sort(order), np.arange(total)):
        raise DataError(f"{path} should hold {total} frames but has {len(order)}; make it again")
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    structures = Structures(joined["positions"], joined["cell"], joined["pbc"], joined["counts"])
    text = {name: np.char.decode(joined[name], "utf-8") for name in ("config_type", "group_id")}
    dataset = Dataset(
        structures, joined["energy"], joined["forces"], joined["stress"], text["config_type"], text["group_id"],
        joined["weight"], str(file.attrs["level_of_theory"]), str(file.attrs["energy_reference"]),
    )  # fmt: skip
    if not np.isfinite(structures.positions).all() or not np.isfinite(structures.cells).all():
        raise DataError(f"{path} has positions or cells that are not finite; remove those frames")
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
        raise DataError(f"{path}: {group.name} has elements other than ruthenium (44); remove those frames")
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
