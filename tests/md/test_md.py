"""Molecular dynamics: what is conserved, what a restart reproduces, and what stops a run."""

import csv
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed
from ase.constraints import FixAtoms
from toy import FreeFlight, PairPotential, RememberingPotential, Stopping

import ru_calc
import ru_calc.md.ensembles as ensembles
import ru_calc.md.run as run_module
import ru_calc.md.simulation as simulation
from ru_calc.errors import DataError, OutputError, SettingsError, UnphysicalError
from ru_calc.md import ENSEMBLES, MDOutput, MDResult, MDSettings, resume_md, run_md
from ru_calc.md.checkpoint import load_checkpoint
from ru_calc.md.monitor import Monitor
from ru_calc.md.thermo import COLUMNS
from ru_calc.md.velocities import degrees_of_freedom, draw_momenta
from ru_calc.structures.build import build_structure

THERMOSTATS = tuple(name for name in ENSEMBLES if name != "nve")
KB = 8.617333262e-5  # eV/K, CODATA 2018


def crystal(repeat=(2, 2, 2)):
    return build_structure("fcc", a_A=3.75, repeat=repeat)


def same_bits(one, other):
    return all(
        np.array_equal(a, b)
        for a, b in (
            (one.positions, other.positions),
            (one.get_momenta(), other.get_momenta()),
            (one.cell.array, other.cell.array),
        )
    )


# ---------------------------------------------------------------------------------------------- velocities


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_velocities_have_the_temperature_asked_for_and_no_drift(ensemble):
    atoms = crystal()
    draw_momenta(atoms, 500.0, np.random.default_rng(0), ensemble)
    dof = degrees_of_freedom(atoms, ensemble)
    assert dof == (96 if ensemble == "nvt-langevin" else 93)
    assert 2 * atoms.get_kinetic_energy() / (dof * KB) == pytest.approx(500.0, rel=1e-5)
    np.testing.assert_allclose(atoms.get_momenta().sum(axis=0), 0, atol=1e-10)


def test_free_particles_do_not_rotate_and_linear_ones_lose_two_degrees():
    ball, dimer, atom = (build_structure(name) for name in ("sphere", "dimer", "atom"))
    for atoms, lost in ((ball, 6), (dimer, 5), (atom, 3)):
        draw_momenta(atoms, 500.0, np.random.default_rng(0), "nve")
        assert degrees_of_freedom(atoms, "nve") == 3 * len(atoms) - lost
        np.testing.assert_allclose(atoms.get_angular_momentum(), 0, atol=1e-8)
    assert 2 * dimer.get_kinetic_energy() / KB == pytest.approx(500.0, rel=1e-5)


def test_what_drifts_or_spins_counts_as_moving():
    ball = build_structure("sphere")
    draw_momenta(ball, 500.0, np.random.default_rng(0), "nve")
    still = ball.get_momenta()
    ball.set_momenta(still + [1.0, 0, 0])
    assert degrees_of_freedom(ball, "nve") == 3 * len(ball)
    ball.set_momenta(still + np.cross([0, 0, 0.1], ball.positions))
    assert degrees_of_freedom(ball, "nve") == 3 * len(ball) - 3


def test_the_seed_decides_and_momenta_of_a_file_are_kept_unless_told_otherwise():
    def start(seed, keep=True, momenta=None):
        atoms = crystal()
        if momenta is not None:
            atoms.set_momenta(momenta)
        run_md(atoms, PairPotential(), MDSettings("nve", steps=0, seed=seed, keep_momenta=keep))
        return atoms.get_momenta()

    one = start(1)
    np.testing.assert_array_equal(one, start(1))
    assert not np.array_equal(one, start(2))
    np.testing.assert_array_equal(one, start(2, momenta=one))
    assert not np.array_equal(one, start(2, keep=False, momenta=one))


def moving(atoms, velocities):
    atoms = atoms.copy()
    atoms.set_velocities(velocities)
    return atoms


def started(atoms, **settings):
    """Momenta at step 0, and what was said."""
    said = []
    run_md(atoms, PairPotential(), MDSettings(**{"ensemble": "nve", "steps": 0, **settings}), warn=said.append)
    return atoms.get_momenta(), said


def test_a_drift_of_velocities_that_come_with_the_atoms_is_removed_and_said():
    still = crystal()
    draw_momenta(still, 300.0, np.random.default_rng(0), "nve")
    atoms = moving(still, still.get_velocities() + [0.05, 0.0, 0.0])
    momenta, said = started(atoms)
    np.testing.assert_allclose(momenta, still.get_momenta(), atol=1e-9)
    speed = 0.05 * 1000 * units.fs
    kelvin = 101.07 * 0.05**2 / (3 * KB)
    (text,) = said
    assert f"a drift of {speed:.3g} Å/ps ({kelvin:.3g} K of the temperature), which is removed" in text


@pytest.mark.parametrize("ensemble", ["nve", "nvt-bussi", "nvt-langevin"])
def test_a_crystal_that_only_drifts_gets_velocities(ensemble):
    atoms = moving(crystal(), np.tile([0.0, 0.07, 0.0], (len(crystal()), 1)))
    momenta, said = started(atoms, ensemble=ensemble, temperature_K=200.0)
    np.testing.assert_allclose(momenta.sum(axis=0), 0, atol=1e-9)
    assert 2 * atoms.get_kinetic_energy() / (degrees_of_freedom(atoms, ensemble) * KB) == pytest.approx(200.0)
    assert len(said) == 1 and said[0].endswith("nothing else moved, so new ones are drawn")


def test_the_rotation_of_a_cluster_is_removed_and_that_of_periodic_atoms_is_none():
    ball = build_structure("sphere")
    draw_momenta(ball, 500.0, np.random.default_rng(0), "nve")
    velocities = ball.get_velocities() + np.cross([0, 0, 0.01], ball.positions) + [0.0, 0.0, 0.02]
    momenta, said = started(moving(ball, velocities))
    np.testing.assert_allclose(momenta, ball.get_momenta(), atol=1e-8)
    assert "Å/ps and a rotation (" in said[0]
    wire = ball.copy()
    wire.set_cell([40.0, 40.0, 40.0])
    wire.pbc = (False, False, True)
    momenta, said = started(moving(wire, ball.get_velocities() + np.cross([0, 0, 0.01], ball.positions)))
    assert not said and not np.allclose(momenta, ball.get_momenta())


def test_beside_fixed_atoms_nothing_drifts():
    atoms = moving(crystal(), np.tile([0.05, 0.0, 0.0], (len(crystal()), 1)))
    atoms.set_constraint(FixAtoms([0]))
    before = atoms.get_momenta()
    momenta, said = started(atoms)
    assert not said
    np.testing.assert_array_equal(momenta, before)


# ---------------------------------------------------------------------------------------------- physics


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_the_conserved_quantity_is_conserved_and_the_reservoir_is_needed_for_that(ensemble):
    settings = MDSettings(ensemble, temperature_K=300, steps=150, log_every=1)
    thermo = run_md(crystal(), PairPotential(), settings).thermo
    conserved = thermo["conserved_eV_per_atom"]
    assert np.ptp(conserved) < 1e-4
    bare = thermo["potential_eV_per_atom"] + thermo["kinetic_eV_per_atom"]
    if ensemble == "nve":
        np.testing.assert_allclose(bare, conserved, atol=1e-12)
    else:
        assert np.ptp(bare) > 20 * np.ptp(conserved)


def make(atoms, settings, calculator):
    dof, atoms.calc = degrees_of_freedom(atoms, settings.ensemble), calculator
    return ensembles.make_ensemble(atoms, settings, dof, np.random.default_rng(0))


def kinetic_energies(atoms, settings, calculator, steps):
    """E_kin / k_B T after each step."""
    draw_momenta(atoms, settings.temperature_K, np.random.default_rng(0), settings.ensemble)
    ensemble, values = make(atoms, settings, calculator), []
    for _ in range(steps):
        ensemble.step()
        values.append(atoms.get_kinetic_energy() / (KB * settings.temperature_K))
    return values


@pytest.mark.parametrize(
    ("changes", "dof"),
    [
        ({"ensemble": "nvt-bussi", "thermostat_time_fs": 1.0}, 3),
        ({"ensemble": "nvt-langevin", "friction_per_ps": 500.0}, 6),
    ],
)
def test_the_kinetic_energy_has_the_distribution_of_its_degrees_of_freedom(changes, dof):
    # E_kin / k_B T has a gamma distribution: mean and variance are dof/2.  The centre of mass takes 3 of 6 degrees of
    # freedom, so an integrator that counts all is twice as hot, or fluctuates half as much.
    atoms = Atoms("Ru2", positions=[[0, 0, 0], [9, 9, 9]], cell=[40.0, 40.0, 40.0], pbc=True)
    values = kinetic_energies(atoms, MDSettings(**changes), FreeFlight(), 1500)
    assert np.mean(values) == pytest.approx(dof / 2, rel=0.1)
    assert np.var(values) == pytest.approx(dof / 2, rel=0.2)


def test_a_nose_hoover_chain_keeps_four_bound_atoms_at_its_temperature():
    # Nine of twelve degrees of freedom move: an integrator that counted twelve would be at 400 K.
    atoms = build_structure("fcc", a_A=3.75)
    atoms.set_cell([9.0, 9.0, 9.0])  # no image is in reach
    values = kinetic_energies(atoms, MDSettings("nvt-nhc", thermostat_time_fs=40.0), PairPotential(), 2000)
    assert np.mean(values[500:]) == pytest.approx(9 / 2, rel=0.12)


@pytest.mark.parametrize("ensemble", ["nvt-nhc", "npt-iso", "npt-cell"])
def test_an_ideal_gas_at_its_temperature_and_pressure_stays_there(ensemble):
    # With 3 N − 3 degrees of freedom, thermostat and cell are in balance at p V = N k T.
    momenta = np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
    atoms = Atoms("Ru4", positions=9.0 * momenta, momenta=momenta, cell=[40.0, 40.0, 40.0], pbc=True)
    temperature = 2 * atoms.get_kinetic_energy() / (9 * units.kB)
    pressure = {"pressure_GPa": 4 * units.kB * temperature / 40.0**3 / units.GPa} if "npt" in ensemble else {}
    running = make(atoms, MDSettings(ensemble, temperature_K=temperature, **pressure), FreeFlight())
    for _ in range(20):
        running.step()
    np.testing.assert_allclose(atoms.get_momenta(), momenta, rtol=1e-9)
    np.testing.assert_allclose(atoms.cell.array, 40.0 * np.eye(3), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("ensemble", ["npt-iso", "npt-cell"])
def test_constant_pressure_reaches_its_pressure(ensemble):
    settings = MDSettings(
        ensemble, temperature_K=200, pressure_GPa=5.0, steps=1500, log_every=1, barostat_time_fs=200.0
    )
    thermo = run_md(build_structure("fcc", a_A=3.8, repeat=(2, 2, 2)), PairPotential(), settings).thermo
    assert thermo["pressure_GPa"][0] < 0
    assert thermo["pressure_GPa"][500:].mean() == pytest.approx(5.0, abs=0.5)
    lengths = np.array([thermo[f"cell_{axis}_A"][-1] for axis in "abc"])
    assert (np.ptp(lengths) < 1e-9) == (ensemble == "npt-iso")


def test_the_pressure_of_an_ideal_gas_obeys_its_law():
    atoms = build_structure("fcc", a_A=20.0, repeat=(2, 2, 2))
    thermo = run_md(atoms, FreeFlight(), MDSettings("nve", temperature_K=1000, steps=1, log_every=1)).thermo
    # p V = (N − 1) k T: the centre of mass rests.
    expected = 31 * KB * 1000 / 40.0**3 * 160.21766208
    np.testing.assert_allclose(thermo["pressure_GPa"], expected, rtol=1e-5)


@pytest.mark.parametrize("ensemble", THERMOSTATS)
def test_a_ramp_moves_the_thermostat_step_by_step_and_does_no_work_on_the_books(ensemble):
    settings = MDSettings(ensemble, temperature_K=100, temperature_end_K=900, steps=400, log_every=1)
    assert settings.temperature_at(0) == 100 and settings.temperature_at(200) == 500
    thermo = run_md(crystal(), PairPotential(), settings).thermo
    assert np.ptp(thermo["conserved_eV_per_atom"]) < 5e-4
    assert thermo["temperature_K"][-50:].mean() > thermo["temperature_K"][50:100].mean() + 150


def test_a_ramp_that_forgot_the_work_would_show(monkeypatch):
    def forgetful(self, temperature_K):
        self._scale(temperature_K * units.kB / self.dynamics._thermostat._kT)

    monkeypatch.setattr(ensembles.NoseHoover, "set_temperature", forgetful)
    settings = MDSettings("nvt-nhc", temperature_K=100, temperature_end_K=900, steps=400, log_every=1)
    thermo = run_md(crystal(), PairPotential(), settings).thermo
    assert np.ptp(thermo["conserved_eV_per_atom"]) > 5e-3


def test_a_slab_has_no_pressure_and_no_stress_is_asked_of_it():
    calculator = PairPotential()
    slab = build_structure("slab", layers=3, repeat=(3, 4, 1))
    thermo = run_md(slab, calculator, MDSettings(steps=4, log_every=2)).thermo
    assert np.isnan(thermo["pressure_GPa"]).all() and np.isnan(thermo["volume_A3_per_atom"]).all()
    assert "stress" not in calculator.asked


def test_stress_is_computed_on_logged_steps_only():
    class Counting(FreeFlight):
        stresses = 0

        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            self.stresses += "stress" in properties
            if "stress" not in properties:
                del self.results["stress"]

    calculator = Counting()
    run_md(crystal(), calculator, MDSettings("nvt-bussi", steps=10, log_every=5))
    assert calculator.stresses == 3


def test_fixed_atoms_stay_where_the_integrator_allows_it():
    slab = crystal()
    slab.set_constraint(FixAtoms([0, 1, 2]))
    before = slab.positions.copy()
    run_md(slab, PairPotential(), MDSettings("nvt-bussi", steps=20))
    np.testing.assert_array_equal(slab.positions[:3], before[:3])
    assert np.abs(slab.positions[3:] - before[3:]).min() > 0
    with pytest.raises(SettingsError, match="constrained: use nve or nvt-bussi"):
        run_md(slab, PairPotential(), MDSettings("nvt-langevin", steps=1))


# ---------------------------------------------------------------------------------------------- restart


def output_of(folder, **changes):
    return MDOutput(folder, **{"trajectory_every": 3, "checkpoint_every": 5, **changes})


@pytest.mark.parametrize(
    ("ensemble", "suffix"), [*((name, "extxyz") for name in ENSEMBLES), ("npt-cell", "traj"), ("npt-cell", "h5")]
)
def test_a_run_in_two_parts_is_the_same_to_the_last_bit_as_one_run(tmp_path, ensemble, suffix):
    settings = MDSettings(ensemble, temperature_K=600, steps=26, log_every=2)
    whole, half = (output_of(tmp_path / name, trajectory=f"md.{suffix}") for name in ("whole", "half"))
    one = run_md(crystal(), PairPotential(), settings, whole)
    run_md(crystal(), PairPotential(), replace(settings, steps=13), half)
    two = resume_md(half.folder, PairPotential(), steps=26)
    assert same_bits(one.atoms, two.atoms)
    assert two.steps == 26 and not two.interrupted
    for column in COLUMNS:
        np.testing.assert_allclose(one.thermo[column], two.thermo[column], rtol=1e-9, atol=1e-9)
    assert (whole.folder / "thermo.csv").read_bytes() == (half.folder / "thermo.csv").read_bytes()
    frames, others = (frames_of(o.folder / o.trajectory) for o in (whole, half))
    assert [step for step, _ in frames] == list(range(0, 27, 3)) == [step for step, _ in others]
    for (_, positions), (_, other) in zip(frames, others, strict=True):
        np.testing.assert_array_equal(positions, other)


def frames_of(path):
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            group = file["particles/all/position"]
            return list(zip(group["step"][:].tolist(), group["value"][:], strict=True))
    return [(frame.info.get("step", 3 * k), frame.positions) for k, frame in enumerate(ase.io.read(path, ":"))]


@pytest.mark.parametrize("ensemble", THERMOSTATS)
def test_a_restart_that_lost_the_thermostat_or_the_random_numbers_would_show(tmp_path, ensemble, monkeypatch):
    settings = MDSettings(ensemble, temperature_K=600, steps=26)
    one = run_md(crystal(), PairPotential(), settings)
    run_md(crystal(), PairPotential(), replace(settings, steps=13), output_of(tmp_path))
    if ensemble in ("nvt-langevin", "nvt-bussi"):
        monkeypatch.setattr(run_module, "load_checkpoint", lambda folder: _with_other_noise(load_checkpoint(folder)))
    else:
        monkeypatch.setattr(ensembles.NoseHoover, "load", lambda self, state: None)
    assert not same_bits(one.atoms, resume_md(tmp_path, PairPotential(), steps=26).atoms)


def _with_other_noise(saved):
    return replace(saved, rng=np.random.default_rng(99).bit_generator.state)


def test_a_ramp_is_resumed_exactly_and_cannot_be_made_longer(tmp_path):
    settings = MDSettings("nvt-nhc", temperature_K=100, temperature_end_K=900, steps=30)
    one = run_md(crystal(), PairPotential(), settings)
    stop = Stopping(at_call=14)
    half = run_md(crystal(), stop, settings, output_of(tmp_path))
    assert half.interrupted and 0 < half.steps < 30
    with pytest.raises(SettingsError, match="the temperature ramp was set over 30"):
        resume_md(tmp_path, PairPotential(), steps=60)
    assert same_bits(one.atoms, resume_md(tmp_path, PairPotential()).atoms)


def test_ctrl_c_ends_between_two_steps_with_a_checkpoint_and_gives_the_signal_back(tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    settings = MDSettings("nvt-langevin", steps=30)
    half = run_md(crystal(), Stopping(at_call=8), settings, output_of(tmp_path))
    assert half.interrupted and signal.getsignal(signal.SIGINT) is handler
    assert load_checkpoint(tmp_path).step == half.steps
    assert not (tmp_path / "final.extxyz").exists()
    one = run_md(crystal(), PairPotential(), settings)
    assert same_bits(one.atoms, resume_md(tmp_path, PairPotential()).atoms)
    assert ase.io.read(tmp_path / "final.extxyz").info["step"] == 30


def test_a_run_outside_the_main_thread_works_without_signals():
    results = []
    thread = threading.Thread(
        target=lambda: results.append(run_md(crystal(), PairPotential(), MDSettings("nve", steps=2)))
    )
    thread.start()
    thread.join()
    assert results[0].steps == 2


def test_a_calculator_with_a_memory_restarts_exactly_at_a_regular_checkpoint(tmp_path, monkeypatch):
    settings = MDSettings("nve", temperature_K=900, steps=20)
    one = run_md(crystal(), RememberingPotential(), settings, output_of(tmp_path / "whole", checkpoint_every=10))
    half = output_of(tmp_path / "half", checkpoint_every=10)
    run_md(crystal(), RememberingPotential(), replace(settings, steps=10), half)
    assert same_bits(one.atoms, resume_md(half.folder, RememberingPotential(), steps=20).atoms)
    # What keeps them together is that the unbroken run forgets, too.
    monkeypatch.setattr(simulation.Simulation, "_forget", lambda self: None)
    other = run_md(crystal(), RememberingPotential(), settings, output_of(tmp_path / "other", checkpoint_every=10))
    assert not same_bits(one.atoms, other.atoms)


@pytest.mark.parametrize("suffix", ["extxyz", "traj", "h5"])
def test_a_killed_run_is_resumed_to_the_same_end(tmp_path, suffix):
    script = textwrap.dedent(f"""
        import sys
        sys.path[:0] = {[str(Path(__file__).parents[1]), str(Path(run_module.__file__).parents[2])]!r}
        from pathlib import Path
        from toy import PairPotential
        from ru_calc.structures.build import build_structure
        from ru_calc.md import MDOutput, MDSettings, run_md
        output = MDOutput(Path({str(tmp_path / "killed")!r}), "md.{suffix}", trajectory_every=1, checkpoint_every=7)
        atoms = build_structure("fcc", a_A=3.75, repeat=(2, 2, 2))
        run_md(atoms, PairPotential(), MDSettings("nvt-bussi", steps=100000, log_every=1), output)
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    log = tmp_path / "killed" / "thermo.csv"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and log.read_bytes().count(b"\n") > 20:
            break
        time.sleep(0.01)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    reached = load_checkpoint(tmp_path / "killed").step
    total = reached + 5
    resumed = resume_md(tmp_path / "killed", PairPotential(), steps=total)
    whole = MDOutput(tmp_path / "whole", f"md.{suffix}", trajectory_every=1, checkpoint_every=7)
    one = run_md(crystal(), PairPotential(), MDSettings("nvt-bussi", steps=total, log_every=1), whole)
    assert reached > 0 and same_bits(one.atoms, resumed.atoms)
    assert log.read_bytes() == (tmp_path / "whole" / "thermo.csv").read_bytes()
    ours, theirs = (frames_of(tmp_path / name / f"md.{suffix}") for name in ("killed", "whole"))
    assert len(ours) == len(theirs) == total + 1
    np.testing.assert_array_equal(ours[-1][1], theirs[-1][1])


def test_another_calculator_is_not_taken_for_the_one_that_began(tmp_path):
    run_md(crystal(), PairPotential(), MDSettings(steps=2), output_of(tmp_path))
    with pytest.raises(DataError, match="use the model of the run"):
        resume_md(tmp_path, FreeFlight(), steps=4)


def test_a_restart_of_nothing_of_rubbish_or_of_a_finished_run_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no checkpoint.npz"):
        resume_md(tmp_path, PairPotential())
    run_md(crystal(), PairPotential(), MDSettings(steps=2), output_of(tmp_path))
    with pytest.raises(SettingsError, match="has already done 2 steps"):
        resume_md(tmp_path, PairPotential())
    path = tmp_path / "checkpoint.npz"
    whole, before = path.read_bytes(), load_checkpoint(tmp_path)
    for damaged in (whole[: len(whole) // 2], b"", b"rubbish"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged or from another program"):
            resume_md(tmp_path, PairPotential(), steps=4)
    for place in np.random.default_rng(0).integers(len(whole), size=60):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        try:  # dates and other fields of the archive say nothing of the run
            found = load_checkpoint(tmp_path)
        except DataError as problem:
            assert "damaged" in str(problem)
            continue
        assert (found.step, found.rng) == (2, before.rng)
        assert np.array_equal(found.atoms.get_momenta(), before.atoms.get_momenta())
    path.write_bytes(whole)
    (tmp_path / "thermo.csv").write_text("step\n")
    with pytest.raises(OutputError, match=r"bytes, but \d+ were written"):
        resume_md(tmp_path, PairPotential(), steps=4)


# ---------------------------------------------------------------------------------------------- unphysical


def not_a_number(at_call):
    def spoil(call, results):
        if call >= at_call:
            results["forces"][5] = np.nan

    return spoil


def infinite_energy(call, results):
    if call >= 4:
        results["energy"] = results["free_energy"] = np.inf


def rising_energy(call, results):
    results["energy"] = results["free_energy"] = 2.0 * call


def kick(call, results):
    if call == 4:
        results["forces"][7] = 1e4


def give_up(call, results):
    if call >= 4:
        raise CalculationFailed("forces of atom 3 are nan")


@pytest.mark.parametrize(
    ("spoil", "changes", "cause"),
    [
        (not_a_number(4), {}, r"the force of atom 5 is \[nan nan nan\]"),
        (infinite_energy, {}, r"the potential energy is inf eV"),
        (rising_energy, {}, r"the conserved quantity ran away by \+0.250 eV/atom \(limit 0.2"),
        (kick, {"max_drift_eV_per_atom": 1e9}, r"the temperature ran away to \d+ K \(limit 20000 K\)"),
        (give_up, {}, r"the forces cannot be evaluated: forces of atom 3 are nan"),
    ],
)
def test_a_run_stops_at_the_first_unphysical_step_and_names_the_cause(tmp_path, spoil, changes, cause):
    atoms = crystal()
    settings = MDSettings("nve", temperature_K=10, steps=50, log_every=1, **changes)
    with pytest.raises(UnphysicalError, match=cause) as caught:
        run_md(atoms, FreeFlight(spoil), settings, output_of(tmp_path))
    step = int(str(caught.value).split()[1])
    assert "last_good.extxyz" in str(caught.value)
    good = ase.io.read(tmp_path / "last_good.extxyz")
    assert good.info["step"] == step - 1
    np.testing.assert_allclose(good.positions, atoms.positions, atol=1e-7)
    rows = list(csv.DictReader(open(tmp_path / "thermo.csv")))
    assert int(rows[-1]["step"]) == step - 1
    assert not (tmp_path / "final.extxyz").exists()


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_overlapping_atoms_stop_any_ensemble(ensemble):
    atoms = build_structure("fcc", a_A=6.0, repeat=(2, 2, 2))
    momenta = np.zeros((32, 3))
    momenta[0] = 0.5 * 101.07 * (atoms.positions[1] - atoms.positions[0])  # Å per Å and ASE time unit: meets at 2
    momenta[2:] = -momenta[0] / 30
    atoms.set_momenta(momenta)
    settings = MDSettings(ensemble, temperature_K=1e5, steps=500, max_temperature_K=1e9, max_drift_eV_per_atom=1e9)
    with pytest.raises(UnphysicalError, match=r"atoms \d+ and \d+ are 0\.\d+ Å apart \(limit 1.0 Å\)"):
        run_md(atoms, FreeFlight(), settings)
    assert atoms.get_distance(0, 1, mic=True) > 1.0


def test_no_overlap_is_missed_and_searches_are_rare():
    rng = np.random.default_rng(0)
    atoms, monitor = build_structure("fcc", a_A=5.0, repeat=(2, 2, 2)), Monitor(MDSettings(), 0.0, 1000.0)
    overlaps = 0
    for _ in range(300):
        atoms.positions += rng.normal(0, 0.05, (32, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 1e-3, (3, 3))), scale_atoms=True)
        nearest = atoms.get_all_distances(mic=True)[np.triu_indices(32, 1)].min()
        cause = monitor.cause(atoms, 0.0, np.zeros((32, 3)), 0.0)
        overlaps += nearest < 1.0
        assert (f"are {nearest:.3f} Å apart (limit 1.0 Å)" in cause) if nearest < 1.0 else cause is None
    assert overlaps and 0 < monitor.neighbors.rebuilds < 150


def test_an_unphysical_first_frame_leaves_no_files(tmp_path):
    folder = tmp_path / "run"
    for atoms, calculator, cause in (
        (build_structure("dimer", distance_A=0.4), PairPotential(), "step 0 .*0.400 Å apart.*another structure"),
        (crystal(), FreeFlight(not_a_number(1)), "step 0 .*force of atom 5"),
    ):
        with pytest.raises(UnphysicalError, match=cause):
            run_md(atoms, calculator, MDSettings("nve", steps=5), MDOutput(folder))
    assert not folder.exists()


def test_a_cell_that_explodes_is_named():
    atoms = build_structure("fcc", a_A=6.0, repeat=(2, 2, 2))
    settings = MDSettings(
        "npt-iso", temperature_K=3000, barostat_time_fs=5.0, steps=3000, min_distance_A=0.01, max_drift_eV_per_atom=1e9
    )
    with pytest.raises(UnphysicalError, match="the cell volume is"):
        run_md(atoms, FreeFlight(), settings)


# ---------------------------------------------------------------------------------------------- files


def test_h5md_holds_what_the_standard_asks_for(tmp_path):
    # nongnu.org/h5md: structure of H5MD 1.1.
    atoms = crystal()
    run_md(atoms, PairPotential(), MDSettings("npt-cell", steps=6), output_of(tmp_path, trajectory="md.h5"))
    with h5py.File(tmp_path / "md.h5") as file:
        assert file["h5md"].attrs["version"].tolist() == [1, 1]
        assert dict(file["h5md/creator"].attrs) == {"name": "ru-calc", "version": ru_calc.__version__}
        assert "name" in file["h5md/author"].attrs
        group = file["particles/all"]
        assert group["box"].attrs["dimension"] == 3
        assert [b.decode() for b in group["box"].attrs["boundary"]] == ["periodic"] * 3
        assert (group["species"][:] == 44).all()
        for name, unit in (("position", "Angstrom"), ("velocity", "Angstrom fs-1"), ("force", "kJ mol-1 Angstrom-1")):
            assert group[name]["value"].shape == (3, 32, 3) and group[name]["value"].attrs["unit"] == unit
            assert group[name]["step"][:].tolist() == [0, 3, 6]
            np.testing.assert_allclose(group[name]["time"][:], [0, 6, 12])
            assert group[name]["time"].attrs["unit"] == "fs"
        np.testing.assert_array_equal(group["position/value"][-1], atoms.positions)
        np.testing.assert_array_equal(group["box/edges/value"][-1], atoms.cell.array)
        np.testing.assert_allclose(group["velocity/value"][-1], atoms.get_velocities() * units.fs)
        # 1 eV = 96.4853 kJ/mol
        np.testing.assert_allclose(group["force/value"][-1], 96.4853 * atoms.get_forces(), rtol=1e-6)
        assert file["observables/potential_energy/value"][-1] == pytest.approx(atoms.get_potential_energy())
    assert not (tmp_path / "md.h5.part").exists()


@pytest.mark.parametrize("suffix", ["extxyz", "traj"])
def test_frames_carry_momenta_energy_and_forces(tmp_path, suffix):
    atoms = crystal()
    run_md(atoms, PairPotential(), MDSettings("nve", steps=6), output_of(tmp_path, trajectory=f"md.{suffix}"))
    last = ase.io.read(tmp_path / f"md.{suffix}", -1)
    assert last.get_potential_energy() == pytest.approx(atoms.get_potential_energy())
    np.testing.assert_allclose(last.get_forces(), atoms.get_forces(), atol=1e-7)
    np.testing.assert_allclose(last.get_momenta(), atoms.get_momenta(), atol=1e-7)


def test_the_log_has_units_in_its_header_and_gaps_where_nothing_is_known(tmp_path):
    run_md(build_structure("dimer"), PairPotential(), MDSettings("nve", steps=4, log_every=2), output_of(tmp_path))
    lines = (tmp_path / "thermo.csv").read_text().splitlines()
    assert lines[0].startswith("step,time_ps,temperature_K,potential_eV_per_atom,")
    rows = list(csv.DictReader(lines))
    assert [row["step"] for row in rows] == ["0", "2", "4"]
    assert [row["pressure_GPa"] for row in rows] == [""] * 3


def test_an_earlier_run_is_not_overwritten_unless_told(tmp_path):
    settings = MDSettings("nve", steps=2)
    run_md(crystal(), PairPotential(), settings, output_of(tmp_path))
    before = (tmp_path / "thermo.csv").read_bytes()
    with pytest.raises(OutputError, match="already exists: give another output folder"):
        run_md(crystal(), PairPotential(), replace(settings, seed=1), output_of(tmp_path))
    assert (tmp_path / "thermo.csv").read_bytes() == before
    other = replace(settings, steps=0, temperature_K=400)
    run_md(crystal(), PairPotential(), other, output_of(tmp_path, overwrite=True))
    assert (tmp_path / "thermo.csv").read_bytes() != before
    assert len(ase.io.read(tmp_path / "md.extxyz", ":")) == 1


def test_a_file_in_the_place_of_the_folder_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    calculator = FreeFlight()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="is a file"):
            run_md(crystal(), calculator, MDSettings("nve", steps=2), MDOutput(folder))
    assert calculator.calls == 0


# ---------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ensemble": "nvt"}, "ensemble is 'nvt'; it must be one of nve, nvt-langevin"),
        ({"timestep_fs": -1.0}, "timestep_fs is -1.0; it must be positive"),
        ({"timestep_fs": float("nan")}, "timestep_fs is nan"),
        ({"temperature_K": -5.0}, "temperature_K is -5.0; it must be above 0"),
        ({"temperature_K": 0.0}, "above 0 with a thermostat"),
        ({"temperature_end_K": float("inf")}, "temperature_end_K is inf"),
        ({"steps": -1}, "steps is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"log_every": 0}, "log_every is 0"),
        ({"pressure_GPa": 1.0}, "pressure_GPa is 1.0, but it does not apply to nvt-bussi"),
        ({"friction_per_ps": 1.0}, "friction_per_ps is 1.0, but it does not apply to nvt-bussi"),
        ({"ensemble": "nve", "thermostat_time_fs": 10.0}, "not apply to nve"),
        ({"ensemble": "nve", "temperature_end_K": 10.0}, "not apply to nve"),
        ({"ensemble": "nvt-nhc", "barostat_time_fs": 10.0}, "not apply to nvt-nhc"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        MDSettings(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trajectory": "md.xyzz"}, "must be a file name that ends in .extxyz, .traj, .h5"),
        ({"trajectory": "a/md.extxyz"}, "a file name without folders, other than final.extxyz"),
        ({"trajectory": "final.extxyz"}, "a file name without folders, other than final.extxyz"),
        ({"trajectory_every": 0}, "trajectory_every is 0"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0"),
    ],
)
def test_outputs_that_make_no_sense_are_refused(tmp_path, changes, message):
    with pytest.raises(SettingsError, match=message):
        MDOutput(tmp_path, **changes)


def test_runs_that_cannot_be_are_refused():
    class Stressless(FreeFlight):
        implemented_properties = ("energy", "forces")

    with pytest.raises(DataError, match="no atoms"):
        run_md(crystal()[:0], FreeFlight())
    with pytest.raises(SettingsError, match="needs a cell that is periodic in three directions"):
        run_md(build_structure("slab"), FreeFlight(), MDSettings("npt-iso", steps=1))
    with pytest.raises(SettingsError, match="needs the stress, which Stressless does not provide"):
        run_md(crystal(), Stressless(), MDSettings("npt-iso", steps=1))
    with pytest.raises(SettingsError, match="have 0 degrees of freedom; use nvt-langevin or nve"):
        run_md(build_structure("atom"), FreeFlight(), MDSettings("nvt-bussi", steps=1))


def test_a_lone_atom_flies_in_nve_and_is_heated_by_langevin():
    assert run_md(build_structure("atom"), FreeFlight(), MDSettings("nve", steps=3)).steps == 3
    atom = build_structure("atom")
    run_md(atom, FreeFlight(), MDSettings("nvt-langevin", steps=20))
    assert atom.get_kinetic_energy() > 0


def test_a_script_without_an_output_folder_ends_at_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            run_md(crystal(), Stopping(at_call=8), MDSettings("nvt-langevin", steps=30))
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_drift_is_the_slope_of_the_conserved_quantity():
    time_ps = np.linspace(0.0, 2.0, 9)
    rows = {"time_ps": time_ps, "conserved_eV_per_atom": -9.0 + 3e-4 * time_ps}
    assert MDResult(Atoms(), rows, 8, False, 1.0).drift_eV_per_atom_per_ps == pytest.approx(3e-4, rel=1e-9)
    short = {name: values[:2] for name, values in rows.items()}
    assert np.isnan(MDResult(Atoms(), short, 1, False, 1.0).drift_eV_per_atom_per_ps)


@pytest.mark.parametrize("trajectory", ["md.extxyz", "md.h5"])
def test_a_run_that_was_killed_between_its_last_checkpoint_and_its_last_file_only_has_to_end(tmp_path, trajectory):
    settings = MDSettings("nve", temperature_K=300, steps=10)
    run_md(crystal(), PairPotential(), settings, output_of(tmp_path, checkpoint_every=5, trajectory=trajectory))
    expected = (tmp_path / "final.extxyz").read_bytes()
    (tmp_path / "final.extxyz").unlink()
    assert resume_md(tmp_path, PairPotential()).steps == 10
    assert (tmp_path / "final.extxyz").read_bytes() == expected
    with pytest.raises(SettingsError, match="has already done 10 steps"):
        resume_md(tmp_path, PairPotential())
