"""A fit in several processes is that in one, to rounding, whatever share of a batch each has."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small_model
from labelled import lj_frames
from safetensors.torch import load_file

from ru_calc.dataset import Dataset, write_dataset
from ru_calc.errors import SettingsError
from ru_calc.fit.batches import PackedFrames
from ru_calc.fit.losses import LabelStatistics, label_weights, loss_terms
from ru_calc.fit.run import FitInput, run_fit, splits_of, start_trainer
from ru_calc.fit.settings import FitSettings, with_changes
from ru_calc.fit.start import STATE, stored_fit
from ru_calc.fit.state import read_state
from ru_calc.fit.team import ALONE, Team
from ru_calc.potentials.derivatives import differentiate

# Batches of one to three frames, of which a process may have none, and steps that reach into the next epoch.
SMALL = {
    "epochs": "3", "dtype": "float64", "batch_frames": "3", "batch_pairs": "0", "batch_atoms": "8", "accumulate": "2",
    "model.channels": "8", "model.n_radial": "6", "model.filter_hidden": "6", "model.angular_radial": "3",
    "model.triple": "2", "model.l_max": "2", "model.readout": "[4]", "energy_weight": "0.5,1",
}  # fmt: skip
WORDS = ["fit", "data.h5", *(word for name, value in SMALL.items() for word in ("--set", f"{name}={value}"))]
SABOTAGED = "from ru_calc.fit.team import Team; Team.part = lambda self, work: __import__('numpy').arange(1)\n"


def run(folder: Path, processes: int, *words: str, before: str = "") -> list[tuple[int, str]]:
    """Status and error output of each of the processes, which find each other as torchrun lets them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    code = f"{before}from ru_calc.cli import main; main({list(words)!r})"
    started = []
    for rank in map(str, range(processes)):
        found_by = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1"}  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=folder, env=os.environ | found_by, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
    return [(process.returncode, errors) for process in started for errors in [process.communicate(timeout=120)[1]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and a fit in one process."""
    folder = tmp_path_factory.mktemp("fits")
    write_dataset(Dataset.from_atoms(lj_frames(30)), folder / "data.h5")
    (one,) = run(folder, 1, *WORDS, "-o", "one")
    assert one[0] == 0, one
    return folder


def difference(folder: Path, other: str) -> float:
    """The largest of a weight of the last epoch, the averages included, from that of the fit in one process."""
    one, two = (load_file(folder / name / STATE) for name in ("one", other))
    assert one.keys() == two.keys()
    return max(float((one[name] - two[name]).abs().max()) for name in one if one[name].numel())


def test_the_processes_of_torchrun_give_the_weights_of_one(folder: Path) -> None:
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "ru_calc", *WORDS]
    done = subprocess.run([*words, "-o", "two"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is in two/best.safetensors") == 1 and difference(folder, "two") < 1e-10


def test_processes_without_frames_in_a_batch_give_the_weights_of_one(folder: Path) -> None:
    ended = run(folder, 3, *WORDS, "-o", "three")
    assert [status for status, _ in ended] == [0] * 3, ended
    assert difference(folder, "three") < 1e-10
    rows = [read_state(folder / name / STATE).progress.rows for name in ("one", "three")]
    for one, several in zip(*rows, strict=True):
        names = [name for name in one if "seconds" not in name]
        np.testing.assert_allclose([several[name] for name in names], [one[name] for name in names], rtol=1e-9)


def test_processes_that_take_the_wrong_frames_are_noticed(folder: Path) -> None:
    assert [status for status, _ in run(folder, 2, *WORDS, "-o", "wrong", before=SABOTAGED)] == [0, 0]
    assert difference(folder, "wrong") > 1e-6


def test_a_fit_of_one_process_goes_on_in_two(folder: Path) -> None:
    settings = stored_fit(folder / "one").settings
    job = FitInput(Dataset.from_atoms(lj_frames(30)), folder / "begun", FitSettings(**settings))

    def end(line: str) -> None:
        if line.startswith("epoch    1/3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_fit(job, say=end)
    assert read_state(folder / "begun" / STATE).progress.epoch == 1
    ended = run(folder, 2, "fit", "data.h5", "-o", "begun", "--resume")
    assert [status for status, _ in ended] == [0, 0], ended
    assert difference(folder, "begun") < 1e-10


def test_what_cannot_begin_ends_every_process(folder: Path) -> None:
    main, other = run(folder, 2, *WORDS, "-o", "one")
    assert main[0] == 1 and "one" in main[1] and "Traceback" not in main[1]
    assert other[0] == 1 and "another process of the fit has ended" in other[1]
    ended = run(folder, 2, *WORDS, "-o", "several", "--committee", "2")
    assert all(status == 2 and "start them without torchrun" in told for status, told in ended), ended


def test_networks_that_are_not_conservative_are_refused() -> None:
    job = FitInput(Dataset.from_atoms(lj_frames(30)), Path("unused"), with_changes("paper", {}))
    with pytest.raises(SettingsError, match="only fits of conservative ones run in several processes"):
        start_trainer(job, splits_of(job), print, Team(0, 2))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_each_frame_has_one_process_and_work_is_shared(size: int) -> None:
    work = np.array([8, 1, 7, 2, 2, 30, 4])
    parts = [Team(rank, size).part(work) for rank in range(size)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(7))
    assert all((np.diff(part) > 0).all() for part in parts)
    loads = [int(work[part].sum()) for part in parts]
    assert max(loads) <= max(30, work.sum() / size + 8)
    assert [len(Team(rank, 9).part(work)) for rank in range(9)] == [1] * 7 + [0] * 2


def test_alone_there_is_nothing_to_exchange() -> None:
    tensor = torch.ones(3)
    ALONE.add_up([tensor])
    assert tensor.tolist() == [1, 1, 1] and ALONE.totals([2.5, 1]) == [2.5, 1] and ALONE.of_main("x") == "x"


def test_terms_of_parts_add_up_to_those_of_the_batch() -> None:
    """Labels are missing in some frames, and weights differ."""
    dataset = Dataset.from_atoms(lj_frames(6))
    dataset.stress[2], dataset.forces[:2], dataset.weight[3] = np.nan, np.nan, 4.0
    model, statistics = small_model().double(), LabelStatistics.of(dataset)
    frames = PackedFrames(dataset, model.cutoff_A, torch.float64)

    def terms(part: list[int], whole: dict[str, torch.Tensor] | None) -> dict[str, float]:
        batch, targets = frames.gather(np.array(part))
        found = loss_terms(FitSettings(), differentiate(model, batch, training=True), targets, statistics, whole)
        return {name: float(value.detach()) for name, value in found.items()}

    everything = terms([0, 1, 2, 3, 4, 5], None)
    whole = label_weights(frames.targets(np.arange(6)))
    parts = [terms(part, whole) for part in ([0, 3], [1], [2, 4, 5])]
    for name, value in everything.items():
        assert sum(part[name] for part in parts) == pytest.approx(value, rel=1e-12)
        assert sum(terms(part, None)[name] for part in ([0, 3], [1], [2, 4, 5])) != pytest.approx(value, rel=1e-3)
