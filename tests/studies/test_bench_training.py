"""The benchmark of a training step: all take the same batches, and what it makes of given times.

No test asserts a time.
"""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import ru_calc.studies.bench.peers
import ru_calc.studies.bench.training
from ru_calc.cli import main
from ru_calc.dataset import read_dataset
from ru_calc.dataset.hdf5 import write_dataset
from ru_calc.devices import Times
from ru_calc.errors import SettingsError
from ru_calc.fit.trainer import Trainer
from ru_calc.potentials.schnet import SchNetSettings
from ru_calc.studies.bench import TrainingSettings
from ru_calc.studies.bench.race import take_turns
from ru_calc.studies.bench.report import KEPT, finished, remarks, tables
from ru_calc.studies.bench.training import (
    FILTERS,
    SPLINES,
    TABLES,
    Workload,
    entries,
    epoch_note,
    run_training_bench,
    training_row,
    workload,
)
from ru_calc.studies.bench.training_steps import Entry, OwnSteps, SchNetPackSteps, rehearsal, steps
from ru_calc.studies.bench.worker import Worker

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
    return TrainingSettings(data, batches=3, repeats=2, changes=SMALL)


def own(settings: TrainingSettings, network: str = "default") -> dict[str, Entry]:
    return {entry.path: entry for entry in entries(settings) if entry.network == network and not entry.peer}


def peer(settings: TrainingSettings) -> Entry:
    return next(entry for entry in entries(settings) if entry.peer)


def batches_of(entry: Entry, settings: TrainingSettings):
    return workload(rehearsal(entry, read_dataset(settings.data)), settings.batches).batches


def scripted_bench(settings: TrainingSettings, epoch: dict | None = None) -> dict:
    """Row k takes k + 1 s, k + 2 s and k + 6 s for 2 batches of 10 atoms each."""
    work = Workload([np.array([0, 1]), np.array([2])], 20, 300, 50, 1000)
    rows = []
    for k, entry in enumerate(entries(settings)):
        facts = {"network": entry.network, "peak_bytes": 2**30}
        taken = SimpleNamespace(name=entry.path, per="training step", facts=lambda facts=facts: facts)
        rows.append(training_row(taken, work, [Times(k + s, 9.0, 0.5) for s in (1.0, 6.0, 2.0)]))
    machine = {"processor": "P", "cores": 1, "instructions": None}
    counts = {**vars(work), "batches": 2}
    return finished(settings, rows, TABLES, ["a note"], machine, workload=counts, epoch=epoch)


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


@pytest.mark.parametrize("change", [{"batches": 0}, {"repeats": 0}])
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(SettingsError, match=f"{next(iter(change))} is 0; it must be 1 or more"):
        TrainingSettings(**change)


def test_everyone_has_a_turn_in_every_round():
    diary: list[str] = []
    turns = take_turns({name: lambda: Times(1.0, 1.0) for name in "abc"}, 2, diary.append)
    assert diary == [*"abcabc"] and [len(found) for found in turns.values()] == [2, 2, 2]


# ---------------------------------------------------------------------------------------------- steps


def test_all_paths_step_over_the_same_batches(settings, monkeypatch):
    batches, dataset = batches_of(own(settings)[TABLES], settings), read_dataset(settings.data)
    seen: list[list[int]] = []
    step = Trainer.step

    def noted(self, frames, *args, **kwargs):
        assert kwargs.get("last_of_step", args[-1]) is True
        seen.append(frames.tolist())
        step(self, frames, *args, **kwargs)

    for path, entry in own(settings).items():
        made = OwnSteps(entry, dataset, batches)
        monkeypatch.setattr(Trainer, "step", noted)
        made.turn()
        monkeypatch.setattr(Trainer, "step", step)
        assert seen == [batch.tolist() for batch in batches], path
        assert made.rehearsal.trainer.compiled != entry.plain
        seen.clear()


def test_the_fused_path_and_plain_splines_move_the_weights_alike(settings):
    changes = {**SMALL, "dtype": "float64"}
    paths = own(TrainingSettings(settings.data, 3, 1, changes=changes))
    dataset = read_dataset(settings.data)
    batches = batches_of(paths[TABLES], settings)
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
    fit = rehearsal(entry, read_dataset(settings.data))
    work = workload(fit, settings.batches)
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
    fit = rehearsal(entry, dataset)
    batches = workload(fit, settings.batches).batches
    made = SchNetPackSteps(entry, dataset, batches)
    for batch, inputs in zip(batches, made.inputs(batches), strict=True):
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
    made = SchNetPackSteps(entry, dataset, batches_of(entry, settings))
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
    entry = own(settings)[TABLES]
    with closing(Worker(steps, entry, settings.data, batches_of(entry, settings), environment=KEPT)) as worker:
        assert os.environ["MALLOC_MMAP_THRESHOLD_"] == "1000000" and "MALLOC_TRIM_THRESHOLD_" not in os.environ
        inside = [worker._pool.submit(os.getenv, name).result() for name in KEPT]
        assert inside == list(KEPT.values())
        assert worker._pool.submit(os.getpid).result() != os.getpid()
        assert worker._pool.submit(torch.get_num_threads).result() == 1
        turn, peak = worker.timed("turn"), worker.peak_bytes()
        epoch = worker.timed("epoch")
        assert peak <= worker.peak_bytes()
    assert 0 < turn.cpu_s and 0 < epoch.cpu_s


class Here:
    """A worker that takes its turns in this process, and notes what it was given."""

    made: ClassVar[list[tuple[Entry, list[list[int]], bool]]] = []

    def __init__(self, make, entry, data, batches, environment=None):
        if entry.peer:
            raise ImportError("no such\nlibrary")
        self.made.append((entry, [batch.tolist() for batch in batches]))
        self.steps = make(entry, data, batches)

    def timed(self, method):
        getattr(self.steps, method)()
        return Times(2.0, 2.0) if method == "epoch" else Times(1.0, 1.0)

    def peak_bytes(self):
        return 3.5 * 2.0**30

    def close(self):
        pass


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(Here, "made", [])
    monkeypatch.setattr(ru_calc.studies.bench.training, "Worker", Here)
    monkeypatch.setattr(ru_calc.studies.bench.peers, "installed", lambda name: False)
    return Here.made


def test_all_workers_are_given_the_same_batches_and_the_first_row_an_epoch(settings, in_this_process):
    bench = run_training_bench(settings)
    field = [entry for entry in entries(settings) if not entry.peer]
    assert [entry for entry, _ in in_this_process] == [*field, field[0]]
    given = in_this_process[0][1]
    assert all(batches == given for _, batches in in_this_process[:-1])
    rows = [(row["network"], row["contestant"]) for row in bench["rows"]]
    assert rows == [(entry.network, entry.path) for entry in field]
    assert {row["repeats"] for row in bench["rows"]} == {settings.repeats}
    changes, absent, epoch = bench["notes"][:3]
    assert changes.startswith("all rows with model.channels = 8, model.angular_radial = 2")
    assert absent == "schnetpack: not installed (pip install 'ru-calc[bench]')"
    assert "2.0 s of CPU, 3.50 GiB of memory at its peak" in epoch
    assert bench["epoch"] == {"cpu_s": 2.0, "peak_bytes": 3.5 * 2**30}


def test_a_peer_that_cannot_be_imported_is_left_out_and_named(settings, in_this_process, monkeypatch):
    monkeypatch.setattr(ru_calc.studies.bench.peers, "installed", lambda name: True)
    once = replace(settings, epoch=False, repeats=1, changes={**SMALL})
    bench = run_training_bench(once)
    assert len(bench["rows"]) == 6 and bench["epoch"] is None
    assert bench["notes"][1:2] == ["schnetpack: installed, but it cannot be imported (no such library)"]
    for name, reason in {
        "schnetpack": "installed, but it cannot be",
        "emt": "it cannot be trained",
    }.items():
        with pytest.raises(SettingsError, match=f"the peer {name} cannot take part: {reason}"):
            run_training_bench(replace(once, peers=(name,)))
    assert not any("schnetpack" in note for note in run_training_bench(replace(once, peers=("none",)))["notes"])


# ---------------------------------------------------------------------------------------------- report


def test_rows_are_medians_per_atom_batch_and_epoch_over_the_first_of_the_network(settings):
    rows = scripted_bench(settings)["rows"]
    first, second, fourth, fifth = rows[0], rows[1], rows[3], rows[4]
    assert first["cpu_us"] == pytest.approx(2e6 / 20) and first["cpu_us_min"] == pytest.approx(1e6 / 20)
    assert first["cpu_us_max"] == pytest.approx(6e6 / 20)
    assert first["batch_ms"] == pytest.approx(1000) and first["epoch_s"] == pytest.approx(50)
    assert second["ratio"] == pytest.approx(3 / 2)
    assert first["ratio"] == fourth["ratio"] == 1 and fifth["ratio"] == pytest.approx(6 / 5)
    assert first["system_share"] == pytest.approx(1.5 / 9) and first["peak_bytes"] == 2**30


def test_the_table_has_a_row_for_each_and_a_section_for_each_network(settings):
    (table,) = tables(scripted_bench(settings))
    first, second = table.title.splitlines()
    assert "on few.h5, 1 thread, float32; × is over fused operators" in first
    assert second == "2 of the 50 batches of an epoch, 10 atoms and 150 pairs each, median of 2 rounds"
    assert [" ".join(heading.split()) for heading in table.head] == [
        "network", "path", "CPU µs/atom", "min – max", "×", "system %", "ms per batch", "CPU s per epoch", "memory GiB",
    ]  # fmt: skip
    field = entries(settings)
    assert [row[:2] for row in table.rows] == [[entry.network, entry.path] for entry in field]
    assert table.sections == [entry.network for entry in field]
    assert table.rows[0][2:] == ["100000", "50000 – 300000", "1", "17", "1000", "50", "1"]


def test_json_holds_the_numbers_of_the_table_and_no_path(settings, tmp_path):
    epoch = {"cpu_s": 12.0, "peak_bytes": None}
    bench = scripted_bench(replace(settings, data=str(tmp_path / "some.h5")), epoch=epoch)
    found = json.loads(json.dumps(bench))
    assert found["workload"] == {"batches": 2, "atoms": 20, "pairs": 300, "epoch_batches": 50, "epoch_atoms": 1000}
    assert found["turns"][0]["cpu_us"] == pytest.approx([5e4, 3e5, 1e5]) and found["epoch"] == epoch
    assert str(tmp_path) not in json.dumps(found) and found["settings"]["data"] == "some.h5"
    assert remarks(found)[0].startswith("P, 1 cores, no kernel") and remarks(found)[1] == "- a note"
    assert "12.0 s of CPU, an unknown amount of memory" in epoch_note(entries(settings)[0], **epoch)


def bench_of_training(*arguments):
    return CliRunner().invoke(main, ["bench", "--training", *map(str, arguments)])


def test_the_command_prints_the_table_and_writes_json_to_be_shown_again(
    data, in_this_process, tmp_path, monkeypatch, torch_threads
):
    monkeypatch.setattr(ru_calc.studies.bench.training, "NETWORKS", {"small": SMALL})
    file = tmp_path / "out.json"
    done = bench_of_training("--data", data, "--batches", 2, "--repeats", 1, "--json", file)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert [line.split()[0] for line in lines if line.strip() and " GiB of" not in line].count("small") == 3
    assert "few.h5" in lines[0] and "2 of the " in done.output and f"wrote {file}" in lines
    assert "3.50 GiB of memory" in done.output and "schnetpack: not installed" in done.output
    assert len(json.loads(file.read_text())["rows"]) == 3
    again = CliRunner().invoke(main, ["bench", "--from", str(file)])
    assert again.exit_code == 0 and again.output.splitlines() == lines[:-1]
    drawn = CliRunner().invoke(main, ["bench", "--from", str(file), "--plot", str(tmp_path / "plot.png")])
    assert drawn.exit_code == 2 and "--plot draws force calls" in drawn.output


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--batches", "0"], "0 is not in the range", 2),
        (["--repeats", "0"], "0 is not in the range", 2),
        (["--data", "nowhere.h5"], "there is no data file nowhere.h5", 1),
        (["--json", "nowhere/out.json"], "the folder of nowhere/out.json does not exist", 1),
        (["--atoms", "64"], "--atoms has no effect with --training; leave it out", 2),
        (["--plot", "speed.png"], "--plot has no effect with --training; leave it out", 2),
    ],
)
def test_the_command_refuses(arguments, message, code, torch_threads):
    done = bench_of_training(*arguments)
    assert done.exit_code == code and message in done.output
