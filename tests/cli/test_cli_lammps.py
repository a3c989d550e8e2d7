"""`ru-calc lammps`: build, tables, input, run, check."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ru_calc.cli import main
from ru_calc.lammps import check
from ru_calc.lammps.single_point import evaluate
from ru_calc.lammps.tables_file import read_tables


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["lammps", *(str(argument) for argument in arguments)])


def test_tables_are_written_with_the_line_that_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("tables", "fast", "--dtype", "float64")
    assert done.exit_code == 0 and "pair_coeff * * fast.tables Ru" in done.output
    assert read_tables("fast.tables").dtype == "float64"
    assert "gnn is of the family gnn" in run("tables", "gnn").output


def test_input_writes_what_md_would_run(tmp_path: Path) -> None:
    options = ["--n-atoms", 16, "--ensemble", "npt-iso", "--time-ps", 0.2, "--pressure-GPa", 1, "--timestep-fs", 4]
    done = run("input", "hcp", *options, "-o", tmp_path / "r", "--model", "fast", "--temperature-K", 500)
    assert done.exit_code == 0 and f"ru-calc lammps run {tmp_path / 'r' / 'in.ru'} -n 2" in done.output, done.output
    script = (tmp_path / "r" / "in.ru").read_text()
    assert "variable steps index 50\n" in script and "timestep 0.004\n" in script
    assert "fix move all npt temp 500 500 0.1 iso 10000 10000 1\n" in script
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["in.ru", "ru.data", "ru.tables"]
    assert "holds in.ru already" in run("input", "hcp", "-o", tmp_path / "r").output


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--pressure-GPa", "1"], "pressure_GPa is 1.0, but it does not apply to nvt-bussi"),
     (["--steps", "5", "--time-ps", "1"], "both set the length of the run"),
     (["--every", "0"], "0 is not in the range x>=1"),
     (["--model", "kan"], "kan is of the family kan")],
)  # fmt: skip
def test_input_refuses(options: list[str], words: str, tmp_path: Path) -> None:
    done = run("input", "hcp", "-o", tmp_path / "r", *options)
    assert done.exit_code and words in done.output
    assert not (tmp_path / "r").exists() or not any((tmp_path / "r").iterdir())


def test_input_refuses_a_pressure_without_a_volume(tmp_path: Path) -> None:
    done = run("input", "sphere", "--n-atoms", "13", "--ensemble", "npt-iso", "-o", tmp_path / "r")
    assert done.exit_code == 1 and "npt-iso needs a cell that is periodic in three directions" in done.output


@pytest.mark.usefixtures("lammps_plugin")
def test_it_is_built_and_runs(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    built = run("build")
    assert built.exit_code == 0 and "ruschnetplugin.so" in built.output
    assert "belong together" in run("build", "--source", tmp_path).output
    assert "lacks version.h" in run("build", "--source", tmp_path, "-o", tmp_path / "x.so").output
    run("input", "slab", "--layers", 4, "-o", tmp_path, "--ensemble", "nve", "--log-every", 5)
    done = run("run", tmp_path / "in.ru", "-np", 2, "--var", "steps=10")
    assert done.exit_code == 0, done.output
    said = capfd.readouterr().out
    assert "Loop time of" in said and "on 2 procs for 10 steps" in said
    assert run("run", tmp_path / "none").output.startswith("Error: there is no input script")


@pytest.mark.usefixtures("lammps_plugin")
def test_check_prints_figures_with_bounds_and_ends_with_status_0() -> None:
    done = run("check", "fast", "hcp", "--ranks", "1,2")
    assert done.exit_code == 0 and done.output.endswith("8 passed\n"), done.output
    forces = re.search(
        r"^forces on 2 processes +(\S+) ≤ 1e-09 +eV/Å +passed  \(forces, hcp\)$", done.output, re.MULTILINE
    )
    assert forces and float(forces[1]) < 1e-12
    assert "'1;2' is not a list of numbers" in run("check", "--ranks", "1;2").output


@pytest.mark.usefixtures("lammps_plugin")
def test_check_notices_forces_that_differ_and_ends_with_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*arguments: object) -> object:
        found = evaluate(*arguments)
        found.forces[0] += np.array([0.0, 1e-7, 0.0])
        return found

    monkeypatch.setattr(check, "evaluate", wrong)
    done = run("check", "fast", "hcp", "--ranks", "1")
    assert done.exit_code == 1 and "3 passed, 1 FAILED" in done.output
