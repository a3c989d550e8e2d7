"""The card: it says what was measured, and does not hide what is bad."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click import BadParameter
from click.testing import CliRunner
from conftest import small_model
from labelled import lj_frames

from ru_calc.cli import main
from ru_calc.cli.card import _speeds
from ru_calc.dataset import Dataset, read_dataset, write_dataset
from ru_calc.evaluate import assess, predict_by_model
from ru_calc.modelfiles import load_model, open_model
from ru_calc.modelfiles.card import GROUPS, CardFacts, beaten_by, card, group_of
from ru_calc.modelfiles.load import save_model


@pytest.fixture
def facts(tmp_path) -> CardFacts:
    dataset = Dataset.from_atoms(lj_frames(8))
    header = {
        "level_of_theory": "Lennard-Jones", "energy_reference": "free atoms", "data": dataset.fingerprint(), "seed": 3,
        "licence": "MIT", "metrics": {"epoch": 4}, "fit": {"epochs": 5, "split": [0.6, 0.2, 0.2]},
    }  # fmt: skip
    path = tmp_path / "m.safetensors"
    save_model(path, small_model(), header)
    parts = {"train": np.arange(4), "validation": np.arange(4, 6), "test": np.arange(6, 8)}
    predictions = predict_by_model(open_model(path, "float64").predictor, dataset)
    rows = assess(dataset, predictions, parts).rows
    grouped = replace(dataset, config_type=np.array([group_of(kind) for kind in dataset.config_type]))
    groups = assess(grouped, predictions, parts).rows
    return CardFacts(
        "m", load_model(path).header, rows, groups, "| a |\n", "ru-calc fit data.h5 -o run", {}, ["A note."]
    )


def test_card_states_origin_errors_and_limits(facts):
    text = card(facts)
    for words in ("Lennard-Jones", "**Seed**: 3", "4 of 5", "MIT", "ru-calc fit data.h5 -o run", "A note."):
        assert words in text
    test = next(row for row in facts.errors if row["split"] == "test" and row["config_type"] == "all")
    energy = test["energy_MAE_meV_per_atom"]
    assert f"| test | 2 | {energy:.3g} |" in text or f"| test | 2 | {energy:.0f} |" in text
    # A random network is far off, and the card says on what.
    assert "Force RMSE above 15 % of the rms force" in text and "fcc" in text.split("## Where not to trust it")[1]


def test_card_names_what_a_peer_does_better(facts):
    test = [row for row in facts.errors if row["split"] == "test"]
    better = [{**row, "energy_MAE_meV_per_atom": row["energy_MAE_meV_per_atom"] / 2} for row in test]
    worse = [{**row, "energy_MAE_meV_per_atom": row["energy_MAE_meV_per_atom"] * 2} for row in test]
    good, bad = replace(facts, peers={"peer": worse}), replace(facts, peers={"peer": better})
    assert beaten_by(good, "peer") == [] and "It beats peer on every config type" in card(good)
    assert len(beaten_by(bad, "peer")) == len(test) and "peer has the smaller error on" in card(bad)


def test_the_command_reads_the_model_once(facts, tmp_path, monkeypatch):
    dataset, read = Dataset.from_atoms(lj_frames(8)), []
    write_dataset(dataset, tmp_path / "data.h5")
    parts = {"train": [0, 1, 2, 3], "validation": [4, 5], "test": [6, 7]}
    (tmp_path / "split.json").write_text(json.dumps({"data": dataset.fingerprint(), **parts}))
    monkeypatch.setattr(
        "ru_calc.modelfiles.open.open_model", lambda model, *a: read.append(model) or open_model(model, *a)
    )
    monkeypatch.setattr("ru_calc.properties.all_properties", lambda calculator, phonons: calculator.header and [])
    paths = [str(tmp_path / name) for name in ("m.safetensors", "data.h5", "split.json", "card.md")]
    options = ["--split", paths[2], "--command", "made by hand", "-o", paths[3]]
    result = CliRunner().invoke(main, ["card", paths[0], paths[1], *options])
    assert result.exit_code == 0, result.output
    assert read == [paths[0]] and "made by hand" in (tmp_path / "card.md").read_text()


def test_every_shipped_config_type_has_a_group():
    kinds = np.unique(read_dataset("distilled").config_type)
    assert {group_of(kind) for kind in kinds} == set(GROUPS)


def test_card_sets_accuracy_against_speed_from_a_benchmark(facts):
    metrics = {"epoch": 4, "validation_forces_meV_per_A": 123.4, "validation_energy_meV_per_atom": 5.67}
    header = {**facts.header, "metrics": metrics}
    speeds = [{"model": "m", "header": header, "atoms": 4000, "cpu_us": 8.91}]
    text = card(replace(facts, speeds=speeds))
    network = "16 channels, 2 blocks, l ≤ 4, 4 radial"
    assert f"| `m` | {network} | 123 | 5.67 | 8.9 |" in text and "(4000 atoms)" in text
    assert "Accuracy against speed" not in card(facts)


def test_speeds_are_those_of_the_engines_at_one_thread_and_a_middle_size(tmp_path):
    def row(contestant, atoms, threads=1, cpu_us=1.0):
        return {"contestant": contestant, "atoms": atoms, "threads": threads, "cpu_us": cpu_us}

    rows = [row("engine default", 64), row("engine default", 4000, cpu_us=9.0), row("engine default", 99000)]
    rows += [row("engine default", 4000, threads=2), row("ASE EMT (Cu)", 4000)]
    (tmp_path / "bench.json").write_text(json.dumps({"rows": rows}))
    (found,) = _speeds(tmp_path / "bench.json")
    assert (found["model"], found["atoms"], found["cpu_us"]) == ("default", 4000, 9.0)
    assert found["header"]["family"] == "schnet"
    (tmp_path / "bench.json").write_text("{}")
    with pytest.raises(BadParameter, match="is not a JSON file of 'ru-calc bench'"):
        _speeds(tmp_path / "bench.json")
