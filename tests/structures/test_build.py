"""Named structures."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from ru_calc.errors import SettingsError
from ru_calc.structures import Structures, check_atoms
from ru_calc.structures.build import build_structure, compact_repeat, options_of, structure_names
from ru_calc.structures.neighbors import find_pairs

# Coordination in the first shell, from any table of crystal structures; hcp's shell is split by its c/a.
SHELLS = {"hcp": (2.9, 12), "dhcp": (2.9, 12), "fcc": (2.9, 12), "bcc": (2.8, 8), "sc": (2.8, 6), "diamond": (2.8, 4)}
HEXAGONAL = {"hcp": 4, "dhcp": 8}


def neighbours(atoms, within_A):
    structures = Structures.from_atoms(atoms)
    pairs = find_pairs(structures, within_A)
    return np.bincount(np.concatenate([pairs.first, pairs.second]), minlength=len(atoms))


@pytest.mark.parametrize("name", structure_names())
def test_every_structure_is_ruthenium_that_a_potential_accepts(name):
    atoms = build_structure(name)
    check_atoms(atoms)
    assert len(atoms) >= 1
    assert neighbours(atoms, 2.0).max() == 0


@pytest.mark.parametrize(("name", "shell"), SHELLS.items())
def test_crystals_have_the_coordination_of_their_name(name, shell):
    atoms = build_structure(name)
    assert (neighbours(atoms, shell[0]) == shell[1]).all()


def test_a15_has_chains_of_fourteen_neighbours_and_centres_of_twelve():
    counts = neighbours(build_structure("a15"), 3.3)
    assert sorted(counts) == [12, 12, 14, 14, 14, 14, 14, 14]


@pytest.mark.parametrize("name", HEXAGONAL)
def test_orthorhombic_and_primitive_cells_are_the_same_crystal(name):
    rectangular, primitive = build_structure(name), build_structure(name, primitive=True)
    assert len(rectangular) == HEXAGONAL[name] == 2 * len(primitive)
    np.testing.assert_allclose(rectangular.cell.angles(), 90)
    np.testing.assert_allclose(rectangular.get_volume(), 2 * primitive.get_volume())
    for cutoff in (2.9, 4.0, 5.0):
        assert set(neighbours(rectangular, cutoff)) == set(neighbours(primitive, cutoff))


def test_hcp_equals_that_of_ase():
    ours, theirs = build_structure("hcp", a_A=2.7, c_A=4.3, primitive=True), bulk("Ru", "hcp", a=2.7, c=4.3)
    np.testing.assert_allclose(ours.cell.cellpar(), theirs.cell.cellpar(), atol=1e-12)
    assert ours.get_volume() == pytest.approx(theirs.get_volume())


def test_the_default_lattice_is_the_one_that_the_docstring_states():
    import ru_calc.structures.build as build

    lengths = build_structure("hcp").cell.lengths()
    np.testing.assert_allclose(lengths[[0, 2]], [2.726, 4.289])
    assert "a = 2.726, c = 4.289" in build.__doc__


def test_n_atoms_is_met_about_and_the_cell_is_compact():
    for name in ("hcp", "fcc", "bcc", "a15", "slab", "sphere"):
        atoms = build_structure(name, n_atoms=200)
        assert 150 <= len(atoms) <= 260, name
    edges = build_structure("hcp", n_atoms=500).cell.lengths()
    assert edges.max() / edges.min() < 1.5


def test_compact_repeat_of_a_cube_is_a_cube():
    assert compact_repeat(4 * np.eye(3), 4, 4 * 27) == (3, 3, 3)
    assert compact_repeat(np.diag([4.0, 4.0, 20.0]), 10, 90, directions=2) == (3, 3, 1)


def test_a_slab_has_the_layers_and_the_vacuum_that_were_asked_for():
    slab = build_structure("slab", layers=5, repeat=(3, 2, 1), vacuum_A=12.0)
    heights = np.unique(slab.positions[:, 2].round(6))
    assert len(slab) == 30 and len(heights) == 5
    np.testing.assert_allclose(np.diff(heights), 4.289 / 2)
    assert slab.cell[2, 2] - np.ptp(heights) == pytest.approx(12.0)
    assert slab.pbc.tolist() == [True, True, False]


def test_the_inside_of_each_slab_is_the_bulk():
    for name in ("slab", "hcp10m10", "fcc111"):
        slab = build_structure(name, layers=9)
        counts = neighbours(slab, 2.9)
        middle = np.abs(slab.positions[:, 2] - slab.cell[2, 2] / 2) < 1.5
        assert (counts[middle] == 12).all() and counts.min() < 12, name


@pytest.mark.parametrize("layers", [3, 4, 7])
def test_hcp10m10_ends_with_two_planes_that_are_near_unless_told_otherwise(layers):
    # Planes of (10-10) are a/(2√3) and a/√3 apart in turns; the near pair at the end leaves fewer bonds broken.
    near, far = (build_structure("hcp10m10", layers=layers, termination=end) for end in (None, "far"))
    for slab, gaps in ((near, (0.5, 1.0)), (far, (1.0, 0.5))):
        heights = np.unique(np.round(slab.positions[:, 2], 6))
        assert len(heights) == 2 * layers and len(slab) == len(far)
        expected = 2.726 / 3**0.5 * np.resize(gaps, 2 * layers - 1)
        np.testing.assert_allclose(np.diff(heights), expected, atol=1e-5)
    assert neighbours(near, 2.9).sum() > neighbours(far, 2.9).sum()


def test_a_sphere_is_round_whole_and_not_periodic():
    ball = build_structure("sphere", diameter_A=18.0)
    radii = np.linalg.norm(ball.positions, axis=1)
    assert radii.max() <= 9.0 + 0.2 and not ball.pbc.any()
    # The number of atoms in a ball of that volume at 13.80 Å³ per atom, give or take a layer.
    assert len(ball) == pytest.approx(4 / 3 * np.pi * 9**3 / 13.80, rel=0.1)
    np.testing.assert_allclose(ball.get_center_of_mass(), 0, atol=1e-9)


def test_vacancies_are_taken_out_at_random_and_reproducibly():
    one, same, other = (build_structure("hcp", repeat=(4, 3, 3), vacancy_fraction=0.02, seed=s) for s in (1, 1, 2))
    assert len(one) == 141
    np.testing.assert_array_equal(one.positions, same.positions)
    assert not np.array_equal(one.positions, other.positions)


def test_options_come_by_name():
    a = build_structure("fcc", a_A=3.9, repeat=(2, 1, 1))
    assert isinstance(a, Atoms) and len(a) == 8
    np.testing.assert_allclose(a.cell.lengths(), [7.8, 3.9, 3.9])
    assert "diameter_A" in options_of("sphere") and "diameter_A" not in options_of("fcc")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hcp10m10", {"termination": "rough"}, "termination is 'rough'; it must be one of near, far"),
        ("slab", {"termination": "far"}, "termination does not apply to the structure 'slab'"),
        ("hpc", {}, r"no structure 'hpc'; choose one of hcp, fcc"),
        ("hcp", {"colour": 1}, r"no option 'colour'"),
        ("hcp", {"diameter_A": 10.0}, r"diameter_A does not apply to the structure 'hcp'"),
        ("fcc", {"c_A": 4.0}, r"c_A does not apply"),
        ("hcp", {"a_A": -1.0}, r"a_A is -1.0; it must be a positive"),
        ("hcp", {"a_A": float("nan")}, r"a_A is nan"),
        ("hcp", {"repeat": (1, 0, 1)}, r"repeat is \(1, 0, 1\)"),
        ("hcp", {"repeat": (2, 2, 2), "n_atoms": 100}, r"repeat and n_atoms both"),
        ("hcp", {"n_atoms": 0}, r"n_atoms is 0"),
        ("hcp", {"vacancy_fraction": 1.5}, r"vacancy_fraction is 1.5; it must be at least 0 and below 1"),
        ("hcp", {"vacancy_fraction": 0.01}, r"removes 0 of 4 atoms"),
        ("slab", {"repeat": (2, 3, 1)}, r"must be even in the second place"),
        ("slab", {"repeat": (2, 2, 2)}, r"must be 1 in the third place"),
        ("atom", {"a_A": 2.7}, r"its options are: none"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_way_out(name, options, message):
    with pytest.raises(SettingsError, match=message):
        build_structure(name, **options)
