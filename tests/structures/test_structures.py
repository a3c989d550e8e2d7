"""Gaps in a cell; what `Structures` refuses is tested through the calculator and the command line."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, hcp0001
from conftest import hcp_cell

from ru_calc.structures import widest_gaps_A


def test_a_crystal_has_no_gap_wider_than_its_layers_are_apart():
    np.testing.assert_allclose(widest_gaps_A(hcp_cell(2.7, 4.3) * (3, 3, 3))[2], 4.3 / 2)
    np.testing.assert_allclose(widest_gaps_A(bulk("Ru", "fcc", a=3.8, cubic=True)), 3.8 / 2)


@pytest.mark.parametrize("shift", [0.0, 5.0, 9.0, 100.0])
def test_the_vacuum_of_a_slab_is_found_wherever_it_lies(shift):
    slab = hcp0001("Ru", (2, 2, 4), a=2.7, c=4.3, vacuum=8.0)
    slab.pbc = True
    slab.positions[:, 2] += shift
    gaps = widest_gaps_A(slab)
    assert gaps[2] == pytest.approx(16.0) and gaps[:2].max() < 2.7
    slab.wrap()
    np.testing.assert_allclose(widest_gaps_A(slab), gaps)


def test_a_gap_is_measured_along_the_normal_of_a_skewed_cell():
    skewed = Atoms("Ru", cell=[[4, 0, 0], [0, 5, 0], [20, 30, 6]], pbc=True)
    heights = skewed.cell.volume / np.linalg.norm(np.cross(skewed.cell[[1, 2, 0]], skewed.cell[[2, 0, 1]]), axis=1)
    assert heights[2] == pytest.approx(6.0)
    np.testing.assert_allclose(widest_gaps_A(skewed), heights)
