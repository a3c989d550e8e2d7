"""Dynamics in LAMMPS: as in ASE, the same on any number of processes, conserved, and restarted exactly."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from ru_calc import RuSchNet
from ru_calc.checks.structures import crystal
from ru_calc.errors import OutputError, SettingsError
from ru_calc.lammps.cells import box_of, write_data
from ru_calc.lammps.run import is_whole, newest_restart, run_script
from ru_calc.lammps.script import RESTARTS, SCRIPT, ScriptOutput, write_script
from ru_calc.md.settings import ENSEMBLES, MDSettings
from ru_calc.md.velocities import draw_momenta
from ru_calc.structures.build import build_structure

pytestmark = pytest.mark.usefixtures("lammps_plugin")
Write = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Writes the folder of a run of the model `fast` in float64."""

    def write(name: str, ensemble: str, atoms: Atoms | None = None, tilted: bool = False, **settings: float) -> Path:
        folder = tmp_path / name
        settings = {"temperature_K": 900, "steps": 40, "log_every": 10, **settings}
        atoms = atoms or crystal(32)
        write_script(atoms, MDSettings(ensemble, **settings), ScriptOutput(folder, 20, 20), "fast", "float64")
        if tilted:  # so that it can become so
            write_data(folder / "ru.data", atoms, box_of(atoms), tilted=True)
        return folder / SCRIPT

    return write


def run(script: Path, ranks: int = 1, **options) -> None:
    run_script(script, ranks, **options)


def last_frame(folder: Path) -> np.ndarray:
    """Rows id type x y z vx vy vz of the last frame of the newest trajectory, sorted by id."""
    newest = max(folder.glob("ru.*.dump"), key=lambda path: int(path.suffixes[0][1:]))
    return np.array([line.split() for line in newest.read_text().rpartition("ITEM: ATOMS")[2].splitlines()[1:]], float)


def thermo(folder: Path, name: str = "ru.0.log") -> np.ndarray:
    """Rows step, time, T, potential and total energy, conserved, pressure, volume."""
    text = (folder / name).read_text().partition("   Step ")[2].partition("Loop time")[0]
    return np.array([line.split() for line in text.splitlines()[1:] if line], float)


def test_nve_is_that_of_ase(written: Write) -> None:
    """To the digits of an atomic unit of mass, which LAMMPS takes for 5e-8 lighter."""
    atoms = crystal(32)
    draw_momenta(atoms, 900, np.random.default_rng(0), "nve")
    script = written("nve", "nve", atoms)
    run(script, 2)
    atoms.calc = RuSchNet("fast", dtype="float64")
    VelocityVerlet(atoms, 2 * units.fs).run(40)
    box, frame = box_of(atoms), last_frame(script.parent)
    fractions = (frame[:, 2:5] - atoms.positions @ box.rotation) @ np.linalg.inv(box.cell)
    assert np.abs((fractions - np.round(fractions)) @ box.cell).max() < 1e-7
    np.testing.assert_allclose(frame[:, 5:], atoms.get_velocities() @ box.rotation * 1000 * units.fs, atol=1e-5)


def test_the_error_of_the_energy_falls_with_the_square_of_the_step(written: Write) -> None:
    spans = []
    for timestep_fs, steps in ((4.0, 40), (2.0, 80)):
        script = written(f"{timestep_fs}", "nve", timestep_fs=timestep_fs, steps=steps, log_every=1)
        run(script)
        spans.append(np.ptp(thermo(script.parent)[:, 4]))
    assert spans[0] / spans[1] == pytest.approx(4.0, rel=0.1)


def test_npt_is_the_same_on_any_number_of_processes(written: Write) -> None:
    found = []
    for ranks in (1, 2, 4):
        script = written(f"{ranks}", "npt-cell", pressure_GPa=2.0)
        run(script, ranks)
        found.append((thermo(script.parent), last_frame(script.parent)[:, 2:]))
    for rows, frame in found[1:]:
        assert np.array_equal(rows, found[0][0]), "all digits that are printed"
        np.testing.assert_allclose(frame, found[0][1], atol=2e-8)


def test_a_crystal_that_is_sheared_while_domains_move_ends_where_the_engine_sees_it(written: Write) -> None:
    """The tilt grows until LAMMPS flips the cell; two domains are balanced anew on the way."""
    script = written("sheared", "nve", crystal(64), steps=160, tilted=True)
    acting = "fix shear all deform 1 xy erate 4.0 remap v flip yes\nfix even all balance 30 1.0 shift xyz 5 1.1\n"
    end = "unfix shear\nunfix even\nrun 0\nwrite_dump all custom end id xu yu zu modify sort id format float %.17g\n"
    end += 'print "cell $(lx:%.17g) $(ly:%.17g) $(lz:%.17g) $(xy:%.17g) $(pe:%.17g)" file ru.cell\n'
    script.write_text(script.read_text().replace("thermo_style", f"{acting}thermo_style") + end)
    run(script, 2)
    lx, ly, lz, xy, energy = map(float, (script.parent / "ru.cell").read_text().split()[1:])
    positions = np.loadtxt(script.parent / "end", skiprows=9)[:, 1:]
    atoms = Atoms(f"Ru{len(positions)}", positions, cell=[[lx, 0, 0], [xy, ly, 0], [0, 0, lz]], pbc=True)
    dump = (script.parent / "ru.0.dump").read_text()
    tilts = [float(line.split()[-1]) for line in re.findall(r"BOX BOUNDS xy xz yz.*\n(.*)\n", dump)]
    assert max(tilts) > 0.3 * lx and np.min(np.diff(tilts)) < -0.5 * lx, "it was flipped"
    assert energy == pytest.approx(RuSchNet("fast", dtype="float64").get_potential_energy(atoms), rel=1e-12)


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_every_ensemble_conserves_and_keeps_its_temperature(ensemble: str, written: Write) -> None:
    script = written(ensemble, ensemble, steps=200)
    run(script)
    rows = thermo(script.parent)
    assert np.ptp(rows[:, 5]) / 32 < 2e-3
    assert 300 < rows[10:, 2].mean() < 1200
    assert (np.ptp(rows[:, 7]) > 0) == ensemble.startswith("npt")


@pytest.mark.parametrize("ensemble", ["nve", "nvt-bussi", "nvt-nhc", "npt-iso"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_restart_goes_on_exactly(ensemble: str, ranks: int, written: Write) -> None:
    """To the last bit of the file that is written at the end; in a tilted cell LAMMPS would round once more."""
    atoms = build_structure("hcp", n_atoms=64)
    whole, cut = (written(name, ensemble, atoms, steps=60) for name in ("whole", "cut"))
    run(whole, ranks)
    run(cut, ranks, variables={"steps": "47"} if ensemble == "nve" else {"steps": "40"})
    run(cut, ranks, restart=True)
    assert np.array_equal(thermo(cut.parent, "ru.40.log")[:, 1:], thermo(whole.parent)[4:, 1:])
    assert (whole.parent / "ru.final.data").read_text() == (cut.parent / "ru.final.data").read_text()


def test_a_restart_file_that_is_not_whole_is_passed_over(written: Write) -> None:
    script = written("run", "nve")
    run(script)
    newest = newest_restart(script.parent)
    assert newest is not None and newest.name in RESTARTS and is_whole(newest)
    newest.write_bytes(newest.read_bytes()[:-100])
    older = newest_restart(script.parent)
    assert older is not None and older.name == ({*RESTARTS} - {newest.name}).pop()
    older.unlink()
    assert newest_restart(script.parent) is None


def test_a_run_that_has_begun_is_not_begun_again(written: Write) -> None:
    script = written("run", "nve")
    run(script)
    with pytest.raises(OutputError, match=r"has begun: go on by --restart, or remove its ru\.[ab]\.restart"):
        run(script)
    with pytest.raises(OutputError, match=r"holds in\.ru already"):
        written("run", "nve")


def test_a_script_without_the_variable_cannot_be_restarted(written: Write) -> None:
    script = written("run", "nve")
    script.write_text(script.read_text().replace("${begin}", "read_data ru.data"))
    with pytest.raises(SettingsError, match="cannot be restarted, as it does not begin by"):
        run(script, restart=True)
