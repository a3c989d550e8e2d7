"""The README: its blocks run, its files exist, and CI runs its test command and nothing else."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ase.io import write
from conftest import HAS_LAMMPS
from labelled import lj_frames

from ru_calc.label import gpaw_level

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(python|bash)\n(.*?)```", README, flags=re.DOTALL)
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
COMMANDS = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines() if line.startswith("ru-calc")]
# What takes long is cut short by options that a reader could add as well.
SMALL_FIT = ["--epochs", "1", "--threads", "1", "--set", "batch_atoms=2000"]
SHORTER = {"fit distilled": [*SMALL_FIT, "--set", "model.channels=8", "--set", "model.angular_radial=4", "--set",
                             "model.triple=2", "--set", "model.l_max=2", "--split", "0.05,0.05,0.9"],
           "fit data.h5": SMALL_FIT, "sample -o": ["--kind", "hcp_rattle4=2"],
           "learn gpaw": ["--kind", "hcp_rattle4=2", "--rounds", "1", "--threshold", "0", "--fit", "epochs=1", "--fit",
                          "folds=2"]}  # fmt: skip
# In place of DFT: ruthenium of Lennard-Jones, under the name of the level that is learned.
CHEAP = ["--calculator", "ase.calculators.lj:LennardJones", "--set", "sigma=2.35", "--level", gpaw_level.LEVEL]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("readme")
    write(path / "frames.extxyz", lj_frames(12))
    return path


def run(arguments: list[str], folder: Path) -> None:
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, f"{shlex.join(arguments)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_python_blocks_run(code, folder):
    run([sys.executable, "-c", code], folder)


def test_commands_run_in_order(folder):
    """In one folder and in their order: later ones use what earlier ones wrote."""
    assert {line.split()[1] for line in COMMANDS} >= {
        "md", "relax", "properties", "evaluate", "fit", "convert", "sample", "label", "learn", "lammps"
    }  # fmt: skip
    for line in COMMANDS:
        words = shlex.split(line)
        if words[1] == "lammps" and not HAS_LAMMPS:
            continue
        if "--preset" in words:
            words = [*words[: words.index("--preset")], *CHEAP]
        extra = SHORTER.get(" ".join(words[1:3]), [])
        program = "import sys; from ru_calc.cli import main; sys.argv[0] = 'ru-calc'; main()"
        run([sys.executable, "-c", program, *words[1:], *extra], folder)


def test_files_that_are_named_exist():
    for name in re.findall(r"\]\(((?!http)[^)]+)\)", README) + re.findall(
        r"`((?:models|ru_calc|md_examples)/[^`*]+)`", README
    ):
        assert (ROOT / name).exists(), name


def test_the_layout_names_what_is_there():
    """Every entry of the package stands in the block, and every file that the text sends a reader to exists."""
    chapter = README.partition("## Carry on the work")[2].partition("\n## ")[0]
    block = chapter.split("```")[1]
    there = {path.stem for path in (ROOT / "ru_calc").iterdir() if not path.stem.startswith(("__", "py"))}
    assert there - {"models"} == {word for line in block.splitlines() for word in re.findall(r"(\w+)/?", line[:38])}
    for name in re.findall(r"`([a-z]+/[\w./]+)`", chapter):
        assert (ROOT / "ru_calc" / name).exists() or (ROOT / name).exists(), name


def test_ci_runs_the_readmes_test_command_and_nothing_else():
    command = next(line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines() if "pytest" in line)
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', command]


def test_readme_is_short():
    assert len(README.splitlines()) <= 190
