"""Properties of crystals, defects and surfaces, against closed forms for nearest-neighbour forces."""

import numpy as np
import pytest
from ase.eos import EquationOfState
from nearest import BOND_A, DEPTH_EV, SPRING, STEEPNESS_PER_A, NearestNeighbours

from ru_calc.errors import SettingsError, UnphysicalError
from ru_calc.properties import (
    PHASES,
    basal_slab,
    basal_surface,
    dimer,
    elastic_tensor,
    equation_of_state,
    fit_equation_of_state,
    gamma_phonons,
    hcp_elastic_constants,
    hcp_vacancy,
    isolated_atom_energy,
    layer_spacings_percent,
    lowest_frequency_THz,
    phase_crystal,
    phase_order,
    phonopy_of,
    relaxed_hcp,
    vacancy_formation,
)
from ru_calc.properties.bulk import energy_at_volume, equilibrium_volume
from ru_calc.properties.defects import VACANCY_CELL_A, unrelaxed_vacancy_eV
from ru_calc.properties.energies import relaxed_positions
from ru_calc.units import EV_PER_A2_IN_J_PER_M2, EV_PER_A3_IN_GPA, SQRT_EV_PER_U_A2_IN_THZ

RUTHENIUM_MASS_U = 101.07
# With central forces k between nearest neighbours at rest, hcp (positions relaxed) has C11 : C12 : C13 : C33 : C44 =
# 29 : 11 : 8 : 32 : 8 in units of √2 k/(24 r), and without relaxation 30 : 10 : 8 : 32 : 8.
UNIT_GPA = np.sqrt(2) * SPRING / (24 * BOND_A) * EV_PER_A3_IN_GPA
RELAXED = {"C11": 29, "C12": 11, "C13": 8, "C33": 32, "C44": 8}


class Distorted(NearestNeighbours):
    """Sabotage: one result times a factor."""

    def __init__(self, name, factor):
        super().__init__()
        self.broken = name, factor

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        name, factor = self.broken
        self.results[name] = factor * self.results[name]


@pytest.fixture(scope="module")
def calculator():
    return NearestNeighbours()


@pytest.fixture(scope="module")
def hcp(calculator):
    return relaxed_hcp(calculator)


def test_the_hcp_lattice_of_nearest_neighbours_is_ideal(hcp):
    assert hcp.a_A == pytest.approx(BOND_A, abs=1e-6)
    assert hcp.c_over_a == pytest.approx(np.sqrt(8 / 3), abs=1e-6)
    assert hcp.energy_eV == pytest.approx(-6 * DEPTH_EV, abs=1e-9)
    assert hcp.volume_A3 == pytest.approx(hcp.atoms().get_volume() / 2)


@pytest.mark.parametrize(
    ("name", "atoms", "neighbours", "ratio"),
    [
        # Coordination and nearest distance over the cube root of the volume per atom, from the geometry of each.
        ("hcp", 2, 12, 2 ** (1 / 6)),
        ("dhcp", 4, 12, 2 ** (1 / 6)),
        ("fcc", 1, 12, 2 ** (1 / 6)),
        ("bcc", 1, 8, np.sqrt(3) / 2 ** (2 / 3)),
        ("sc", 1, 6, 1.0),
        ("diamond", 2, 4, np.sqrt(3) / 2),
        ("a15", 8, 2, 1.0),
    ],
)
def test_phases_have_their_first_shell(name, atoms, neighbours, ratio):
    ideal = {"hcp": np.sqrt(8 / 3), "dhcp": 2 * np.sqrt(8 / 3)}
    crystal = phase_crystal(name, 1.0, ideal.get(name))
    assert len(crystal) == atoms
    assert crystal.get_volume() == pytest.approx(atoms)
    supercell = crystal * (5, 5, 5)
    # A15: an atom of a chain, its last one, which has two neighbours at half the cell.
    distances = supercell.get_distances(len(crystal) * 62 + len(crystal) - 1, range(len(supercell)), mic=True)
    shell = np.sort(distances)[1:]
    assert shell[0] == pytest.approx(ratio)
    assert np.sum(shell < shell[0] * 1.001) == neighbours


def test_omega_is_a_simple_hexagonal_stack():
    crystal = phase_crystal("omega", 13.0)
    assert len(crystal) == 3 and crystal.get_volume() == pytest.approx(39.0)
    assert crystal.positions[1, 2] == pytest.approx(crystal.cell[2, 2] / 2)


def check_elastic(constants):
    for name, value in RELAXED.items():
        assert getattr(constants, f"{name}_GPa") == pytest.approx(value * UNIT_GPA, rel=3e-3), name


def test_hcp_elastic_constants_are_those_of_nearest_neighbour_springs(hcp, calculator):
    constants = hcp_elastic_constants(hcp, calculator)
    check_elastic(constants)
    assert constants.bulk_modulus_GPa == pytest.approx(16 * UNIT_GPA, rel=2e-3)


def test_the_elastic_check_notices_a_wrong_stress_and_a_missing_relaxation(hcp):
    with pytest.raises(AssertionError):
        check_elastic(hcp_elastic_constants(hcp, Distorted("stress", 1.01)))
    with pytest.raises(AssertionError):
        check_elastic(hcp_elastic_constants(hcp, NearestNeighbours(), fmax_eV_per_A=1e6))


def test_hcp_is_isotropic_in_the_plane(hcp, calculator):
    tensor = elastic_tensor(hcp.atoms(), calculator)
    np.testing.assert_allclose(tensor, tensor.T, atol=0.3)
    assert tensor[5, 5] == pytest.approx((tensor[0, 0] - tensor[0, 1]) / 2, rel=2e-3)
    np.testing.assert_allclose(tensor[:3, 3:], 0, atol=0.3)


def test_fcc_fulfils_the_cauchy_relation(hcp, calculator):
    """C11 = 2 k/a and C12 = C44 = k/a (Born & Huang, Dynamical Theory of Crystal Lattices)."""
    tensor = elastic_tensor(phase_crystal("fcc", hcp.volume_A3), calculator)
    expected = SPRING / (np.sqrt(2) * BOND_A) * EV_PER_A3_IN_GPA
    np.testing.assert_allclose(tensor[[0, 0, 3], [0, 1, 3]], [2 * expected, expected, expected], rtol=1e-3)


def test_gamma_phonons_of_nearest_neighbour_springs(hcp, calculator):
    """Of the six bonds to the other sublattice, Σ n_z² = 4 and Σ n_x² = 1, so ω² = 8 k/m and 2 k/m."""
    modes = gamma_phonons(hcp, calculator)
    basal = np.sqrt(2 * SPRING / RUTHENIUM_MASS_U) * SQRT_EV_PER_U_A2_IN_THZ
    assert basal == pytest.approx(modes.E2g_THz, rel=1e-3)
    assert modes.B1g_THz == pytest.approx(2 * basal, rel=1e-3)
    assert abs(modes.E2g_splitting_THz) < 1e-4


def test_unstable_modes_are_negative(hcp):
    modes = gamma_phonons(hcp, Distorted("forces", -1.0))
    assert modes.E2g_THz < -1 and modes.B1g_THz < -1


def test_phonopy_finds_no_imaginary_mode_in_a_stable_crystal(hcp, calculator):
    pytest.importorskip("phonopy")
    assert abs(lowest_frequency_THz(hcp, calculator, (3, 3, 2), (4, 4, 2))) < 0.01
    assert lowest_frequency_THz(hcp, Distorted("forces", -1.0), (3, 3, 2), (4, 4, 2)) < -1


def test_phonopy_and_the_frozen_modes_agree_at_gamma(hcp, calculator):
    pytest.importorskip("phonopy")
    phonon = phonopy_of(hcp, calculator, (3, 3, 2))
    phonon.run_qpoints([[0, 0, 0]])
    frequencies = phonon.qpoints.frequencies[0]
    modes = gamma_phonons(hcp, calculator)
    np.testing.assert_allclose(frequencies[3:], [modes.E2g_THz, modes.E2g_THz, modes.B1g_THz], rtol=2e-3)


def test_the_vacancy_of_nearest_neighbours_costs_the_cohesive_energy(hcp, calculator):
    """Twelve bonds are lost and six regained per atom; all bonds are at rest, so nothing relaxes."""
    vacancy = hcp_vacancy(hcp, calculator, (3, 3, 2))
    assert vacancy.sites == 36
    assert vacancy.unrelaxed_eV == pytest.approx(6 * DEPTH_EV, abs=1e-6)
    assert vacancy.relaxed_eV == pytest.approx(6 * DEPTH_EV, abs=1e-6)
    wrong = hcp_vacancy(hcp, Distorted("energy", 1.001), (3, 3, 2)).relaxed_eV
    assert wrong != pytest.approx(6 * DEPTH_EV, abs=1e-6)


def test_the_basal_surface_of_nearest_neighbours_costs_three_half_bonds_per_atom(hcp, calculator):
    surface = basal_surface(hcp, calculator, layers=6)
    expected = 1.5 * DEPTH_EV / (np.sqrt(3) / 2 * BOND_A**2) * EV_PER_A2_IN_J_PER_M2
    assert surface.gamma_unrelaxed_J_per_m2 == pytest.approx(expected, rel=1e-5)
    assert surface.gamma_J_per_m2 == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(surface.spacings_percent, 0, atol=1e-4)


def test_a_slab_is_periodic_in_its_plane(hcp):
    slab = basal_slab(hcp, 5)
    assert len(slab) == 5 and slab.pbc.tolist() == [True, True, False]


def test_spacings_run_from_the_top_down_and_inwards_is_negative():
    np.testing.assert_allclose(layer_spacings_percent([0, 2, 4, 5.9, 7.9], 2.0), [0, -5, 0, 0], atol=1e-12)


def test_dimer_and_free_atom(calculator):
    found = dimer(calculator)
    assert found.r_e_A == pytest.approx(BOND_A, abs=1e-3)
    assert found.D_e_eV == pytest.approx(DEPTH_EV, abs=1e-6)
    assert isolated_atom_energy(calculator) == 0
    assert found.barrier_eV == 0


class Hill(NearestNeighbours):
    """Two atoms 5 Å apart repel each other."""

    def calculate(self, atoms=None, *args):
        super().calculate(atoms, *args)
        if len(atoms) == 2:
            self.results["energy"] += 0.3 * np.exp(-((atoms.get_distance(0, 1) - 5.0) ** 2))


def test_the_barrier_of_the_dimer_is_the_top_of_the_hill_on_the_way_out():
    assert dimer(Hill()).barrier_eV == pytest.approx(0.3, abs=1e-3)
    assert dimer(Hill()).r_e_A == pytest.approx(BOND_A, abs=0.01)


def test_the_unrelaxed_vacancy_of_nearest_neighbours_costs_six_bonds_of_the_dft_cell(calculator):
    a, c = VACANCY_CELL_A
    bonds = np.array([a, np.sqrt(a**2 / 3 + c**2 / 4)])
    morse = np.exp(-STEEPNESS_PER_A * (bonds - BOND_A))
    expected = 3 * DEPTH_EV * (2 * morse - morse**2).sum()
    assert unrelaxed_vacancy_eV(calculator) == pytest.approx(expected, abs=1e-9)


def test_the_birch_murnaghan_fit_is_that_of_ase():
    volumes = np.linspace(12, 16, 9)
    energies = -8 + 0.9 * (volumes / 13.8 - 1) ** 2 * 13.8 - 0.8 * (volumes / 13.8 - 1) ** 3 * 13.8
    mine, theirs = fit_equation_of_state(volumes, energies), EquationOfState(volumes, energies, eos="birchmurnaghan")
    volume, energy, modulus = theirs.fit()
    assert mine.V0_A3 == pytest.approx(volume, rel=1e-5)
    assert mine.E0_eV == pytest.approx(energy, abs=1e-6)
    assert mine.B_GPa == pytest.approx(modulus * EV_PER_A3_IN_GPA, rel=1e-4)
    assert mine.B_prime == pytest.approx(theirs.eos_parameters[2], rel=1e-3)
    np.testing.assert_allclose(mine.energy_eV(volumes), theirs.func(volumes, *theirs.eos_parameters), atol=1e-6)


def test_the_bulk_modulus_from_energies_is_that_from_stresses(hcp, calculator):
    fit = equation_of_state("hcp", calculator, hcp, span=0.04, points=7)
    assert fit.B_GPa == pytest.approx(16 * UNIT_GPA, rel=5e-3)
    assert fit.V0_A3 == pytest.approx(hcp.volume_A3, rel=1e-3)
    assert fit.residual_eV < 1e-5
    wrong = equation_of_state("hcp", Distorted("energy", 1.02), hcp, span=0.04, points=7)
    assert wrong.B_GPa != pytest.approx(16 * UNIT_GPA, rel=5e-3)


def test_a_phase_without_another_parameter_has_the_energy_of_its_bonds(calculator):
    assert set(PHASES) >= {"hcp", "dhcp", "fcc", "bcc", "a15", "omega", "sc", "diamond"}
    assert energy_at_volume("sc", BOND_A**3, calculator) == pytest.approx(-3 * DEPTH_EV, abs=1e-9)


def test_close_packings_of_nearest_neighbours_are_equal(hcp, calculator):
    order = phase_order(calculator, hcp, ("hcp", "fcc", "sc"), points=3)
    np.testing.assert_allclose(order.energies_eV["fcc"][1], order.energies_eV["hcp"][1], atol=1e-6)
    assert order.margin_eV("sc") < -1
    np.testing.assert_allclose(order.volumes_A3 / hcp.volume_A3, [0.9, 1.0, 1.1])


def rattled_once(hcp, calculator):
    atoms = hcp.atoms() * (2, 2, 2)
    atoms.rattle(0.1, seed=0)
    return relaxed_positions(atoms, calculator, 0.001, max_steps=1)


VOLUMES = np.linspace(12, 16, 7)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda hcp, calc: relaxed_hcp(calc, 3.8, 5.9), r"no hcp lattice within 25 % of a = 3.8 Å.*start closer"),
        (lambda hcp, calc: dimer(calc, np.arange(1.6, 2.45, 0.1)), r"no minimum between 1\.6 and 2\.4"),
        (lambda hcp, calc: fit_equation_of_state(VOLUMES, -VOLUMES), "no Birch–Murnaghan curve with a minimum"),
        (lambda hcp, calc: equilibrium_volume("fcc", calc, 25.0), r"fcc has no energy minimum between 18\.5"),
        (
            lambda hcp, calc: energy_at_volume("hcp", 34.0, calc),
            r"hcp at 34\.00 Å³ per atom has no best c/a within 15 % of 1\.58",
        ),
        (rattled_once, r"16 atoms did not relax: largest force .* after 1 steps, limit 0.001"),
    ],
)
def test_what_has_no_answer_is_refused(measure, message, hcp, calculator):
    with pytest.raises(UnphysicalError, match=message):
        measure(hcp, calculator)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda hcp, calc: phase_crystal("fcb", 13.0), "unknown phase 'fcb': choose one of hcp, dhcp, fcc"),
        (lambda hcp, calc: phase_crystal("fcc", 13.0, 1.6), r"c/a = 1\.6 was given for fcc, which is cubic"),
        (lambda hcp, calc: vacancy_formation(phase_crystal("fcc", 13.9), calc, (1, 1, 1)), "supercell of 1 site"),
        (lambda hcp, calc: basal_slab(hcp, 4), "slab of 4 layers has no bulk"),
    ],
)
def test_what_makes_no_sense_is_refused(measure, message, hcp, calculator):
    with pytest.raises(SettingsError, match=message):
        measure(hcp, calculator)
