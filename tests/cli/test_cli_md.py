"""`ru-calc md` and `ru-calc relax` as a user types them."""

import signal
from dataclasses import fields
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from click.testing import CliRunner
from conftest import small_model
from toy import FreeFlight, PairPotential, Stopping, UnsurePotential

import ru_calc.cli.md
import ru_calc.cli.relax
import ru_calc.cli.shared
from ru_calc.calculator import RuCalculator
from ru_calc.cli import main
from ru_calc.md import MDSettings, resume_md, run_md
from ru_calc.md.settings import MDOutput
from ru_calc.modelfiles.load import save_model
from ru_calc.structures.build import build_structure, structure_names

CRYSTAL = ["fcc", "--repeat", "2", "2", "2", "--a-A", "3.75"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder, and a toy potential in the place of the model."""
    monkeypatch.chdir(tmp_path)
    for module in (ru_calc.cli.md, ru_calc.cli.relax):
        monkeypatch.setattr(module, "make_calculator", lambda *args, **kwargs: PairPotential())
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(result, message, code=1):
    assert result.exit_code == code, result.output
    # "Usage: …" and "Try …" stand around a usage error; the error itself is one line.
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and message in errors[0], result.output
    assert "Traceback" not in result.output


# ---------------------------------------------------------------------------------------------- md


def test_a_run_prints_a_row_per_logged_step_and_writes_its_folder(here):
    result = call("md", *CRYSTAL, "--steps", 20, "--log-every", 10, "--every", 5)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == ("32 atoms (fcc), nvt-bussi at 300 K, 20 steps of 2 fs, model default in float32, toy engine")
    assert [line.split()[0] for line in lines[2:5]] == ["0", "10", "20"]
    first = lines[2].split()
    assert first[1:3] == ["0.000", "300.0"] and first[6] == "–" and int(lines[4].split()[6]) > 0
    assert lines[-1] == "written to ru-md"
    files = {path.name for path in (here / "ru-md").iterdir()}
    assert files == {"thermo.csv", "md.extxyz", "checkpoint.npz", "final.extxyz"}
    assert len(ase.io.read(here / "ru-md" / "md.extxyz", ":")) == 5


def test_without_an_argument_it_is_bulk_hcp_at_300_K_and_each_run_has_its_own_folder(here, monkeypatch):
    # The toy potential knows no hcp in this cell.
    monkeypatch.setattr(ru_calc.cli.md, "make_calculator", lambda *args, **kwargs: FreeFlight())
    for folder in ("ru-md", "ru-md-2"):
        result = call("md", "--steps", 2, "--log-every", 1)
        assert result.exit_code == 0, result.output
        assert "144 atoms (hcp), nvt-bussi at 300 K" in result.stdout
        assert result.stdout.splitlines()[-1] == f"written to {folder}"


def test_the_first_command_a_user_types_needs_no_options():
    defaults = {parameter.name: parameter.default for parameter in ru_calc.cli.md.command.params}
    assert defaults["temperature_K"] == MDSettings().temperature_K == 300
    names = [field.name for field in fields(MDSettings) if field.name in defaults]
    assert len(names) > 12
    for name in names:
        assert getattr(MDSettings(), name) == defaults[name] or not isinstance(defaults[name], (int, float, str)), name


def test_every_ensemble_and_its_options_reach_the_run(here):
    for ensemble, extra in (
        ("nve", []),
        ("nvt-langevin", ["--friction-per-ps", "5"]),
        ("nvt-bussi", ["--thermostat-time-fs", "50", "--temperature-end-K", "400"]),
        ("nvt-nhc", ["--thermostat-time-fs", "50"]),
        ("npt-iso", ["--pressure-GPa", "2", "--barostat-time-fs", "300"]),
        ("npt-cell", []),
    ):
        result = call("md", *CRYSTAL, "--ensemble", ensemble, "--time-ps", 0.01, "-o", ensemble, *extra)
        assert result.exit_code == 0, result.output
        assert f"{ensemble} at 300 K" in result.stdout and "5 steps of 2 fs" in result.stdout


def test_a_restart_is_the_unbroken_run(here):
    run = [*CRYSTAL, "--log-every", "2", "--every", "3", "--temperature-K", "600"]
    assert call("md", *run, "--steps", 24, "-o", "whole").exit_code == 0
    assert call("md", *run, "--steps", 11, "-o", "half").exit_code == 0
    result = call("md", "--restart", "half", "--steps", 24)
    assert result.exit_code == 0 and "from step 11" in result.stdout, result.output
    for name in ("thermo.csv", "md.extxyz", "final.extxyz"):
        assert (here / "whole" / name).read_bytes() == (here / "half" / name).read_bytes()
    other = [*run, "--seed", "1"]
    assert call("md", *other, "--steps", 24, "-o", "other").exit_code == 0
    assert (here / "whole" / "md.extxyz").read_bytes() != (here / "other" / "md.extxyz").read_bytes()


def test_ctrl_c_says_how_to_go_on_and_that_works(here, monkeypatch):
    monkeypatch.setattr(ru_calc.cli.md, "make_calculator", lambda *args, **kwargs: Stopping(at_call=6))
    result = call("md", *CRYSTAL, "--steps", 20, "-o", "run")
    assert result.exit_code == 130
    command = result.stderr.splitlines()[-1].partition("resume with: ru-calc ")[2]
    monkeypatch.setattr(ru_calc.cli.md, "make_calculator", lambda *args, **kwargs: PairPotential())
    assert call(*command.split()).exit_code == 0
    assert ase.io.read(here / "run" / "final.extxyz").info["step"] == 20


def test_what_cannot_change_in_a_restart_is_named(here):
    assert call("md", *CRYSTAL, "--steps", 2, "-o", "run").exit_code == 0
    for extra, name in (
        (["--temperature-K", "500"], "--temperature-K"),
        (["--dtype", "float64"], "--dtype"),
        (["-o", "elsewhere"], "--output"),
    ):
        refused(call("md", "--restart", "run", "--steps", 4, *extra), f"{name} cannot change in a restart", code=2)
    refused(call("md", "hcp", "--restart", "run"), "STRUCTURE cannot change in a restart", code=2)
    refused(call("md", "--restart", "run"), "has already done 2 steps")
    refused(call("md", "--restart", "nowhere"), "there is no checkpoint.npz in nowhere")


def test_the_model_of_a_run_is_found_where_the_run_was_started_or_lies_or_is_given(tmp_path, monkeypatch):
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path / "x")
    save_model("my.safetensors", small_model(), {})
    assert call("md", *CRYSTAL, "--steps", 2, "--model", "my.safetensors", "-o", "run").exit_code == 0
    monkeypatch.chdir(tmp_path)
    assert call("md", "--restart", "x/run", "--steps", 4).exit_code == 0  # where it was started
    Path("x").rename("y")
    assert call("md", "--restart", "y/run", "--steps", 6).exit_code == 0  # beside the run
    Path("y/my.safetensors").rename("moved.safetensors")
    refused(call("md", "--restart", "y/run", "--steps", 8), "no model 'my.safetensors'")
    assert call("md", "--restart", "y/run", "--steps", 8, "--model", "moved.safetensors").exit_code == 0
    save_model("y/my.safetensors", small_model(seed=1), {})
    for given in ([], ["--model", "y/my.safetensors"], ["--model", "default"]):
        result = call("md", "--restart", "y/run", "--steps", 10, *given)
        refused(result, "give the model of the run by --model")
        assert "another one is in" in result.stderr


def test_an_unphysical_run_ends_with_one_line_and_the_last_good_frame(here, monkeypatch):
    def spoil(call, results):
        if call > 5:
            results["forces"][3] = np.inf

    monkeypatch.setattr(ru_calc.cli.md, "make_calculator", lambda *args, **kwargs: FreeFlight(spoil))
    result = call("md", "fcc", "--n-atoms", 32, "--ensemble", "nve", "-o", "run", "--steps", 50)
    refused(result, "the force of atom 3 is [inf inf inf]")
    assert "run/last_good.extxyz" in result.stderr and (here / "run" / "last_good.extxyz").is_file()


def test_the_uncertainty_has_a_column_where_the_model_knows_it_and_is_warned_of_once(here, monkeypatch):
    hot = ("md", *CRYSTAL, "--temperature-K", 1500, "--steps", 40, "--log-every", 10)
    assert "u (eV/Å)" not in call(*hot).stdout
    monkeypatch.setattr(ru_calc.cli.md, "make_calculator", lambda *args, **kwargs: UnsurePotential())
    result = call(*hot)
    assert result.exit_code == 0 and result.stdout.splitlines()[1].endswith("u (eV/Å)")
    assert float(result.stdout.splitlines()[4].split()[-1]) > 0.1
    assert result.stderr.count("warning: step 10") == result.stderr.count("warning") == 1


def test_a_run_that_stops_when_uncertain_ends_with_one_line_and_the_frame(here, monkeypatch):
    hot = ("md", *CRYSTAL, "--temperature-K", 1500, "--steps", 40)
    refused(call(*hot, "--stop-when-uncertain"), "has no uncertainty; take a model that has one")
    assert not list(here.iterdir())
    monkeypatch.setattr(ru_calc.cli.md, "make_calculator", lambda *args, **kwargs: UnsurePotential())
    for extra, limit in (([], "0.100"), (["0.25"], "0.250")):
        refused(call(*hot, "-o", limit, "--stop-when-uncertain", *extra), f"above {limit} eV/Å; the frame is in")
        assert ase.io.read(here / limit / "uncertain.extxyz").get_forces().any()
    assert call(*hot, "--stop-when-uncertain", 90).exit_code == 0
    refused(call("md", "--stop-when-uncertain", "hcp"), "takes a number in eV/Å or nothing: put STRUCTURE", code=2)


def test_slabs_and_free_particles_show_a_dash_for_the_pressure(here):
    result = call("md", "sphere", "--diameter-A", 8, "--steps", 2, "--log-every", 1, "--ensemble", "nve")
    assert result.exit_code == 0, result.output
    assert all(line.split()[5] == "–" for line in result.stdout.splitlines()[2:5])


def test_a_file_keeps_its_velocities_unless_new_ones_are_asked_for(here):
    atoms = build_structure("fcc", a_A=3.75, repeat=(2, 2, 2))
    run_md(atoms, PairPotential(), MDSettings("nve", temperature_K=77, steps=0))
    ase.io.write("start.extxyz", atoms)
    for extra, temperature in (([], 77.0), (["--new-velocities"], 300.0)):
        result = call("md", "start.extxyz", "--steps", 1, *extra)
        assert float(result.stdout.splitlines()[2].split()[2]) == pytest.approx(temperature, abs=0.1), result.output
    result = call("md", "start.extxyz", "--steps", 1, "--repeat", 2, 1, 1)
    assert "64 atoms" in result.stdout


def bad_files(folder: Path):
    (folder / "empty.extxyz").write_text("")
    (folder / "noise.extxyz").write_text("no structure at all\n")
    (folder / "cut.extxyz").write_text('3\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3\nRu 0 0 0\n')
    ase.io.write(folder / "gold.extxyz", Atoms("RuAu", positions=[[0, 0, 0], [0, 0, 2.5]]))
    ase.io.write(folder / "nan.extxyz", Atoms("Ru2", positions=[[0, 0, 0], [0, 0, np.nan]]))
    ase.io.write(folder / "flat.extxyz", Atoms("Ru", cell=[3, 3, 0], pbc=(True, True, False)))
    text = (folder / "flat.extxyz").read_text().replace('pbc="T T F"', 'pbc="T T T"')
    (folder / "flat.extxyz").write_text(text)


BAD_INPUT = [
    (["nowhere.extxyz"], "there is no file or structure 'nowhere.extxyz'; structures are hcp"),
    (["empty.extxyz"], "empty.extxyz contains no frames; give another file"),
    (["noise.extxyz"], "noise.extxyz cannot be read ("),
    (["cut.extxyz"], "cut.extxyz cannot be read ("),
    (["gold.extxyz"], "atom 1 is Au; this potential is for ruthenium only"),
    (["nan.extxyz"], "position of atom 1 is [ 0. 0. nan]"),
    (["flat.extxyz"], "are zero or linearly dependent"),
    (["gold.extxyz", "--a-A", "2.7"], "--a-A applies to named structures only"),
    (["hcp", "--diameter-A", "9"], "diameter_A does not apply to the structure 'hcp'"),
    (["hcp", "--repeat", "1", "0", "1"], "repeat is (1, 0, 1)"),
]


@pytest.mark.parametrize("command", ["md", "relax"])
@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT)
def test_bad_structures_get_one_line_and_leave_nothing(here, command, arguments, message):
    bad_files(here)
    before = sorted(here.iterdir())
    refused(call(command, *arguments), message)
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--timestep-fs", "-1"], "timestep_fs is -1.0; it must be positive", 1),
        (["--temperature-K", "-1"], "temperature_K is -1.0", 1),
        (["--steps", "-5"], "steps is -5", 1),
        (["--time-ps", "-1"], "--time-ps is -1.0", 1),
        (["--pressure-GPa", "1"], "pressure_GPa is 1.0, but it does not apply to nvt-bussi", 1),
        (["--trajectory", "md.xyz2"], "a file name that ends in .extxyz, .traj, .h5", 1),
        (["--every", "0"], "trajectory_every is 0", 1),
        (["--ensemble", "nvt"], "'nvt' is not one of", 2),
        (["--dtype", "float16"], "'float16' is not one of", 2),
        (["--colour", "red"], "--colour", 2),
        (["--steps", "many"], "'many' is not a valid integer", 2),
        (["--steps", "5", "--time-ps", "1"], "give one of them", 2),
        (["-o", "file"], "is a file: give another output folder", 1),
        (["-o", "file/below"], "is a file: give another output folder", 1),
    ],
)
def test_bad_options_of_md_get_one_line_and_leave_nothing(here, arguments, message, code):
    (here / "file").write_text("")
    refused(call("md", *CRYSTAL, *arguments), message, code)
    assert [path.name for path in here.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_made_is_named_as_it_was_asked_for(here, monkeypatch):
    def no_file(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ru_calc.files.tempfile.TemporaryFile", no_file)
    result = call("md", *CRYSTAL, "-o", "below/run")
    refused(result, "the folder below/run cannot be made or written: Permission denied; give another output folder")
    assert "checkpoint" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["md", "slab", "--ensemble", "npt-iso"], "npt-iso needs a cell that is periodic in three directions"),
        (["md", "atom"], "has nothing to act on"),
        (["md", "dimer", "--distance-A", "0.5"], "atoms 0 and 1 are 0.500 Å apart (limit 1.0 Å)"),
        (["relax", "dimer", "--distance-A", "0.5"], "atoms 0 and 1 are 0.500 Å apart (limit 1.0 Å)"),
        (["relax", "slab", "--cell", "full"], "only a cell that is periodic in three directions can relax"),
    ],
)
def test_what_cannot_start_is_refused_without_a_heading(here, arguments, message):
    result = call(*arguments)
    refused(result, message)
    assert result.stdout == "" and list(here.iterdir()) == []


def test_a_restart_that_has_nothing_to_do_is_refused_without_a_heading(here):
    assert call("md", *CRYSTAL, "--steps", 2, "-o", "run").exit_code == 0
    result = call("md", "--restart", "run", "--steps", 1)
    refused(result, "has already done 2 steps")
    assert result.stdout == ""


def test_columns_stay_apart_for_huge_numbers(here, monkeypatch):
    def huge(call, results):
        results["energy"] = -1e15
        results["forces"][:] = 1e9
        results["stress"] -= 1e9

    for command in ("md", "relax"):
        monkeypatch.setattr(f"ru_calc.cli.{command}.make_calculator", lambda *args, **kwargs: FreeFlight(huge))
    rows = call("md", *CRYSTAL, "--steps", 0, "--temperature-K", 1e8, "--max-temperature-K", 1e12).stdout.splitlines()
    assert rows[2].split() == ["0", "0.000", "1.00e+08", "-3.12500e+13", "-3.12500e+13", "1.60e+11", "–"]
    assert len(rows[1]) == len(rows[2])
    rows = call("relax", *CRYSTAL, "--steps", 0, "--cell", "full").stdout.splitlines()
    assert rows[2].split() == ["0", "-3.125000e+13", "1.73205e+09", "160217662080.000"]
    assert len(rows[1]) == len(rows[2])


@pytest.mark.parametrize("command", ["md", "relax"])
def test_help_lists_every_structure_and_its_options(command):
    text = call(command, "--help").stdout
    listed = text.partition("Structures, and the options of each:")[2]
    assert {line.split()[0] for line in listed.splitlines() if line[2:3].strip()} == set(structure_names())
    assert "dimer     --distance-A\n" in listed


@pytest.mark.parametrize("command", ["md", "relax"])
def test_threads_reach_torch_inside_the_run(tmp_path, monkeypatch, torch_threads, command):
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "small.safetensors", small_model(), {})
    seen, original = [], RuCalculator.calculate
    monkeypatch.setattr(RuCalculator, "calculate", lambda *args: seen.append(torch_threads()) or original(*args))
    for name, arguments, threads in (("a", [], 1), ("b", ["--threads", 2], 2)):
        output = name if command == "md" else f"{name}.extxyz"
        call(command, "dimer", "--model", "small.safetensors", "--steps", 1, "-o", output, *arguments)
        assert seen and set(seen) == {threads}
        seen.clear()


def test_an_earlier_run_is_refused_without_overwrite(here):
    assert call("md", *CRYSTAL, "--steps", 2, "-o", "run").exit_code == 0
    before = {path.name: path.read_bytes() for path in (here / "run").iterdir()}
    refused(call("md", *CRYSTAL, "--steps", 4, "-o", "run"), "already exists")
    assert before == {path.name: path.read_bytes() for path in (here / "run").iterdir()}
    assert call("md", *CRYSTAL, "--steps", 4, "-o", "run", "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--model", "nothing"], "nothing", 1),
        (["--model", "rubbish.safetensors"], "rubbish", 1),
        (["--device", "tpu"], "tpu", 2),
    ],
)
def test_a_wrong_model_or_device_is_refused_before_anything_is_written(tmp_path, monkeypatch, arguments, message, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rubbish.safetensors").write_bytes(b"rubbish")
    save_model(tmp_path / "small.safetensors", small_model(), {})
    if "--model" not in arguments:
        arguments = ["--model", "small.safetensors", *arguments]
    before = sorted(tmp_path.iterdir())
    for command in ("md", "relax"):
        refused(call(command, "fcc", *arguments), message, code)
    assert sorted(tmp_path.iterdir()) == before


def test_the_model_runs_and_restarts_to_the_last_bit_at_any_step(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "small.safetensors", small_model(), {})
    run = ["fcc", "--repeat", 2, 2, 1, "--model", "small.safetensors", "--max-drift-eV-per-atom", 10, "--log-every", 7]
    for name, steps in (("whole", 30), ("half", 13)):
        result = call("md", *run, "--steps", steps, "-o", name, "--temperature-K", 1500, "--trajectory", f"{name}.h5")
        assert result.exit_code == 0, result.output
    assert call("md", "--restart", "half", "--steps", 30).exit_code == 0
    assert (tmp_path / "whole" / "thermo.csv").read_bytes() == (tmp_path / "half" / "thermo.csv").read_bytes()
    ends = [ase.io.read(tmp_path / name / "final.extxyz") for name in ("whole", "half")]
    np.testing.assert_array_equal(ends[0].positions, ends[1].positions)


def test_a_run_with_the_model_says_how_often_the_neighbour_list_was_rebuilt(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "small.safetensors", small_model(), {})
    run = ["fcc", "--repeat", 2, 2, 1, "--model", "small.safetensors", "--temperature-K", 300, "-o", "run"]
    assert call("md", *run, "--steps", 3).stdout.splitlines()[-2] == "neighbour list: 0 rebuilds in 3 steps"
    again = call("md", "--restart", "run", "--steps", 8)
    assert again.stdout.splitlines()[-2] == "neighbour list: 0 rebuilds in 5 steps"


def test_a_run_from_python_is_sent_back_to_python_for_its_restart(here):
    atoms = build_structure("fcc", a_A=3.75, repeat=(2, 2, 2))
    run_md(atoms, PairPotential(), MDSettings(steps=2), MDOutput(here / "run"))
    refused(call("md", "--restart", "run", "--steps", 4), "resume it with ru_calc.md.resume_md")
    assert resume_md(here / "run", PairPotential(), steps=4).steps == 4


# ---------------------------------------------------------------------------------------------- relax


def test_relax_prints_what_it_did_and_writes_the_result(here):
    atoms = build_structure("fcc", a_A=3.8, repeat=(2, 2, 2))
    atoms.rattle(0.05, seed=1)
    ase.io.write("rough.extxyz", atoms)
    result = call("relax", "rough.extxyz", "--cell", "full")
    assert result.exit_code == 0, result.output
    assert "before: a b c = 7.60000" in result.stdout and " after: a b c = 7.5" in result.stdout
    relaxed = ase.io.read("rough-relaxed.extxyz")
    assert np.linalg.norm(relaxed.get_forces(), axis=1).max() < 0.0101
    assert np.abs(relaxed.get_stress()).max() * 160.2 < 0.051
    assert relaxed.get_potential_energy() < PairPotential().get_potential_energy(atoms)


def test_relax_names_the_model_and_shows_the_enthalpy_where_there_is_pressure(here):
    plain = call("relax", *CRYSTAL, "--cell", "full", "-o", "plain.extxyz").stdout.splitlines()
    assert plain[0] == "32 atoms (fcc), cell full, lbfgs, model default in float32, toy engine"
    assert "E + pV" not in plain[1] and not any("enthalpy" in line for line in plain)
    result = call("relax", *CRYSTAL, "--cell", "full", "--pressure-GPa", 20)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "E + pV (eV/atom)" in lines[1] and len(lines[1]) == len(lines[2])
    rows = [line.split() for line in lines[2:] if line.split()[0].isdigit()]
    energies, enthalpies = ([float(row[k]) for row in rows] for k in (1, 2))
    assert energies[-1] > energies[0] and enthalpies[-1] < enthalpies[0]
    end = next(line for line in lines if line.startswith("energy "))
    assert f", enthalpy {enthalpies[-1]:.6f} eV/atom (-0.0" in end


MOVING = [
    (["md", "--steps", "1", "--ensemble", "npt-cell"], True),
    (["md", "--steps", "1", "--ensemble", "npt-iso"], True),
    (["md", "--steps", "1"], False),
    (["relax", "--steps", "1", "--cell", "full"], True),
    (["relax", "--steps", "1"], False),
]


@pytest.mark.parametrize(("arguments", "moves"), MOVING)
def test_a_slab_in_a_cell_that_moves_is_warned_of(here, arguments, moves):
    crystal = build_structure("fcc", a_A=3.75, repeat=(2, 2, 2))
    ase.io.write("crystal.extxyz", crystal)
    crystal.cell[2, 2] += 6.0
    ase.io.write("slab.extxyz", crystal)
    words = "warning: the cell can change, but has a gap of 7.9 Å without atoms along lattice vector c: nothing"
    assert (words in call(*arguments, "slab.extxyz").stderr) == moves
    assert "warning" not in call(*arguments, "crystal.extxyz").stderr


def test_relax_writes_other_formats_and_asks_before_it_overwrites(here):
    assert call("relax", *CRYSTAL, "-o", "out.cif").exit_code == 0
    assert len(ase.io.read("out.cif")) == 32
    before = Path("out.cif").read_bytes()
    refused(call("relax", *CRYSTAL, "-o", "out.cif"), "out.cif exists already")
    assert Path("out.cif").read_bytes() == before
    assert call("relax", *CRYSTAL, "-o", "out.cif", "--overwrite").exit_code == 0


def test_relax_that_does_not_converge_says_so_saves_what_it_has_and_fails(here):
    atoms = build_structure("fcc", a_A=3.75, repeat=(2, 2, 2))
    atoms.rattle(0.1, seed=1)
    ase.io.write("rough.extxyz", atoms)
    refused(call("relax", "rough.extxyz", "--steps", 2), "not converged after 2 steps: max force")
    assert len(ase.io.read("rough-relaxed.extxyz")) == 32


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--fmax-eV-per-A", "0"], "fmax_eV_per_A is 0.0", 1),
        (["--pressure-GPa", "5"], "let the cell relax", 1),
        (["-o", "nowhere/out.extxyz"], "the folder of nowhere/out.extxyz does not exist", 1),
        (["-o", "out.weird"], "has a suffix that ASE cannot write", 1),
        (["--cell", "shape"], "'shape' is not one of", 2),
        (["--optimizer", "cg"], "'cg' is not one of", 2),
    ],
)
def test_bad_options_of_relax_get_one_line_and_leave_nothing(here, arguments, message, code):
    refused(call("relax", *CRYSTAL, *arguments), message, code)
    assert list(here.iterdir()) == []


def test_interrupts_are_ours_only_while_a_run_lasts(here):
    before = signal.getsignal(signal.SIGINT)
    call("md", *CRYSTAL, "--steps", 1)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_calculator_of_the_commands_is_the_one_that_was_asked_for(tmp_path):
    save_model(tmp_path / "small.safetensors", small_model(), {})
    calculator = ru_calc.cli.shared.make_calculator(str(tmp_path / "small.safetensors"), "cpu", "float64")
    assert isinstance(calculator, RuCalculator)
    assert calculator.parameters["dtype"] == "float64" and calculator.parameters["device"] == "cpu"


def test_the_command_offers_every_ensemble_that_there_is() -> None:
    from ru_calc.md.ensembles import CLASSES
    from ru_calc.md.settings import ENSEMBLES

    (choices,) = [o.type.choices for o in ru_calc.cli.md.command.params if o.name == "ensemble"]
    assert tuple(choices) == ENSEMBLES and {*CLASSES} == {*ENSEMBLES}
