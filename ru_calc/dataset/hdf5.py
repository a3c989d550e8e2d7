"""The native HDF5 file of labelled frames; see `hdf5_layout`."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ru_calc.dataset.checked_hdf5 import CheckedFile, open_hdf5
from ru_calc.dataset.frames import Dataset
from ru_calc.dataset.hdf5_layout import ARRAYS, SCHEMA, STRESS_CONVENTION, VERSION, check_values, read_group
from ru_calc.dataset.storage import whole_hdf5
from ru_calc.errors import DataError
from ru_calc.files import shipped
from ru_calc.structures import Structures
from ru_calc.units import RUTHENIUM

REMEDY = "make it again with 'ru-calc convert'"
# Root attributes, and what they must be.
ABOUT = {
    "frames": (int, "an integer"), "level_of_theory": (str, "text"), "energy_reference": (str, "text"),
    "stress_convention": (str, "text"),
}  # fmt: skip


def write_dataset(dataset: Dataset, path: str | Path) -> None:
    """Writes the native HDF5 file.

    Raises:
        DataError: it holds values that `read_dataset` would refuse.
        OutputError: it cannot be written.
    """
    groups = {f"size_{size:05d}": _group_of(dataset, size) for size in np.unique(dataset.structures.counts)}
    for name, values in groups.items():
        check_values(values, f"/{name}")
    with whole_hdf5(path, libver=("v110", "v110")) as file:
        file.attrs.update(
            schema=SCHEMA, version=VERSION, level_of_theory=dataset.level_of_theory,
            energy_reference=dataset.energy_reference, stress_convention=STRESS_CONVENTION, frames=len(dataset),
            text_crc32=_sum_of([dataset.level_of_theory, dataset.energy_reference]),
        )  # fmt: skip
        for group, values in groups.items():
            for name, value in values.items():
                data = np.char.encode(value, "utf-8") if value.dtype.kind == "U" else value
                stored = file.create_dataset(
                    f"{group}/{name}", data=data, chunks=True, compression="gzip", compression_opts=9, shuffle=True,
                    fletcher32=True,
                )  # fmt: skip
                stored.attrs["units"] = ARRAYS[name].units


def _group_of(dataset: Dataset, size: int) -> dict[str, np.ndarray]:
    s = dataset.structures
    frames = np.flatnonzero(s.counts == size)
    atoms = s.offsets[frames][:, None] + np.arange(size)
    per_frame = {name: getattr(dataset, name)[frames] for name in ("energy", "stress", "config_type", "group_id")}
    return {
        "order": frames, "numbers": np.full(atoms.shape, RUTHENIUM, np.uint8), "positions": s.positions[atoms],
        "cell": s.cells[frames], "pbc": s.pbc[frames], "forces": dataset.forces[atoms],
        "weight": dataset.weight[frames], **per_frame,
    }  # fmt: skip


def shipped_data() -> dict[str, Path]:
    """Data sets shipped with the package, by name."""
    return {path.stem.removeprefix("ru_"): path for path in shipped("data/*.h5")}


def read_dataset(path: str | Path) -> Dataset:
    """Reads a native HDF5 file, or a shipped set by name (`distilled`).

    Raises:
        DataError: the file is missing, damaged or of another kind; an array, named with its group, whose shape, type,
            units or values the layout does not allow.
    """
    path = Path(shipped_data().get(str(path), path))
    if not path.is_file():
        raise DataError(f"there is no data file {path}; give an HDF5 file or one of {', '.join(shipped_data())}")
    if not h5py.is_hdf5(path):
        raise DataError(
            f"{path} is not a complete HDF5 file; make one from files that ASE reads: ru-calc convert {path} "
            f"{path.stem}.h5"
        )
    with open_hdf5(path, REMEDY) as file:
        return _read_open_file(file)


def _read_open_file(file: CheckedFile) -> Dataset:
    path, about = file.path, _checked_attributes(file)
    if not about["frames"]:
        raise DataError(f"{path} holds 0 frames; a data set needs at least one")
    parts = [_columns(read_group(file, group)) for group in file.names()]
    _check_members(file)
    order = np.concatenate([part.pop("order") for part in parts] or [np.zeros(0)])
    if len(order) != about["frames"] or not np.array_equal(np.sort(order), np.arange(len(order))):
        raise DataError(
            f"{path} should hold {about['frames']} frames but has {len(order)}, or their 'order' is not 0, 1, 2, …; "
            f"{REMEDY}"
        )
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    structures = Structures(*(joined.pop(name) for name in ("positions", "cell", "pbc", "counts")))
    level, reference = about["level_of_theory"], about["energy_reference"]
    dataset = Dataset(structures, **joined, level_of_theory=level, energy_reference=reference)
    return dataset.select(np.argsort(order))


def _check_members(file: CheckedFile) -> None:
    members = {group: set(file.names(group)) for group in file.names()}
    for group, own in members.items():
        absent = sorted(set().union(*members.values()) - own)
        if absent:
            file.refuse(f"/{group}", f"lacks {absent[0]!r}, which other groups have; leave it out everywhere")


def _columns(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    f, n = values.pop("numbers").shape
    rows = {name: values[name].reshape(-1, 3) for name in ("positions", "forces")}
    return values | rows | {"counts": np.full(f, n)}


def _checked_attributes(file: CheckedFile) -> dict[str, Any]:
    schema, version = (file.attribute("/", name) for name in ("schema", "version"))
    if not isinstance(schema, str) or schema != SCHEMA:
        raise DataError(
            f"{file.path} is an HDF5 file from another program, not a ru-calc data file; make one from files that ASE "
            "reads with 'ru-calc convert'"
        )
    if not isinstance(version, int) or version != VERSION:
        raise DataError(f"{file.path} has version {version}, but {VERSION} is needed; {REMEDY}")
    about = {name: file.attribute("/", name) for name in ABOUT}
    for name, (kind, words) in ABOUT.items():
        if not isinstance(about[name], kind):
            file.refuse("/", f"has the attribute {name} {about[name]!r}; it must be {words}")
    if about["stress_convention"] != STRESS_CONVENTION:
        file.refuse("/", f"has the stress convention {about['stress_convention']!r}; it must be {STRESS_CONVENTION!r}")
    # HDF5 has no checksum for text of variable length; files of version 0.3.0 and earlier lack it.
    written = file.attribute("/", "text_crc32")
    if written not in (None, _sum_of([about["level_of_theory"], about["energy_reference"]])):
        file.refuse("/", "has a level of theory or an energy reference that is not the one that was written")
    return about


def _sum_of(texts: list[str]) -> int:
    return zlib.crc32("\n".join(texts).encode())
