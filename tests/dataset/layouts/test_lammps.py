"""LAMMPS files: elements of types, units of the style, and no invented energy."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from ru_calc.dataset.convert import ConvertSettings, convert
from ru_calc.dataset.layouts import read_frames, read_last
from ru_calc.dataset.reading import Reading
from ru_calc.errors import DataError

RU = Reading(elements=("Ru",))
DATA = """{comment}

2 atoms
1 atom types

0 2.7 xlo xhi
0 2.4 ylo yhi
0 4.3 zlo zhi
-1.35 0 0 xy xz yz
{masses}
Atoms # atomic

1 1 0.0 1.6 1.075 0 0 0
2 1 1.35 0.8 3.225 0 0 0
"""


def dump(path: Path, columns: str = "id type element x y z fx fy fz", element: str = "Ru ", units: str = "") -> Path:
    frame = (
        f"{units}ITEM: TIMESTEP\n{{}}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 3\n0 3\n0 4\n"
        f"ITEM: ATOMS {columns}\n2 1 {element}1.5 1.5 2.0 -0.1 0 0.2\n1 1 {element}0 0 0 0.1 0 -0.2\n"
    )
    path.write_text("".join(frame.format(step) for step in (0, 100)))
    return path


def test_a_dump_has_forces_in_the_order_of_the_ids_and_no_energy(tmp_path):
    result = convert([dump(tmp_path / "a.dump")])
    found = result.dataset
    assert result.energies == {"missing": 2} and np.isnan(found.energy).all()
    np.testing.assert_allclose(found.forces[:2], [[0.1, 0, -0.2], [-0.1, 0, 0.2]])
    np.testing.assert_allclose(found.structures.cells[0], np.diag([3, 3, 4]))
    assert found.structures.pbc.all() and "energy: missing" in result.lines()


def test_types_of_a_dump_need_elements(tmp_path):
    path = dump(tmp_path / "a.lammpstrj", "id type x y z fx fy fz", "")
    with pytest.raises(DataError, match=r"a\.lammpstrj numbers the types of its atoms .* give --elements Ru"):
        convert([path])
    assert convert([path], ConvertSettings(RU)).dataset.has("forces").all()
    assert len(read_frames(f"{path}@1", RU)) == 1


def test_units_of_a_dump_are_honoured(tmp_path):
    real = dump(tmp_path / "a.dump", units="ITEM: UNITS\nreal\n")
    forces = convert([real], ConvertSettings(Reading(format="lammps-dump-text"))).dataset.forces
    np.testing.assert_allclose(forces[0], np.array([0.1, 0, -0.2]) * 0.0433641, rtol=1e-5)
    lj = dump(tmp_path / "b.dump", units="ITEM: UNITS\nlj\n")
    with pytest.raises(DataError, match="is in units 'lj'; they must be one of metal, real"):
        convert([lj], ConvertSettings(Reading(format="lammps-dump-text")))


@pytest.mark.parametrize("name", ["ru.data", "data.ru", "ru.lmp", "structure"])
def test_data_files_are_known_by_content_and_elements_by_mass_or_option(tmp_path, name):
    path = tmp_path / name
    path.write_text(DATA.format(comment="by hand", masses="\nMasses\n\n1 101.07\n"))
    atoms = read_last(path)
    assert str(atoms.symbols) == "Ru2"
    np.testing.assert_allclose(atoms.cell.array[1], [-1.35, 2.4, 0])
    path.write_text(DATA.format(comment="by hand", masses=""))
    with pytest.raises(DataError, match="give --elements Ru"):
        read_last(path)
    np.testing.assert_allclose(read_last(path, RU).positions, atoms.positions)


def test_units_that_a_data_file_states_are_honoured(tmp_path):
    header = "LAMMPS data file via write_data, version 29 Aug 2024, timestep = 0, units = electron"
    (tmp_path / "a.data").write_text(DATA.format(comment=header, masses=""))
    np.testing.assert_allclose(read_last(tmp_path / "a.data", RU).cell.lengths()[2], 4.3 * 0.529177, rtol=1e-5)


def test_a_binary_dump_has_no_energy_either(tmp_path):
    head = struct.pack("=qqi", 0, 2, 0) + struct.pack("=6i", *[0] * 6) + struct.pack("=6d", 0, 3, 0, 3, 0, 4)
    rows = [1, 1, 0, 0, 0, 0, 0, 0, 0.1, 0, 0, 2, 1, 1.5, 1.5, 2, 0, 0, 0, -0.1, 0, 0]
    (tmp_path / "a.bin").write_bytes(head + struct.pack("=ii", 11, 1) + struct.pack("=i22d", 22, *rows))
    reading = Reading(format="lammps-dump-binary", elements=("Ru",))
    found = convert([tmp_path / "a.bin"], ConvertSettings(reading)).dataset
    np.testing.assert_allclose(found.forces, [[0.1, 0, 0], [-0.1, 0, 0]])
    assert np.isnan(found.energy).all()
