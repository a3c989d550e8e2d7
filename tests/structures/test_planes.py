"""Cells along a plane, slabs, slips and stackings, against geometry that is known by hand."""

import numpy as np
import pytest

from ru_calc.errors import SettingsError
from ru_calc.structures import Structures
from ru_calc.structures.lattices import crystal, hcp_crystal, phase_crystal
from ru_calc.structures.neighbors import find_pairs
from ru_calc.structures.planes import close_packed, layers_of, oriented, plane_of, plane_slab, slipped

A, C = 2.7, 4.3
# Distances of neighbouring layers in the textbook, in units of the cube's edge (cubic), or a and c (hcp).
SPACINGS = {
    ("fcc", (1, 1, 1)): [3.8 / 3**0.5],
    ("fcc", (1, 0, 0)): [3.8 / 2],
    ("fcc", (1, 1, 0)): [3.8 / 8**0.5],
    ("bcc", (1, 1, 0)): [3.0 / 2**0.5],
    ("bcc", (1, 0, 0)): [3.0 / 2],
    ("bcc", (1, 1, 1)): [3.0 / 12**0.5],
    ("hcp", (0, 0, 1)): [C / 2],
    ("hcp", (1, 0, 0)): [A / 12**0.5, A / 3**0.5],
    ("hcp", (1, 1, 0)): [A / 2],
}
EDGES = {"fcc": 3.8, "bcc": 3.0}


def the_crystal(name):
    if name == "hcp":
        return hcp_crystal(A, C)
    cell = phase_crystal(name, 1.0).cell.array
    per_cube = {"fcc": 4, "bcc": 2}[name]
    return crystal(name, cell * EDGES[name] / per_cube ** (1 / 3))


def distances(atoms, within_A=5.0):
    structures = Structures.from_atoms(atoms)
    pairs = find_pairs(structures, within_A)
    return np.sort(np.linalg.norm(pairs.vectors(structures), axis=1))


@pytest.mark.parametrize(("phase", "indices"), SPACINGS)
def test_layers_of_a_slab_are_as_far_apart_as_textbooks_say(phase, indices):
    slab = plane_slab(the_crystal(phase), plane_of(phase, indices), 6, vacuum_A=12.0)
    heights = [slab.positions[layer, 2].mean() for layer in layers_of(slab)]
    assert len(heights) == 6
    steps = np.diff(heights)
    np.testing.assert_allclose(sorted(set(np.round(steps, 6))), SPACINGS[phase, indices], atol=1e-5)
    np.testing.assert_allclose(slab.cell[2], [0, 0, heights[-1] - heights[0] + 12.0], atol=1e-9)


@pytest.mark.parametrize("plane", [(0, 0, 1), (1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 2), (2, -1, 3)])
def test_an_oriented_cell_is_the_same_crystal(plane):
    before = hcp_crystal(A, C)
    after = oriented(before, plane)
    assert len(after) == 2 and after.get_volume() == pytest.approx(before.get_volume())
    np.testing.assert_allclose(distances(after), distances(before), atol=1e-9)
    np.testing.assert_allclose(after.cell.array[:2, 2], 0, atol=1e-12)
    # The height of the cell is the spacing of the planes, 1/|h b1 + k b2 + l b3|.
    assert after.cell[2, 2] == pytest.approx(1 / np.linalg.norm(plane @ before.cell.reciprocal().array))


def test_a_slip_by_a_lattice_vector_is_no_fault_and_by_less_is_one():
    cell = oriented(hcp_crystal(A, C), (1, 0, 0)) * (1, 1, 3)
    np.testing.assert_allclose(distances(slipped(cell, cell.cell.array[0])), distances(cell), atol=1e-9)
    assert len(distances(slipped(cell, cell.cell.array[0] / 2), 2.9)) != len(distances(cell, 2.9))
    wide = slipped(cell, np.array([0, 0, 3.0]))
    assert wide.cell[2, 2] == pytest.approx(cell.cell[2, 2] + 3.0)


def test_stackings_of_close_packed_layers_are_the_crystals_of_their_name():
    ideal = np.sqrt(2 / 3) * A
    for sequence, phase in (("AB", "hcp"), ("ABC", "fcc"), ("ABAC", "dhcp")):
        volume = A**3 / np.sqrt(2)
        c_over_a = {"hcp": np.sqrt(8 / 3), "dhcp": 2 * np.sqrt(8 / 3)}.get(phase)
        stacked, known = close_packed(sequence, A, ideal), phase_crystal(phase, volume, c_over_a)
        per_atom = len(distances(stacked)) / len(stacked), len(distances(known)) / len(known)
        assert per_atom[0] == per_atom[1]
        np.testing.assert_allclose(np.unique(distances(stacked).round(6)), np.unique(distances(known).round(6)))


def test_bad_planes_and_sequences_are_refused():
    with pytest.raises(SettingsError, match="'ABX'; it must be one or more of the letters"):
        close_packed("ABX", A, 2.2)
    with pytest.raises(SettingsError, match="one of them must differ from zero"):
        plane_of("fcc", (0, 0, 0))
    assert plane_of("fcc", (2, 2, 2)) == (1, 1, 1)
