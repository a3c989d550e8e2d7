"""The benchmark of a training step: all take the same batches, and what it makes of given times.

No test asserts a time.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

import ru_calc.studies.bench.training
from ru_calc.cli import main
from ru_calc.dataset import read_dataset
from ru_calc.dataset.hdf5 import write_dataset
from ru_calc.devices import Times
from ru_calc.errors import SettingsError
from ru_calc.fit.trainer import Trainer
from ru_calc.potentials.schnet import SchNetSettings
from ru_calc.studies.bench.training import (
    FILTERS,
    SPLINES,
    TABLES,
    TrainingBench,
    TrainingSettings,
    Workload,
    entries,
    race,
    records,
    remarks,
    run_training_bench,
    training_table,
    workload,
    write,
)
from ru_calc.studies.bench.training_steps import KEPT, Entry, OwnSteps, SchNetPackSteps, Turn, Worker, rehearsal

needs_schnetpack = pytest.mark.skipif(find_spec("schnetpack") is None, reason="schnetpack is not installed")
SMALL = {
    "model.channels": 8, "model.angular_radial": 2, "model.triple": 2, "model.l_max": 2, "model.readout": [4],
    "model.filter_hidden": 6, "batch_frames": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    """A file of every eightieth frame of the shipped set."""
    path = tmp_path_factory.mktemp("data") / "few.h5"
    distilled = read_dataset("distilled")
    write_dataset(distilled.select(np.arange(0, len(distilled), 80)), path)
    return str(path)


@pytest.fixture
def settings(data) -> TrainingSettings:
    return TrainingSettings(data, batches=3, rounds=2, changes=SMALL)


def own(settings: TrainingSettings, network: str = "default") -> dict[str, Entry]:
    return {entry.path: entry for entry in entries(settings) if entry.network == network and not entry.peer}


def peer(settings: TrainingSettings) -> Entry:
    return next(entry for entry in entries(settings) if entry.peer)


class Scripted:
    """Takes so many seconds in each turn."""

    def __init__(self, name: str, diary: list[str], seconds: tuple[float, ...] = (1.0, 1.0)) -> None:
        self.name, self.diary, self.seconds = name, diary, list(seconds)

    def turn(self) -> Turn:
        self.diary.append(self.name)
        return Turn(Times(self.seconds.pop(0), 9.0, 0.5), 2.0**30)


def scripted_bench(settings: TrainingSettings, epoch: Turn | None = None) -> TrainingBench:
    """Row k takes k + 1 s, k + 2 s and k + 6 s for 2 batches of 10 atoms each."""
    rows = {
        entry: [Turn(Times(k + s, 9.0, 0.5), 2.0**30) for s in (1.0, 6.0, 2.0)]
        for k, entry in enumerate(entries(settings))
    }
    work = Workload([np.array([0, 1]), np.array([2])], 20, 300, 50, 1000)
    machine = {"processor": "P", "cores": 1, "instructions": None}
    return TrainingBench(settings, work, rows, epoch, ["a note"], machine)


# ---------------------------------------------------------------------------------------------- who takes part


def test_each_network_is_fitted_on_three_paths_and_plain_schnet_has_a_peer(settings):
    found = entries(settings)
    networks = list(dict.fromkeys(entry.network for entry in found))
    assert [entry.network for entry in found] == [networks[0]] * 3 + [networks[1]] * 5
    for network in networks:
        paths = own(settings, network)
        assert [(path, entry.plain) for path, entry in paths.items()] == [
            (TABLES, False), (SPLINES, True), (FILTERS, True),
        ]  # fmt: skip
        intervals = [entry.settings.model["spline_intervals"] for entry in paths.values()]
        assert intervals[0] == intervals[1] > 0 and intervals[2] == 0
    assert [entry.settings.model["angular"] for entry in found] == [True] * 3 + [False] * 5
    assert {entry.settings.model["blocks"] for entry in found[3:]} == {3}
    assert [entry.keeps_memory for entry in found if entry.peer] == [False, True]


def test_without_changes_the_networks_are_those_that_fit_makes():
    found = entries(TrainingSettings())
    assert found[0].settings.model["channels"] == SchNetSettings().channels
    assert found[3].settings.model["channels"] == 128
    assert found[0].settings.model["spline_intervals"] == SchNetSettings().spline_intervals


@pytest.mark.parametrize("change", [{"batches": 0}, {"rounds": 0}])
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(SettingsError, match=f"{next(iter(change))} is 0; it must be 1 or more"):
        TrainingSettings(**change)


def test_everyone_has_a_turn_in_every_round(settings):
    diary: list[str] = []
    field = {entry: Scripted(entry.path, diary) for entry in own(settings).values()}
    turns = race(field, 2)
    assert diary == [TABLES, SPLINES, FILTERS] * 2
    assert [len(found) for found in turns.values()] == [2, 2, 2]


# ---------------------------------------------------------------------------------------------- steps


def test_all_paths_step_over_the_same_batches(settings, monkeypatch):
    work, dataset = workload(own(settings)[TABLES], settings), read_dataset(settings.data)
    seen: list[list[int]] = []
    step = Trainer.step

    def noted(self, frames, *args, **kwargs):
        assert kwargs.get("last_of_step", args[-1]) is True
        seen.append(frames.tolist())
        step(self, frames, *args, **kwargs)

    for path, entry in own(settings).items():
        made = OwnSteps(entry, dataset, work.batches)
        monkeypatch.setattr(Trainer, "step", noted)
        made.turn()
        monkeypatch.setattr(Trainer, "step", step)
        assert seen == [batch.tolist() for batch in work.batches], path
        assert made.rehearsal.trainer.compiled != entry.plain
        seen.clear()


def test_the_fused_path_and_plain_splines_move_the_weights_alike(settings):
    changes = {**SMALL, "dtype": "float64"}
    paths = own(TrainingSettings(settings.data, 3, 1, changes=changes))
    dataset = read_dataset(settings.data)
    batches = workload(paths[TABLES], settings).batches
    weights = []
    for path in (TABLES, SPLINES):
        made = OwnSteps(paths[path], dataset, batches)
        start = [value.clone() for value in made.rehearsal.trainer.potential.parameters()]
        made.turn()
        weights.append(list(made.rehearsal.trainer.potential.parameters()))
        assert any(not torch.equal(a, b) for a, b in zip(start, weights[-1], strict=True))
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_batches_are_drawn_once_each_and_their_sizes_are_those_of_the_frames(settings):
    entry = own(settings)[TABLES]
    work, fit = workload(entry, settings), rehearsal(entry, read_dataset(settings.data))
    assert len(work.batches) == 3 and work.epoch_batches == len(fit.batches) > 3
    assert len(np.unique(np.concatenate(work.batches))) == sum(map(len, work.batches))
    gathered = [fit.trainer.train.gather(batch) for batch in work.batches]
    assert work.atoms == sum(len(batch.atom_frames) for batch, _ in gathered)
    assert work.pairs == sum(len(batch.vectors) for batch, _ in gathered)
    assert work.epoch_atoms == len(fit.trainer.train.dataset.structures.positions)
    everything = fit.draw(10**6)
    assert sorted(np.concatenate(everything).tolist()) == list(range(len(fit.trainer.train)))


@needs_schnetpack
def test_schnetpack_gets_the_same_frames_with_pairs_both_ways(settings):
    entry, dataset = peer(settings), read_dataset(settings.data)
    work = workload(entry, settings)
    made, fit = SchNetPackSteps(entry, dataset, work.batches), rehearsal(entry, dataset)
    for batch, inputs in zip(work.batches, made.inputs(work.batches), strict=True):
        pairs, targets = fit.trainer.train.gather(batch)
        assert inputs["_idx"].tolist() == batch.tolist()
        assert inputs["_n_atoms"].tolist() == targets.counts.tolist()
        assert len(inputs["_idx_i"]) == 2 * len(pairs.vectors)
        vectors = inputs["_positions"][inputs["_idx_j"]] - inputs["_positions"][inputs["_idx_i"]] + inputs["_offsets"]
        both = pairs.vectors.norm(dim=1).repeat(2)
        torch.testing.assert_close(vectors.norm(dim=1).sort().values, both.sort().values, rtol=0, atol=1e-4)
        torch.testing.assert_close(inputs["forces"], targets.forces)
        torch.testing.assert_close(inputs["stress"][:, [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], targets.stress)
        shift = (targets.energy - inputs["energy"]) / targets.counts
        torch.testing.assert_close(shift, shift[:1].expand(len(shift)), rtol=1e-5, atol=1e-4)


@needs_schnetpack
def test_schnetpack_trains_on_energies_forces_and_stress(settings):
    entry, dataset = peer(settings), read_dataset(settings.data)
    made = SchNetPackSteps(entry, dataset, workload(entry, settings).batches)
    model = entry.settings.model
    assert len(made.model.representation.interactions) == model["blocks"] == 3
    assert made.model.representation.n_filters == made.model.representation.n_atom_basis == model["channels"]
    inputs = next(made.inputs([np.unique(np.concatenate(made._batches))]))
    frames, atoms = len(inputs["energy"]), len(inputs["forces"])
    found = made.model(inputs)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "energy": (frames,), "forces": (atoms, 3), "stress": (frames, 3, 3),
    }  # fmt: skip
    assert found["forces"].grad_fn is not None and found["stress"].grad_fn is not None
    before = [value.clone() for value in made.model.parameters()]
    made.turn()
    after = list(made.model.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(value.isfinite().all() for value in after)


# ---------------------------------------------------------------------------------------------- processes


def test_a_worker_takes_turns_and_an_epoch_in_a_process_of_its_own(settings, monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1000000")
    entry = replace(own(settings)[TABLES], keeps_memory=True)
    worker = Worker(entry, settings.data, workload(entry, settings).batches)
    try:
        assert os.environ["MALLOC_MMAP_THRESHOLD_"] == "1000000" and "MALLOC_TRIM_THRESHOLD_" not in os.environ
        inside = [worker._pool.submit(os.getenv, name).result() for name in KEPT]
        assert inside == list(KEPT.values())
        assert worker._pool.submit(os.getpid).result() != os.getpid()
        assert worker._pool.submit(torch.get_num_threads).result() == 1
        turn, epoch = worker.turn(), worker.epoch()
    finally:
        worker.close()
    assert 0 < turn.times.cpu_s and 0 < epoch.times.cpu_s
    assert turn.peak_bytes <= epoch.peak_bytes


class Here:
    """A worker that takes its turns in this process, and notes what it was given."""

    made: ClassVar[list[tuple[Entry, list[list[int]]]]] = []

    def __init__(self, entry, data, batches):
        if entry.peer:
            raise ImportError("no such\nlibrary")
        self.made.append((entry, [batch.tolist() for batch in batches]))
        self.steps = OwnSteps(entry, read_dataset(data), batches)

    def turn(self):
        self.steps.turn()
        return Turn(Times(1.0, 1.0), 2.0**30)

    def epoch(self):
        self.steps.rehearsal.trainer.run_epoch()
        return Turn(Times(2.0, 2.0), 3.5 * 2.0**30)

    def close(self):
        pass


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(Here, "made", [])
    monkeypatch.setattr(ru_calc.studies.bench.training, "Worker", Here)
    return Here.made


def test_all_workers_are_given_the_same_batches_and_the_first_row_an_epoch(settings, in_this_process, monkeypatch):
    monkeypatch.setattr(ru_calc.studies.bench.training, "installed", lambda name: False)
    bench = run_training_bench(settings)
    field = [entry for entry in entries(settings) if not entry.peer]
    assert [entry for entry, _ in in_this_process] == [*field, field[0]]
    given = [batch.tolist() for batch in bench.workload.batches]
    assert all(batches == given for _, batches in in_this_process[:-1])
    assert list(bench.turns) == field and {len(turns) for turns in bench.turns.values()} == {settings.rounds}
    assert bench.notes == ["schnetpack: not installed (pip install 'ru-calc[bench]')"]
    assert bench.epoch is not None and bench.epoch.times.cpu_s == 2.0


def test_a_peer_that_cannot_be_imported_is_left_out_and_named(settings, in_this_process, monkeypatch):
    monkeypatch.setattr(ru_calc.studies.bench.training, "installed", lambda name: True)
    bench = run_training_bench(replace(settings, epoch=False, rounds=1))
    assert len(bench.turns) == 6 and bench.epoch is None
    assert bench.notes[0] == "SchNetPack: it cannot be imported (no such library)"


# ---------------------------------------------------------------------------------------------- report


def test_rows_are_medians_per_atom_batch_and_epoch_over_the_first_of_the_network(settings):
    rows = records(scripted_bench(settings))
    first, second, fourth, fifth = rows[0], rows[1], rows[3], rows[4]
    assert first["cpu_us"] == pytest.approx(2e6 / 20) and first["cpu_us_min"] == pytest.approx(1e6 / 20)
    assert first["cpu_us_max"] == pytest.approx(6e6 / 20)
    assert first["batch_ms"] == pytest.approx(1000) and first["epoch_s"] == pytest.approx(50)
    assert second["ratio"] == pytest.approx(3 / 2)
    assert first["ratio"] == fourth["ratio"] == 1 and fifth["ratio"] == pytest.approx(6 / 5)
    assert first["system_share"] == pytest.approx(1.5 / 9) and first["peak_bytes"] == 2**30


def test_the_table_has_a_row_for_each_and_a_section_for_each_network(settings):
    console = Console(width=160)
    with console.capture() as printed:
        console.print(training_table(scripted_bench(settings)))
    lines = [line for line in printed.get().splitlines() if line.strip()]
    assert "on few.h5, 1 thread, float32" in lines[0]
    assert lines[1].strip() == "2 of the 50 batches of an epoch, 10 atoms and 150 pairs each, median of 2 rounds"
    heading = " ".join(lines[2:4])
    for word in ("network", "path", "CPU µs", "per atom", "min – max", "per batch", "per epoch", "×", "system", "GiB"):
        assert word in heading
    assert len(lines) == 4 + len(entries(settings))
    for line, entry in zip(lines[4:], entries(settings), strict=True):
        assert line.strip().startswith(entry.network) and f" {entry.path} " in line
    assert lines[4].split()[-9:] == ["100000", "50000", "–", "300000", "1000", "50.0", "1.00", "17", "1.00"]


def test_json_holds_the_numbers_of_the_table_and_no_path(settings, tmp_path):
    bench = scripted_bench(replace(settings, data=str(tmp_path / "some.h5")), Turn(Times(12.0, 13.0), 3.5 * 2.0**30))
    bench = replace(bench, turns={entry: turns for entry, turns in bench.turns.items() if not entry.peer})
    write(bench, tmp_path / "out.json")
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["rows"] == json.loads(json.dumps(records(bench)))
    assert content["workload"] == {"batches": 2, "atoms": 20, "pairs": 300, "epoch_batches": 50, "epoch_atoms": 1000}
    assert content["turns"][0]["cpu_s"] == [1.0, 6.0, 2.0]
    assert content["epoch"] == {"cpu_s": 12.0, "peak_bytes": 3.5 * 2**30}
    assert str(tmp_path) not in (tmp_path / "out.json").read_text()
    assert content["settings"]["data"] == "some.h5"
    assert "a note" in remarks(bench)
    changed, unchanged = (
        remarks(replace(bench, settings=replace(bench.settings, changes=changes))) for changes in ({"ema": 0.9}, {})
    )
    assert changed == ["all rows with ema = 0.9", *unchanged]
    assert any("12.0 s of CPU, 3.50 GiB of memory at its peak" in remark for remark in content["notes"])


def test_the_command_prints_the_table_and_writes_json(data, in_this_process, tmp_path, monkeypatch, torch_threads):
    monkeypatch.setattr(ru_calc.studies.bench.training, "installed", lambda name: False)
    monkeypatch.setattr(ru_calc.studies.bench.training, "NETWORKS", {"small": SMALL})
    file = tmp_path / "out.json"
    done = CliRunner().invoke(main, ["bench-fit", data, "--batches", "2", "--rounds", "1", "--json", str(file)])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert [line.split()[0] for line in lines if " GiB of" not in line].count("small") == 3
    assert "few.h5" in lines[0] and "2 of the " in done.output and f"wrote {file}" in lines
    assert "3.50 GiB of memory" in done.output and "schnetpack: not installed" in done.output
    assert len(json.loads(file.read_text())["rows"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--batches", "0"], "0 is not in the range", 2),
        (["--rounds", "0"], "0 is not in the range", 2),
        (["nowhere.h5"], "there is no data file nowhere.h5", 1),
        (["--json", "nowhere/out.json"], "the folder of nowhere/out.json does not exist", 1),
    ],
)
def test_the_command_refuses(arguments, message, code, torch_threads):
    done = CliRunner().invoke(main, ["bench-fit", *arguments])
    assert done.exit_code == code and message in done.output
