"""The scripts of md_examples, each run with a few steps of a toy potential."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from nearest import BOND_A, DEPTH_EV, SPRING, NearestNeighbours

from ru_calc import RuSchNet
from ru_calc.properties import hcp_crystal
from ru_calc.structures.build import build_structure

FOLDER = Path(__file__).parent.parent / "md_examples"
TINY = {
    "bulk_nvt": {"steps": 50, "repeats": (3, 3, 2)},
    "npt_thermal_expansion": {"steps": 20, "repeats": (2, 2, 2), "temperatures_K": (100.0, 200.0)},
    "nanoparticle_melting": {"steps": 120, "n_atoms": 13, "hottest_K": 3000.0},
    "slab_0001_relaxation": {"steps": 30, "repeats": (2, 2), "layers": 6},
    "eos_elastic": {"phases": ("hcp", "fcc", "sc"), "points": 5},
}


def script(name):
    specification = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """What each script returns, with the toy in the place of the shipped model, and its plot."""
    folder, found = tmp_path_factory.mktemp("examples"), {}
    for name, small in TINY.items():
        module = script(name)
        module.RuSchNet = NearestNeighbours
        found[name] = module.main(output=str(folder / f"{name}.png"), **small)
        found[name]["plot"] = (folder / f"{name}.png").read_bytes()
    return found


@pytest.mark.parametrize("name", TINY)
def test_each_script_saves_a_plot_and_returns_numbers(name, numbers):
    assert numbers[name]["plot"].startswith(b"\x89PNG")
    values = [value for key, value in numbers[name].items() if key != "plot"]
    assert values and np.isfinite(np.concatenate([np.ravel(value) for value in values])).all()


def test_another_calculator_can_be_given_and_the_plot_lies_in_the_working_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    module = script("eos_elastic")
    module.RuSchNet = None
    module.main(phases=("hcp", "fcc"), points=5, calculator=NearestNeighbours())
    assert (tmp_path / "eos_elastic.png").is_file()
    assert "saved eos_elastic.png" in capsys.readouterr().out


def test_bulk_at_constant_volume(numbers):
    found = numbers["bulk_nvt"]
    assert found["first_peak_A"] == pytest.approx(BOND_A, abs=0.1)
    assert found["potential_eV_per_atom"] > -6 * DEPTH_EV
    assert 10 < found["heat_capacity_J_per_mol_K"] < 35


def test_the_pair_distribution_counts_shells():
    """Twelve neighbours in the first shell of close packing; an ideal gas has g = 1."""
    module = script("bulk_nvt")
    hcp = hcp_crystal(2.7, 2.7 * np.sqrt(8 / 3)) * (3, 3, 2)
    r, g = module.pair_distribution([hcp], r_max_A=3.3, bins=33)
    assert np.sum(g * 4 * np.pi * r**2 * 0.1 * len(hcp) / hcp.get_volume()) == pytest.approx(12, rel=0.01)
    rng = np.random.default_rng(0)
    gas = [Atoms("Ru200", scaled_positions=rng.random((200, 3)), cell=[15] * 3, pbc=True) for _ in range(5)]
    assert module.pair_distribution(gas, bins=4)[1][1:] == pytest.approx(1, abs=0.05)


def test_a_cold_particle_hardly_moves_and_a_hot_one_does(numbers):
    found = numbers["nanoparticle_melting"]
    assert found["atoms"] == 13
    assert found["lindemann_hot"] > found["lindemann_cold"] > 0
    assert found["close_packed_before"] > 0.2


def test_the_steepest_energy_is_found():
    T = np.linspace(300, 3000, 28)
    rows = np.stack([T, 1e-4 * T + 0.3 * (T > 1850)], axis=1)
    assert script("nanoparticle_melting").steepest_K(rows) == pytest.approx(1850, abs=250)


def test_the_surface_of_nearest_neighbours_does_not_relax(numbers):
    found = numbers["slab_0001_relaxation"]
    assert found["d12_percent"] == pytest.approx(0, abs=1e-3)
    assert found["gamma_J_per_m2"] == pytest.approx(found["gamma_unrelaxed_J_per_m2"], rel=1e-4)
    assert abs(found["d12_hot_percent"]) < 5


def test_moduli_of_nearest_neighbour_springs(numbers):
    """B = 2√2 k/(3 r), from energies and from stresses."""
    found = numbers["eos_elastic"]
    expected = 2 * np.sqrt(2) * SPRING / (3 * BOND_A) * 160.21766
    assert found["B_from_constants"] == pytest.approx(expected, rel=2e-3)
    assert found["B"] == pytest.approx(expected, rel=2e-2)
    assert found["fcc-hcp"] == pytest.approx(0, abs=0.1)


def test_thermal_expansion_is_the_slope_of_the_strain(numbers):
    found = numbers["npt_thermal_expansion"]
    T, strain = np.array([100.0, 200.0]), np.array(found["a_A"]) / BOND_A - 1
    assert found["alpha_a_per_K"] == pytest.approx((T * strain).sum() / (T**2).sum(), rel=1e-3)


def test_stability_reports_drift_and_survival(tmp_path):
    rows = script("stability").main(
        (16,), 0.1, 0.02, (100.0,), (100.0,), output=tmp_path / "s.png", calculator=NearestNeighbours()
    )
    assert [row["ensemble"] for row in rows] == ["nve", "nvt-bussi"] and all(row["atoms"] == 16 for row in rows)
    assert all(row["result"] == "completed" for row in rows) and abs(rows[0]["drift_eV_per_atom_per_ps"]) < 1e-3
    assert (tmp_path / "s.png").stat().st_size > 1000


@pytest.mark.usefixtures("lammps_plugin")
def test_a_sheared_crystal_resists_and_yields(tmp_path):
    found = script("lammps_shear").main(tmp_path / "s.png", 100, 500, 100.0, 0.4, ranks=2, folder=tmp_path)
    assert 120 < found["C44_GPa"] < 240
    assert 10 < found["strength_GPa"] < 40 and 0.08 < found["strain_at_strength"] < 0.35
    assert (tmp_path / "s.png").stat().st_size > 1000


def test_phases_relaxed_at_once_have_the_energies_of_the_reference(tmp_path):
    pytest.importorskip("torch_sim")
    found = script("torch_sim_phases").main(tmp_path / "p.png", ("hcp", "fcc", "bcc"), 300)
    our_dft_meV = [0.0, 107.0, 607.0]
    np.testing.assert_allclose(found["energies_meV_per_atom"], our_dft_meV, atol=40)
    assert (found["stress_left"] < 1e-4).all() and (tmp_path / "p.png").stat().st_size > 1000


def test_images_over_three_processes_have_the_barrier_of_one(tmp_path):
    pytest.importorskip("mpi4py")
    mpiexec = Path(sys.executable).with_name("mpiexec")
    found = []
    for start in ([], [mpiexec, "-n", "3"]):
        words = [*start, sys.executable, FOLDER / "neb_vacancy_mpi.py"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
        found.append(float(re.search(r"^barrier (\S+) eV with 3 images on", done.stdout, re.MULTILINE)[1]))
        assert done.stdout.count("barrier") == 1 and f"on {3 if start else 1} processes" in done.stdout
    angsten_2014_eV = 2.17  # PBE, doi 10.1088/1367-2630/16/1/015018
    assert found[0] == found[1] == pytest.approx(angsten_2014_eV, rel=0.12)


def test_the_kinetic_energy_of_a_path_integral_is_that_of_quantum_oscillators(tmp_path):
    """Those of the same cell, from finite differences of its forces."""
    pytest.importorskip("ipi")
    found = script("ipi_path_integral").main(n_atoms=8, beads=8, temperature_K=100.0, steps=500, folder=tmp_path)
    atoms = build_structure("hcp", n_atoms=8)
    atoms.calc = RuSchNet(dtype="float64")
    hessian = []
    for k in range(24):
        forces = []
        for step_A in (1e-3, -1e-3):
            moved = atoms.copy()
            moved.positions[k // 3, k % 3] += step_A
            moved.calc = atoms.calc
            forces.append(moved.get_forces().ravel())
        hessian.append((forces[1] - forces[0]) / 2e-3)
    squares = np.linalg.eigvalsh(np.array(hessian) / atoms.get_masses()[0])[3:]  # less what moves the whole
    quantum = units._hbar * units.J * units.s * np.sqrt(squares)
    kT = units.kB * 100.0
    expected_eV = (np.sum(quantum / 4 / np.tanh(quantum / 2 / kT)) + 3 * kT / 2) / 8
    assert found["kinetic_eV"] == pytest.approx(expected_eV, rel=0.05) and found["over_classical"] > 1.2


def test_every_script_is_run_here():
    others = {"stability", "lammps_shear", "torch_sim_phases", "neb_vacancy_mpi", "ipi_path_integral"}
    assert {path.stem for path in FOLDER.glob("*.py")} == {*TINY, *others}
