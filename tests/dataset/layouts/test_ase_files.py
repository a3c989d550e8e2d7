"""Files that ASE reads: an extxyz header with its keys as other programs spell them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ru_calc.dataset.convert import convert
from ru_calc.dataset.layouts import read_frames
from ru_calc.dataset.layouts.ase_files import spelled_as_ase

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
