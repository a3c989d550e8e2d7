"""The file of tables that `pair_style ruschnet` reads: lines of text, then the arrays as doubles, lowest byte first.

ru-calc tables 1
crc32 1a2b3c4d            of everything behind this line
model default
sha256 …                  of the model file
dtype float32             in which the passes compute; the tables are as fine as it can use
array cutoff 1            a name and a number of doubles, for each array
end
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ru_calc.devices import DTYPES, chosen
from ru_calc.engine.engine import table_intervals
from ru_calc.errors import DataError, ModelError
from ru_calc.files import whole_file
from ru_calc.modelfiles.read import ModelFile, read_model_file
from ru_calc.tables.packing import Packing
from ru_calc.tables.uncertainty import Uncertainty

FORMAT = "ru-calc tables 1"


@dataclass(frozen=True)
class TablesFile:
    """What the first lines of a file tell: the model, its SHA-256, and the precision."""

    path: Path
    model: str
    sha256: str
    dtype: str


def write_tables(path: str | Path, model: str | Path = "default", dtype: str = "float32") -> TablesFile:
    """Writes the tables of a model.

    Args:
        model: a shipped model, a model file, or the folder of a fit; of the family schnet.
        dtype: in which LAMMPS will evaluate it, `float32` or `float64`.

    Raises:
        ModelError: no such model, or one of another family.
        OutputError: the file cannot be written.
    """
    file = read_model_file(model)
    if file.header["family"] != "schnet":
        raise ModelError(
            f"{file.name} is of the family {file.header['family']}, and the plugin for LAMMPS evaluates the family "
            "schnet only; choose default, fast or plain, or what `ru-calc fit` makes of them"
        )
    made = TablesFile(
        Path(path), re.sub(r"\s+", "_", Path(file.name).stem), file.sha256, chosen("dtype", dtype, DTYPES)
    )
    arrays = _arrays(file, dtype)
    lines = [f"model {made.model}", f"sha256 {made.sha256}", f"dtype {dtype}"]
    lines += [f"array {name} {array.size}" for name, array in arrays.items()]
    body = "\n".join([*lines, "end", ""]).encode() + b"".join(array.tobytes() for array in arrays.values())
    with whole_file(path) as temporary:
        temporary.write_bytes(f"{FORMAT}\ncrc32 {zlib.crc32(body):08x}\n".encode() + body)
    return made


def read_tables(path: str | Path) -> TablesFile:
    """The first lines of a file.

    Raises:
        DataError: it cannot be read, is not such a file, or is damaged.
    """
    return split_tables(path)[0]


def split_tables(path: str | Path) -> tuple[TablesFile, dict[str, np.ndarray]]:
    """The first lines of a file, and its arrays by name.

    Raises:
        DataError: see `read_tables`.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as problem:
        raise DataError(f"{path} cannot be read ({problem.strerror}); `ru-calc lammps tables` writes it") from problem
    head, _, rest = data.partition(b"\n")
    crc, _, body = rest.partition(b"\n")
    if head.decode(errors="replace") != FORMAT:
        raise DataError(f"{path} is no table file of this version; `ru-calc lammps tables` writes one")
    if crc != f"crc32 {zlib.crc32(body):08x}".encode():
        raise DataError(f"{path} is damaged: it does not have its checksum; write it again by `ru-calc lammps tables`")
    text, _, numbers = body.partition(b"\nend\n")
    words = [line.split() for line in text.decode().splitlines()]
    facts = {key: value for key, value, *size in words if not size}
    sizes = {name: int(size) for key, name, *size_ in words if key == "array" for size in size_}
    parts = np.split(np.frombuffer(numbers, "<f8"), np.cumsum(list(sizes.values()))[:-1])
    return TablesFile(Path(path), **facts), dict(zip(sizes, parts, strict=True))


def _arrays(file: ModelFile, dtype: str) -> dict[str, np.ndarray]:
    settings = file.header["hyperparameters"]
    packing = Packing(settings, file.weights)
    arrays = {**packing.arrays(table_intervals(packing, dtype)), "atom_energy_eV": settings["atom_energy_eV"]}
    uncertainty = Uncertainty.among(file.weights)
    if uncertainty is not None:
        arrays |= {
            "uncertainty_factor": uncertainty.factor, "uncertainty_power": uncertainty.power,
            "uncertainty_directions": len(uncertainty.offset),
        }  # fmt: skip
    return {name: np.ascontiguousarray(value, "<f8").ravel() for name, value in arrays.items()}
