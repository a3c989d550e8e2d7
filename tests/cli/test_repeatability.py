"""The same seed, machine and threads give the same bits, by the command line, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import small_model
from fitted import fit_result
from labelled import lj_frames

from ru_calc.dataset import Dataset, write_dataset
from ru_calc.modelfiles.load import save_model

FIT = ["fit", "data.h5", "--epochs", "2", "--set", "model.channels=8", "--set", "model.n_radial=6"]
MD = ["md", "hcp", "--n-atoms", "96", "--model", "m.safetensors", "--steps", "40", "--every", "10", "--log-every", "10",
      "--ensemble", "nvt-langevin", "--temperature-K", "900"]  # fmt: skip
EACH = """
import json, sys
from ru_calc.cli import main
for words in json.load(sys.stdin):
    main(words, standalone_mode=False)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders, in each of which a process of its own has run all commands."""
    commands = [
        [*words, "--threads", str(threads), "--seed", str(seed), "-o", output_name(words[0], threads, seed)]
        for words in (FIT, MD) for threads, seed in ((1, 0), (2, 0), (1, 1))
    ]  # fmt: skip
    folders = [tmp_path_factory.mktemp("run") for _ in range(2)]
    processes = []
    for folder in folders:
        write_dataset(Dataset.from_atoms(lj_frames(24)), folder / "data.h5")
        save_model(folder / "m.safetensors", small_model(), {})
        process = subprocess.Popen(
            [sys.executable, "-c", EACH], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        process.stdin.write(json.dumps(commands))
        process.stdin.close()
    for process in processes:
        errors = process.stderr.read()
        assert process.wait() == 0, errors
    return folders


def output_name(command: str, threads: int, seed: int) -> str:
    return f"{command}-{threads}-{seed}"


def written(folder: Path, command: str, threads: int, seed: int) -> dict[str, object]:
    """What a run has written, without its times."""
    output = folder / output_name(command, threads, seed)
    if command == "fit":
        return fit_result(output)
    return {name: (output / name).read_bytes() for name in ("thermo.csv", "md.extxyz", "final.extxyz")}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("command", ["fit", "md"])
def test_the_same_command_writes_the_same_bits(runs: list[Path], command: str, threads: int) -> None:
    first, second = (written(folder, command, threads, 0) for folder in runs)
    assert [name for name in first if first[name] != second[name]] == []


@pytest.mark.parametrize("command", ["fit", "md"])
def test_another_seed_gives_another_result(runs: list[Path], command: str) -> None:
    first, second = (written(runs[0], command, 1, seed) for seed in (0, 1))
    assert [name for name in first if first[name] == second[name]] == []
