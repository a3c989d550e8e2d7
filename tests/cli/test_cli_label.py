"""`ru-calc label`: what it prints, that a kill loses nothing, and one clear line for every bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from click.testing import CliRunner, Result

from ru_calc.cli import main

LENNARD_JONES = ["--calculator", "ase.calculators.lj:LennardJones", "--set", "sigma=2.35", "--set", "rc=6"]
CALCULATORS = Path(__file__).parents[1] / "label"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.extxyz"
    write(path, [bulk("Ru", "fcc", a=3.6 + 0.02 * k) for k in range(8)])
    return path


def test_label_writes_the_labels_and_goes_on_where_it_stopped(plan, tmp_path):
    labels = tmp_path / "labels.extxyz"
    first = run("label", plan, "-o", labels, *LENNARD_JONES, "--workers", 2)
    assert first.exit_code == 0, first.output
    assert "8 frames to label, 0 in" in first.output and "labelled 8 frames" in first.output
    assert len(read(labels, ":")) == 8
    before = labels.read_bytes()
    again = run("label", plan, "-o", labels, *LENNARD_JONES)
    assert "labelled 0 frames; 8 were done before" in again.output and labels.read_bytes() == before


def test_label_lists_failures_at_the_end(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(CALCULATORS))
    calculator = ["--calculator", "odd_calculators:Odd", "--set", "fault=raise", "--set", f"once={tmp_path / 'once'}"]
    result = run("label", plan, "-o", tmp_path / "labels.extxyz", *calculator, "--attempts", 1)
    assert result.exit_code == 0, result.output
    *_, said, line = result.stdout.splitlines()
    assert said.startswith("1 frames failed and are listed in") and "RuntimeError: the SCF did not converge" in line


def start(plan: Path, labels: Path) -> subprocess.Popen[str]:
    """Starts the command with a calculator that takes a while, and waits until two frames are done."""
    command = [sys.executable, "-m", "ru_calc", "label", str(plan), "-o", str(labels), "--workers", "2", "--calculator",
               "odd_calculators:Odd", "--set", "sleep_s=0.8"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(CALCULATORS), "TMPDIR": str(labels.parent)}
    # A suite that runs in the background of a shell ignores Ctrl-C, and so would what it starts.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip
    deadline = time.monotonic() + 120
    while not (labels.exists() and labels.read_text().count("uid=") >= 2):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


def workers_of(folder: Path) -> list[int]:
    """Processes that were told to write to a folder below this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"ru_calc.label.serve" in words and str(folder).encode() in b" ".join(words):
            found.append(int(path.parent.name))
    return found


def assert_goes_on(plan: Path, labels: Path) -> None:
    """The command ends the work, each frame once, with nothing left behind."""
    process = start(plan, labels)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    uids = [atoms.info["uid"] for atoms in read(labels, ":")]
    assert len(uids) == len(set(uids)) == 8, out
    assert {path.name for path in labels.parent.iterdir()} == {"plan.extxyz", "labels.extxyz"}


def gone(folder: Path) -> bool:
    """Whether all workers end within a while."""
    deadline = time.monotonic() + 60
    while workers_of(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_kill_loses_no_frame_and_leaves_no_process(plan, tmp_path):
    labels = tmp_path / "labels.extxyz"
    process = start(plan, labels)
    assert workers_of(tmp_path)
    process.kill()
    process.communicate()
    assert gone(tmp_path), "workers outlive the command"
    done = len(read(labels, ":"))
    assert 2 <= done < 8
    assert_goes_on(plan, labels)


def test_a_killed_worker_is_replaced(plan, tmp_path):
    labels = tmp_path / "labels.extxyz"
    process = start(plan, labels)
    os.kill(workers_of(tmp_path)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and len(read(labels, ":")) == 8, err
    assert "by signal 9" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_says_how_to_go_on(plan, tmp_path, number):
    labels = tmp_path / "labels.extxyz"
    process = start(plan, labels)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "give the same command again to go on" in err and "Traceback" not in err
    assert gone(tmp_path)
    assert_goes_on(plan, labels)


def test_a_stop_file_lets_frames_finish(plan, tmp_path):
    labels = tmp_path / "labels.extxyz"
    process = start(plan, labels)
    Path(f"{labels}.stop").touch()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "frames are left: give the same command again" in out
    assert_goes_on(plan, labels)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("no.extxyz", "-o", "l.extxyz", *LENNARD_JONES), "there is no file no.extxyz"),
        (("pt.extxyz", "-o", "l.extxyz", *LENNARD_JONES), "pt.extxyz, frame 0: atom 0 is Pt"),
        (("plan.extxyz", "-o", "plan.extxyz", *LENNARD_JONES), "is the file of the frames"),
        (("plan.extxyz", "-o", "no/l.extxyz", *LENNARD_JONES), "does not exist"),
        (("plan.extxyz", "-o", "l.extxyz", "--calculator", "no.such:Thing"), "cannot be imported"),
        (("plan.extxyz", "-o", "l.extxyz", "--calculator", "math"), "write it as module.path:Class"),
        (("plan.extxyz", "-o", "l.extxyz", "--calculator", "a:B", "--preset", "gpaw"), "and not both"),
        (("plan.extxyz", "-o", "l.extxyz", *LENNARD_JONES, "--limit-min", "-1"), "limit_min is -1.0"),
        (("plan.extxyz", "-o", "l.extxyz", *LENNARD_JONES, "--parsl", "a.py", "--dask", "b"), "exclude each other"),
    ],
)
def test_bad_input_is_refused_in_one_line(plan, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    write("pt.extxyz", Atoms("Pt", [[0, 0, 0]]))
    before = sorted(path.name for path in tmp_path.iterdir())
    result = run("label", *arguments)
    assert result.exit_code == 1 and len(result.stderr.strip().splitlines()) == 1, result.output
    assert words in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_calculator_or_a_preset_is_needed(plan, tmp_path):
    result = run("label", plan, "-o", tmp_path / "l.extxyz")
    assert result.exit_code == 2 and "give --calculator MODULE:CLASS or --preset gpaw" in result.stderr
