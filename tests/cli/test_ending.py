"""How commands end early: one line, the right status, and what was done so far whole."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from conftest import small_model
from forked import another_process, ended, forked

from ru_calc.cli import LazyGroup, ending, main
from ru_calc.errors import OutputError
from ru_calc.files import owned, owned_file
from ru_calc.modelfiles.load import save_model


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model."""
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "m.safetensors", small_model(), {})
    return tmp_path


MD = ["md", "hcp", "--n-atoms", "8", "--model", "m.safetensors", "--log-every", "2", "--every", "2"]


def failing(problem: BaseException, way_on: bool = True) -> click.Command:
    """A command that can go on after step 7, and meets a problem there."""

    @click.command("failing")
    def command() -> None:
        if way_on:
            ending.can_go_on(lambda: "resume with: x --resume", lambda: " after step 7")
        raise problem

    group = LazyGroup("group")
    group.get_command = lambda ctx, name: command  # type: ignore[method-assign]
    return group


NO_ROOM = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.csv")
CASES = [
    (KeyboardInterrupt(), 130, "interrupted after step 7; resume with: x --resume"),
    (NO_ROOM, 1, "Error: x.csv: No space left on device; make room on that disk; then resume with: x --resume"),
    (MemoryError(), 1, "Error: memory ran out; take fewer atoms or frames, or make room in memory and resume with: x"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "Error: memory ran out (DefaultCPU"),
    (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), 1, "Error: memory ran out"),
    (OutputError("the rule\nand the way out"), 1, "Error: the rule and the way out"),
    (BrokenPipeError(), 141, None),
]


@pytest.mark.parametrize(("problem", "status", "line"), CASES, ids=lambda value: type(value).__name__)
def test_each_end_has_its_line_and_status(problem, status, line):
    result = CliRunner().invoke(failing(problem), ["failing"])
    assert result.exit_code == status and result.stdout == ""
    assert len(result.stderr.splitlines()) == (line is not None)
    assert result.stderr.startswith(line or "")


def test_a_full_disk_behind_an_error_of_ours_says_how_to_go_on():
    problem = OutputError("x could not be written: no space")
    problem.__cause__ = NO_ROOM
    result = CliRunner().invoke(failing(problem), ["failing"])
    assert result.stderr == "Error: x could not be written: no space; then resume with: x --resume\n"
    assert CliRunner().invoke(failing(KeyboardInterrupt(), way_on=False), ["failing"]).stderr == (
        "interrupted; give the same command again\n"
    )


def test_a_fault_of_the_program_keeps_its_traceback():
    result = CliRunner().invoke(failing(RuntimeError("a fault")), ["failing"])
    assert isinstance(result.exception, RuntimeError) and "a fault" in str(result.exception)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_any_command_with_130(here, monkeypatch, number):
    monkeypatch.setattr("ru_calc.properties.all_properties", lambda *a, **k: time.sleep(60))
    monkeypatch.setattr("ru_calc.cli.properties._calculator", lambda chosen: print("ready", flush=True))

    def command() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        main(["properties", "--json", "p.json"])

    process = forked(command, here / "log")
    while "ready" not in ((here / "log").read_text() if (here / "log").exists() else ""):
        time.sleep(0.01)
    os.kill(process, number)
    assert ended(process) == 130
    assert (here / "log").read_text().splitlines() == ["ready", "interrupted; give the same command again"]
    assert not (here / "p.json").exists() and not (here / ".p.json.tmp").exists()


def test_a_closed_pipe_ends_md_quietly_and_a_restart_is_the_unbroken_run(here):
    assert CliRunner().invoke(main, [*MD, "--steps", "30", "-o", "whole"]).exit_code == 0
    code = "import sys; from ru_calc.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *MD, "--steps", "30", "-o", "cut"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 141
    again = CliRunner().invoke(main, ["md", "--restart", "cut"])
    assert again.exit_code == 0, again.output
    for name in ("thermo.csv", "md.extxyz", "final.extxyz"):
        assert (here / "cut" / name).read_bytes() == (here / "whole" / name).read_bytes()


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_characters_that_the_output_cannot_hold_are_replaced(here, encoding):
    result = CliRunner(charset=encoding).invoke(main, [*MD, "--steps", "2", "-o", "md"])
    assert result.exit_code == 0, result.output
    heading = result.stdout_bytes.decode("utf-8" if encoding == "ascii" else encoding)  # click takes ASCII for UTF-8
    assert "E (eV/atom)" in heading and "written to md" in heading


def test_a_run_folder_or_file_in_use_is_refused_in_one_line(here):
    assert CliRunner().invoke(main, [*MD, "--steps", "2", "-o", "md"]).exit_code == 0
    (here / "in.extxyz").write_text("")
    commands = (
        ["md", "--restart", "md", "--steps", "4"],
        [*MD, "--steps", "2", "-o", "md", "--overwrite"],
        ["fit", "distilled", "-o", "md"],
        ["sweep", "distilled", "-o", "md"],
        ["compare", "distilled", "-o", "md"],
        ["evaluate", "distilled", "-o", "md"],
    )
    with another_process(lambda: owned("md")):
        for arguments in commands:
            result = CliRunner().invoke(main, arguments)
            assert result.exit_code == 1, arguments
            assert result.stderr == "Error: md is in use by another run; wait for it to end, or choose another name\n"
    for name, arguments in {
        "x.h5": ["convert", "in.extxyz", "x.h5"],
        "x.extxyz": ["relax", "hcp", "-o", "x.extxyz"],
        "y.extxyz": ["sample", "-o", "y.extxyz"],
        "b.json": ["bench", "--json", "b.json"],
        "p.json": ["properties", "--json", "p.json"],
        "k.json": ["check", "fast", "--json", "k.json"],
        "d.json": ["data", "check", "in.extxyz", "--json", "d.json"],
        "c.md": ["card", "default", "distilled", "--split", "default", "--command", "x", "-o", "c.md"],
    }.items():
        with another_process(lambda path=name: owned_file(path)):
            result = CliRunner().invoke(main, arguments)
        assert (result.exit_code, result.stderr.count(f"Error: {name} is in use by another run")) == (1, 1), (
            result.stderr
        )


def test_runs_at_once_without_a_name_have_folders_of_their_own(here):
    def run(seed: int) -> int:
        return CliRunner().invoke(main, [*MD, "--steps", "20", "--seed", str(seed)]).exit_code

    processes = [forked(lambda seed=seed: run(seed)) for seed in range(4)]
    assert [ended(process) for process in processes] == [0, 0, 0, 0]
    folders = sorted(path.name for path in here.iterdir() if path.is_dir())
    assert folders == ["ru-md", "ru-md-2", "ru-md-3", "ru-md-4"]
    logs = {(here / folder / "thermo.csv").read_text() for folder in folders}
    assert len(logs) == 4 and all(len(log.splitlines()) == 12 for log in logs)
