"""A run that is killed at any moment leaves no process behind, and goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ru_calc.lammps.run import newest_restart
from ru_calc.lammps.script import SCRIPT, ScriptOutput, write_script
from ru_calc.md.settings import MDSettings
from ru_calc.structures.build import build_structure

pytestmark = pytest.mark.usefixtures("lammps_plugin")
# A shell may have had Ctrl-C ignored.
PROGRAM = """
import signal, sys
from ru_calc.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "ru-calc"
main()
"""
STEPS = 600


def command(script: Path, *more: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, "lammps", "run", str(script), "-n", "2", *more]


def written(folder: Path) -> Path:
    settings = MDSettings("nvt-bussi", temperature_K=900, steps=STEPS, log_every=10)
    write_script(build_structure("hcp", n_atoms=64), settings, ScriptOutput(folder, 10, 10), "fast", "float64")
    return folder / SCRIPT


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def processes_in(folder: Path) -> dict[int, str]:
    """Programs that run in a folder, by their process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(path / "cwd") == str(folder):
                found[int(path.name)] = (path / "comm").read_text().strip()
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def undisturbed(lammps_plugin: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    script = written(tmp_path_factory.mktemp("undisturbed"))
    subprocess.run(command(script), check=True, capture_output=True)
    return (script.parent / "ru.final.data").read_text()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_goes_on_after(how: signal.Signals, undisturbed: str, tmp_path: Path) -> None:
    script = written(tmp_path / "run")
    run = subprocess.Popen(command(script), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: newest_restart(script.parent))
    lmp = [process for process, program in processes_in(script.parent).items() if program == "lmp"]
    assert len(lmp) == 2
    for process in lmp:  # or it may end before the signal comes
        os.kill(process, signal.SIGSTOP)
    refused = subprocess.run(command(script), capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "in use by another run" in refused.stderr
    run.send_signal(how)
    time.sleep(1)  # it tells them to end
    for process in lmp:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
    said = run.communicate(timeout=60)[1]
    wait_for(lambda: not processes_in(script.parent))
    assert not (script.parent / "ru.final.data").exists()
    if how != signal.SIGKILL:
        assert run.returncode == 130 and f"go on with: ru-calc lammps run {script} -n 2 --restart" in said
    subprocess.run(command(script, "--restart"), check=True, capture_output=True)
    assert (script.parent / "ru.final.data").read_text() == undisturbed


def test_a_failure_is_told_with_status_1(tmp_path: Path) -> None:
    script = written(tmp_path / "run")
    script.write_text(script.read_text() + "nonsense\n")
    done = subprocess.run(command(script), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "ERROR: Unknown command: nonsense" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("Error: LAMMPS ended with status 1; what it said is above")
