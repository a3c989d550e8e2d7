"""The name of a geometry: the same within what a file keeps, another for any other geometry."""

import numpy as np
from conftest import hcp_cell

from ru_calc.structures.identity import geometry_hash


def test_rounding_does_not_change_the_name_and_anything_else_does():
    atoms = hcp_cell()
    name = geometry_hash(atoms)
    assert len(name) == 16
    noisy = atoms.copy()
    noisy.positions += 1e-9
    noisy.positions[0, 0] = -0.0
    assert geometry_hash(noisy) == name
    others = [atoms.copy() for _ in range(4)]
    others[0].positions[1, 2] += 2e-6
    others[1].set_cell(atoms.cell.array + 2e-6 * np.eye(3))
    others[2].pbc = (True, True, False)
    others[3].numbers[0] = 26
    assert len({name, *map(geometry_hash, others)}) == 5
