"""Files that ASE reads: an extxyz header with its keys as other programs spell them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.db import connect

from ru_calc.dataset.convert import ConvertSettings, convert
from ru_calc.dataset.layouts import read_frames
from ru_calc.dataset.layouts.ase_files import spelled_as_ase
from ru_calc.dataset.reading import Reading
from ru_calc.errors import DataError

# As GPUMD writes for NEP: keys in lower case, virials in eV, positive under compression.
NEP = """2
pbc="T T T" lattice="2.7 0 0 -1.35 2.4 0 0 0 20.0" energy=-18.5 virial="1.5 0.1 0.2 0.1 -2.5 0.3 0.2 0.3 3.5" {columns}
Ru 0.0 0.0 10.0 0.1 -0.2 0.3
Ru 0.0 1.6 12.1 -0.1 0.2 -0.3
"""
COLUMNS = {"lower": "properties=species:S:1:pos:R:3:forces:R:3", "upper": "PROPERTIES=SPECIES:S:1:POS:R:3:forces:R:3"}


@pytest.mark.parametrize("case", COLUMNS)
def test_a_header_in_lower_or_upper_case_gives_the_same_atoms_and_labels(tmp_path: Path, case: str) -> None:
    path = tmp_path / "train.xyz"
    path.write_text(NEP.format(columns=COLUMNS[case]))
    (atoms,) = read_frames(path)
    assert atoms.cell.array.tolist() == [[2.7, 0, 0], [-1.35, 2.4, 0], [0, 0, 20.0]]
    assert atoms.positions.tolist() == [[0, 0, 10.0], [0, 1.6, 12.1]]
    dataset = convert([path]).dataset
    assert dataset.energy.tolist() == [-18.5]
    assert dataset.forces.tolist() == [[0.1, -0.2, 0.3], [-0.1, 0.2, -0.3]]
    volume_A3 = 2.7 * 2.4 * 20.0
    expected = -np.array([1.5, -2.5, 3.5, 0.3, 0.2, 0.1]) / volume_A3
    np.testing.assert_allclose(dataset.stress, [expected], rtol=1e-12)


def test_boundaries_in_upper_case_are_read() -> None:
    line = 'PBC="T T F" LATTICE="2.7 0 0 0 2.7 0 0 0 1e1"'
    assert spelled_as_ase(line) == 'pbc="T T F" Lattice="2.7 0 0 0 2.7 0 0 0 1e1"'


@pytest.mark.parametrize(
    "line",
    [
        'Lattice="2.7 0 0 0 2.7 0 0 0 2.7" lattice=hcp Properties=species:S:1:pos:R:3',
        'lattice="fcc" energy=1.0',
        "lattice=2.7420402608 energy=1.0",
        'comment="the lattice=2.7 of pbc" superlattice="1 0 0 0 1 0 0 0 1"',
    ],
)
def test_other_uses_of_the_same_words_are_left_as_they_are(line: str) -> None:
    assert spelled_as_ase(line) == line


# As GPAW writes up to version 24, by hand.
OLD_GPAW = """
  ___ ___ ___ _ _ _
 |   |   |_  | | | |
 | | | | | . | | | |
 |__ |  _|___|_____|  24.1.0
 |___|_|

Positions:
   0 Ru     0.000000    0.000000    0.000000    ( 0.0000,  0.0000,  0.0000)
   1 Ru     0.000000    1.600000    2.100000    ( 0.0000,  0.0000,  0.0000)

Unit cell:
           periodic     x           y           z      points  spacing
  1. axis:    yes    2.700000    0.000000    0.000000    16     0.1688
  2. axis:    yes   -1.350000    2.400000    0.000000    16     0.1500
  3. axis:    yes    0.000000    0.000000    4.300000    28     0.1536

Energy contributions relative to reference atoms: (reference = -240000.0)

Kinetic:        -10.0
Free energy:    -18.70
Extrapolated:   -18.50

Fermi level: 8.1

Forces in eV/Ang:
  0 Ru    0.10000   -0.20000    0.30000
  1 Ru   -0.10000    0.20000   -0.30000

Stress tensor:
     0.010000     0.001000     0.002000
     0.001000     0.020000     0.003000
     0.002000     0.003000    -0.030000

"""


def test_labels_in_the_data_of_a_database_are_read_or_named(tmp_path: Path) -> None:
    forces, odd = np.array([[0.1, 0, 0.2], [-0.1, 0, -0.2]]), np.array([[1.0, 2, 3], [4, 5, 6]])
    stress = np.diag([0.01, 0.02, 0.03])
    with connect(tmp_path / "a.db") as database:
        crystal = bulk("Ru", "hcp", a=2.7, c=4.3)
        data = {"dft_forces": forces, "dft_stress": stress, "F_own": odd}
        database.write(crystal, key_value_pairs={"dft_energy": -18.5}, data=data)
    found = convert([tmp_path / "a.db"])
    assert found.dataset.energy.tolist() == [-18.5] and found.dataset.forces.tolist() == forces.tolist()
    np.testing.assert_allclose(found.dataset.stress, [[0.01, 0.02, 0.03, 0, 0, 0]])
    assert any("F_own" in line for line in found.account.lines())


def test_text_of_gpaw_gives_energy_forces_and_stress(tmp_path: Path) -> None:
    path = tmp_path / "run.out"
    path.write_text(OLD_GPAW)
    dataset = convert([path], ConvertSettings(Reading(format="gpaw-out"))).dataset
    assert dataset.energy.tolist() == [-18.5]
    assert dataset.forces.tolist() == [[0.1, -0.2, 0.3], [-0.1, 0.2, -0.3]]
    np.testing.assert_allclose(dataset.stress, [[0.01, 0.02, -0.03, 0.003, 0.002, 0.001]])


def test_text_that_ase_does_not_read_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "gpaw.txt").write_text("  __  _  _\n | _ |_)|_||  |\n |__||  | ||/\\| - 26.7.0\n\nUser: x\n")
    with pytest.raises(DataError, match=r"gpaw.txt is the text output of a GPAW whose .* give the trajectory"):
        convert([tmp_path / "gpaw.txt"])
    (tmp_path / "notes.txt").write_text("hello\n")
    with pytest.raises(DataError, match=r"notes.txt cannot be read .*the format is not known.*--format names one"):
        convert([tmp_path / "notes.txt"])
