"""The file of tables: what is in it, and what is refused by Python and by LAMMPS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from changed_tables import changed, sealed

from ru_calc.checks.structures import crystal
from ru_calc.engine.engine import table_intervals
from ru_calc.errors import DataError, ModelError
from ru_calc.lammps.launch import LammpsError
from ru_calc.lammps.single_point import evaluate
from ru_calc.lammps.tables_file import FORMAT, read_tables, split_tables, write_tables
from ru_calc.modelfiles.read import read_model_file
from ru_calc.tables.packing import Packing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tables(tmp_path / "ru.tables", "fast", "float64")
    return tmp_path / "ru.tables"


def test_it_holds_the_arrays_of_the_engine_bit_for_bit(path: Path) -> None:
    file = read_model_file("fast")
    told, arrays = split_tables(path)
    assert (told.model, told.sha256, told.dtype) == ("fast", file.sha256, "float64")
    packing = Packing(file.header["hyperparameters"], file.weights)
    for name, array in packing.arrays(table_intervals(packing, "float64")).items():
        assert np.array_equal(arrays[name], np.ravel(array)), name
    assert read_tables(path) == told


def test_a_model_of_another_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gnn is of the family gnn.* the family schnet only; choose default"):
        write_tables(tmp_path / "x", "gnn")


def flipped(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


def cut_off(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-8])
    return path


def another_format(path: Path) -> Path:
    return sealed(path, b"ru-calc tables 2", b"end\n")


def foreign(path: Path) -> Path:
    path.write_text("# DATE: 2007-06-11 UNITS: metal\nRu 1 2 3\n")
    return path


def of_half_precision(path: Path) -> Path:
    body = path.read_bytes().partition(b"\n")[2].partition(b"\n")[2]
    return sealed(path, FORMAT.encode(), body.replace(b"dtype float64", b"dtype float16", 1))


def too_short(path: Path) -> Path:
    body = path.read_bytes().partition(b"\n")[2].partition(b"\n")[2]
    return sealed(path, FORMAT.encode(), body[:-8])


def missing(path: Path) -> Path:
    return path.with_name("nonesuch")


@pytest.mark.parametrize(
    ("damage", "words"),
    [(flipped, "is damaged"), (cut_off, "is damaged"), (another_format, "no table file of this version"),
     (foreign, "no table file of this version"), (missing, "cannot be read")],
)  # fmt: skip
def test_a_file_that_is_not_whole_is_refused(damage: Callable[[Path], Path], words: str, path: Path) -> None:
    with pytest.raises(DataError, match=rf"{words}.*`ru-calc lammps tables`"):
        read_tables(damage(path))


@pytest.mark.usefixtures("lammps_plugin")
@pytest.mark.parametrize(
    ("damage", "words"),
    [(flipped, "is damaged: its checksum is"), (cut_off, "is damaged"), (foreign, "is no table file of ru-calc"),
     (another_format, "has the format 'ru-calc tables 2', and this plugin reads 'ru-calc tables 1'"),
     (of_half_precision, "dtype 'float16', which is neither"), (too_short, "ends within"), (missing, "cannot be read")],
)  # fmt: skip
def test_lammps_refuses_it_too(damage: Callable[[Path], Path], words: str, path: Path) -> None:
    with pytest.raises(LammpsError, match=rf"{words}.*'ru-calc lammps tables' writes"):
        evaluate(crystal(2), damage(path), ranks=2)


@pytest.mark.usefixtures("lammps_plugin")
def test_a_changed_number_is_refused_only_where_the_checksum_was_not_made_again(path: Path, tmp_path: Path) -> None:
    """What the checksum is for, and what it is not for: a file that someone edits on purpose."""
    other = changed(path, tmp_path / "other", "filter_0", lambda table: table.put(2000, table[2000] + 1e-3))
    one, two = (evaluate(crystal(2), file).energy for file in (path, other))
    assert one != two
