"""Every kind makes frames that DFT can take, and parameters of a kind are what its name says."""

import numpy as np
import pytest
from conftest import hcp_cell
from sampled import EACH, every_kind

from ru_calc.sample import KINDS, MD_KINDS, SampleSettings, static_frames
from ru_calc.sample.catalogue import most_atoms
from ru_calc.sample.faults import cell_in_plane, partial_A
from ru_calc.sample.kind import HCP_VOLUME_A3
from ru_calc.sample.packings import pushed_apart
from ru_calc.structures import Structures, check_atoms, widest_gaps_A
from ru_calc.structures.lattices import PHASES
from ru_calc.structures.neighbors import closest_of, find_pairs
from ru_calc.structures.planes import layers_of, slipped

NEAREST_A = 1.9


def frames_of(name, count=None, **settings):
    return static_frames(KINDS[name], count or KINDS[name].count, SampleSettings(**settings))


def nearest_A(atoms):
    structures = Structures.from_atoms(atoms)
    pair = closest_of(structures, find_pairs(structures, 6.0))
    return np.inf if pair is None else pair.distance_A


def coordination(atoms, within_A):
    structures = Structures.from_atoms(atoms)
    pairs = find_pairs(structures, within_A)
    return np.bincount(np.concatenate([pairs.first, pairs.second]), minlength=len(atoms))


@pytest.mark.parametrize("kind_name", KINDS)
def test_every_kind_makes_frames_that_dft_can_take(kind_name):
    kind = KINDS[kind_name]
    frames = [atoms for atoms in every_kind().frames if atoms.info["config_type"] == kind_name]
    assert len(frames) == EACH
    for atoms in frames:
        check_atoms(atoms)
        assert atoms.pbc.all() and atoms.calc is None
        assert kind.fewest <= len(atoms) <= min(kind.most, 17)
        assert nearest_A(atoms) >= (kind.nearest_A or NEAREST_A)
        assert atoms.info["dmin" if len(atoms) > 1 else "uid"]
        gaps = widest_gaps_A(atoms)
        empty = {"bulk": [], "slab": [2], "cluster": [0, 1, 2]}[kind.boundary]
        assert (gaps[empty] >= 10).all() and atoms.info["kind"] == kind.boundary
        assert atoms.info["spin"] == (kind.boundary == "cluster")
        if kind.boundary == "slab":
            np.testing.assert_allclose(atoms.cell.array[2, :2], 0, atol=1e-9)
            np.testing.assert_allclose(atoms.cell.array[:2, 2], 0, atol=1e-9)


@pytest.mark.parametrize("kind_name", KINDS)
def test_sizes_that_a_case_states_are_those_of_its_frames(kind_name):
    kind = KINDS[kind_name]
    frames = frames_of(kind_name, len(kind.cases), max_atoms=100)
    assert [len(atoms) for atoms in frames] == [case.atoms for case in kind.cases]


def test_most_default_kinds_are_small():
    assert all(most_atoms(kind) <= 17 for kind in (*KINDS.values(), *MD_KINDS.values()))


@pytest.mark.parametrize("phase", PHASES)
def test_a_volume_scan_spans_six_tenths_to_one_point_eight(phase):
    frames = frames_of(f"eos_{phase}")
    ratios = [a.get_volume() / len(a) / HCP_VOLUME_A3 / PHASES[phase].volume_ratio for a in frames]
    np.testing.assert_allclose([ratios[0], ratios[-1]], [0.6, 1.8], atol=1e-6)
    assert (np.diff(ratios) > 0).all()
    np.testing.assert_allclose([a.info["v"] for a in frames], ratios, atol=1e-4)


def test_c_over_a_and_the_bain_path_are_what_info_says():
    hcp = frames_of("hcp_ca")
    lengths = np.array([a.cell.lengths() for a in hcp])
    np.testing.assert_allclose(lengths[:, 2] / lengths[:, 0], [a.info["ca"] for a in hcp], atol=1e-4)
    assert {a.info["v"] for a in hcp} == {0.85, 1.0, 1.15}
    assert min(a.info["ca"] for a in hcp) == 1.3 and max(a.info["ca"] for a in hcp) == 1.9
    bain = frames_of("bain", 9)
    assert {round(a.cell.lengths()[2] / a.cell.lengths()[0], 4) for a in bain} == {a.info["ca"] for a in bain}
    np.testing.assert_allclose([a.get_volume() for a in bain], bain[0].get_volume())


def test_dimers_and_trimers_have_the_distances_and_angles_that_info_says():
    for atoms in frames_of("dimer_pol"):
        assert atoms.get_distance(0, 1) == pytest.approx(atoms.info["d"], abs=1e-4)
    assert [a.info["d"] for a in frames_of("dimer_pol", 2)] == [1.7, 5.0]
    for atoms in frames_of("trimer_pol"):
        assert atoms.get_distance(0, 1) == pytest.approx(atoms.info["d"], abs=1e-4)
        assert atoms.get_angle(0, 1, 2) == pytest.approx(atoms.info["t"], abs=1e-4)


def test_the_partial_slip_makes_the_intrinsic_fault_of_hcp():
    """Basal slip by 1/3 <1-100> = a/√3 keeps twelve neighbours and turns AB|AB to AB|CA."""
    cell = cell_in_plane("0001", 3)
    slip = partial_A(cell)
    assert np.linalg.norm(slip) == pytest.approx(cell.cell.lengths()[0] / np.sqrt(3))
    ideal = cell.copy()
    ideal.set_cell(cell.cell.array * [1, 1, np.sqrt(8 / 3) * cell.cell.lengths()[0] * 3 / cell.cell[2, 2]], True)
    bond = 1.01 * cell.cell.lengths()[0]
    assert (coordination(slipped(ideal, slip), bond) == 12).all()
    assert (coordination(slipped(ideal, slip / 2), bond) < 12).any()
    # Where the layers on either side are alike, as in hcp, an atom has two more at √(8/3) a; in fcc it has none there.
    at_c = np.sqrt(8 / 3) * cell.cell.lengths()[0]
    two_layers_off = coordination(slipped(ideal, slip), 1.01 * at_c) - coordination(slipped(ideal, slip), 0.99 * at_c)
    assert sorted(two_layers_off) == [1, 1, 1, 1, 2, 2]


def test_a_slab_of_hcp_keeps_the_spacing_of_the_crystal():
    slab = frames_of("slab0001", 4)[3]
    heights = [slab.positions[layer, 2].mean() for layer in layers_of(slab)]
    np.testing.assert_allclose(np.diff(heights), np.diff(heights)[0], atol=1e-6)
    assert slab.info["facet"] == "hcp0001"
    assert np.ptp(heights) + 12.0 == pytest.approx(slab.cell[2, 2])


def test_steps_vacancies_and_adatoms_change_the_top_layer_only():
    for name, change in (("slab_step", -2), ("slab_vac", -1), ("slab_adatom", 1)):
        for case in KINDS[name].cases:
            face = case.what[0] if isinstance(case.what, tuple) else case.what
            assert case.atoms == len(face.slab(12.0)) + change, name


def test_decohesion_opens_the_crystal_by_the_distance_that_info_says():
    frames = [a for a in frames_of("decohesion") if a.info["facet"] == "0001"]
    closed = cell_in_plane("0001", 3).cell[2, 2]
    np.testing.assert_allclose([a.cell[2, 2] - closed for a in frames], [a.info["d"] for a in frames], atol=1e-4)
    assert frames[0].info["d"] == 0.2 and frames[-1].info["d"] == 6.0


def test_a_stacking_never_repeats_a_layer():
    for atoms in frames_of("stacking"):
        sequence = atoms.info["seq"]
        assert len(sequence) == len(atoms)
        assert all(one != other for one, other in zip(sequence, sequence[1:] + sequence[0], strict=True))


def test_packings_have_the_density_that_info_says_and_no_order():
    for atoms in frames_of("random12"):
        assert atoms.get_volume() / 12 / HCP_VOLUME_A3 == pytest.approx(atoms.info["v"], abs=1e-4)
        assert len(set(coordination(atoms, 3.2))) > 1


def test_atoms_are_pushed_apart_to_the_distance_asked_for():
    atoms = hcp_cell() * (2, 2, 1)
    atoms.positions[0] = atoms.positions[1] + [0.1, 0.2, 0.3]
    atoms.set_cell(1.1 * atoms.cell.array, scale_atoms=True)
    assert nearest_A(atoms) < 0.5
    assert nearest_A(pushed_apart(atoms, 2.1)) >= 2.1
