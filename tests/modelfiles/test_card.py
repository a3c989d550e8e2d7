"""The card: it says what was measured, and does not hide what is bad."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click import BadParameter
from click.testing import CliRunner
from conftest import small_model
from labelled import SMALL_FIT, lj_frames, quiet

from ru_calc.cli import main
from ru_calc.cli.card import _speeds
from ru_calc.dataset import Dataset, write_dataset
from ru_calc.evaluate import assess, predict_by_model
from ru_calc.evaluate.metrics import ALL
from ru_calc.fit.committee import run_committee
from ru_calc.fit.run import FitInput, run_fit
from ru_calc.fit.settings import with_changes
from ru_calc.fit.uncertainty import add_uncertainty
from ru_calc.modelfiles import load_model, open_model
from ru_calc.modelfiles.card import CardFacts, HeldOutErrors, beaten_by, card, frame_table
from ru_calc.modelfiles.load import save_model
from ru_calc.reports.tables import number, percent

DATA = Dataset.from_atoms(lj_frames(8), level_of_theory="Lennard-Jones")
PARTS = {"train": np.arange(4), "validation": np.arange(4, 6), "test": np.arange(6, 8)}


@pytest.fixture(autouse=True)
def without_plots(monkeypatch):
    """They take longer than the rest, and are tested elsewhere."""
    for name in ("fit.run.learning_curves", "fit.report.parity_plot", "evaluate.report.parity_plot"):
        monkeypatch.setattr(f"ru_calc.{name}", lambda *arguments, **options: None)


@pytest.fixture
def facts(tmp_path) -> CardFacts:
    header = {
        "level_of_theory": "Lennard-Jones", "energy_reference": "free atoms", "data": DATA.fingerprint(), "seed": 3,
        "licence": "MIT", "metrics": {"epoch": 4}, "fit": {"epochs": 5, "split": [0.6, 0.2, 0.2]},
    }  # fmt: skip
    path = tmp_path / "m.safetensors"
    save_model(path, small_model(), header)
    found = assess(DATA, predict_by_model(open_model(path, "float64").predictor, DATA), PARTS)
    kinds, groups = ([row for row in rows if row["split"] == "test"] for rows in (found.rows, found.groups))
    parts = [row for row in found.rows if row["config_type"] == ALL]
    test = HeldOutErrors(kinds, groups)
    return CardFacts(
        "m", load_model(path).header, [DATA], parts, test, "| a |\n", ["ru-calc fit data.h5 -o run"], {}, ["A note."]
    )


def test_card_states_origin_errors_and_limits(facts):
    text = card(facts)
    for words in (
        "Lennard-Jones",
        "**Seed**: 3",
        "4 of 5",
        "MIT",
        "**Command**: `ru-calc fit data.h5 -o run`",
        "A note.",
    ):
        assert words in text
    test = next(row for row in facts.test.kinds if row["config_type"] == "all")
    energy = test["energy_MAE_meV_per_atom"]
    assert f"| test | 2 | {number(energy)} |" in text
    # A random network is far off, and the card says on what.
    assert "Force RMSE above 15 % of the rms force" in text and "fcc" in text.split("## Where not to trust it")[1]
    assert "Fitted together with" not in text and "Start" not in text


def test_card_names_all_data_all_commands_and_the_start(facts):
    other = replace(DATA.select(range(5)), level_of_theory="Morse", config_type=np.array(["eos"] * 4 + ["surf"]))
    header = {**facts.header, "init_from": "default", "fit": {**facts.header["fit"], "keep": "last"}}
    text = card(replace(facts, header=header, levels=[DATA, other], commands=["one", "two"]))
    assert f"**Fitted together with**: Morse (SHA-256 {other.fingerprint()[:16]}…)" in text
    assert "**Commands**: `one`; `two`" in text and "**Start**: the weights of `default`" in text
    assert "4 of 5 (the last)" in text and "4 of 5 (best validation loss)" in card(facts)
    assert frame_table([DATA, other]).head == ["group", "Lennard-Jones", "Morse"]
    rows = {row[0]: row[1:] for row in frame_table([DATA, other]).rows}
    assert rows["all"][1] == f"5 ({other.structures.n_atoms} atoms)"
    assert rows["slab"] == ["–", "1"] and rows["volume scan"][1] == "4"
    assert sum(int(row[0]) for group, row in rows.items() if group != "all" and row[0] != "–") == len(DATA)


def test_card_tells_how_good_the_uncertainty_is(facts, tmp_path):
    assert "Uncertainty" not in card(facts)
    dataset = Dataset.from_atoms(lj_frames(16, seed=1))
    entry = add_uncertainty(tmp_path / "m.safetensors", DATA, dataset, say=quiet)
    text = card(replace(facts, header=load_model(tmp_path / "m.safetensors").header))
    found = entry["calibration"]
    assert f"Calibrated on 16 frames that were not fitted to ({dataset.level_of_theory})" in text
    assert f"| all | {found['atoms']} | {number(found['rank_correlation'])} | {percent(found['coverage_68'])} |" in text


def scaled(rows, factor):
    return [{**row, "energy_RMSE_meV_per_atom": row["energy_RMSE_meV_per_atom"] * factor} for row in rows]


def test_card_names_what_a_peer_does_better(facts):
    kinds, groups = facts.test.kinds, facts.test.groups
    better, worse = (HeldOutErrors(scaled(kinds, f), scaled(groups, f)) for f in (0.5, 2))
    good, bad = replace(facts, peers={"peer": worse}), replace(facts, peers={"peer": better})
    assert beaten_by(good, "peer") == [] and "It beats peer on every config type of the test frames" in card(good)
    assert beaten_by(bad, "peer") == [f"{row['config_type']} (energy)" for row in kinds]
    of_groups = replace(bad, test=HeldOutErrors((), groups))  # the peer's are known by config type, too
    assert beaten_by(of_groups, "peer") == [f"{row['config_type']} (energy)" for row in groups]
    assert "peer has the smaller error on" in card(bad)
    for rows, by in ((kinds, "by config type"), (groups, "by group")):
        table = card(bad).split(f"## Errors on the test split, {by}")[1].split("##")[0]
        assert f"| {number(rows[0]['energy_RMSE_meV_per_atom'] / 2)} |" in table


def test_errors_that_are_not_known_are_neither_better_nor_worse(facts):
    unknown = [{**row, "energy_RMSE_meV_per_atom": None, "forces_frame_error": None} for row in facts.test.groups]
    mine = replace(facts, test=HeldOutErrors((), unknown), peers={"peer": facts.test})
    assert beaten_by(mine, "peer") == [] and "by config type" not in card(mine)
    assert beaten_by(replace(facts, peers={"peer": HeldOutErrors(unknown, unknown)}), "peer") == []


def made(*words):
    return CliRunner().invoke(main, ["card", *map(str, words)])


@pytest.fixture
def files(facts, tmp_path, monkeypatch):
    """Model, data, split and card of a fit; properties are not measured."""
    write_dataset(DATA, tmp_path / "data.h5")
    parts = {name: part.tolist() for name, part in PARTS.items()}
    (tmp_path / "split.json").write_text(json.dumps({"data": DATA.fingerprint(), **parts}))
    monkeypatch.setattr("ru_calc.properties.all_properties", lambda calculator, phonons: calculator.header and [])
    return [tmp_path / name for name in ("m.safetensors", "data.h5", "split.json", "card.md")]


def test_the_command_reads_the_model_once(files, monkeypatch):
    read = []
    monkeypatch.setattr(
        "ru_calc.modelfiles.open.open_model", lambda model, *a: read.append(model) or open_model(model, *a)
    )
    model, data, split, output = files
    result = made(model, data, "--split", split, "--command", "made by hand", "-o", output)
    assert result.exit_code == 0, result.output
    assert read == [str(model)] and "made by hand" in output.read_text()


def test_data_of_all_levels_must_be_given(files, facts, tmp_path):
    model, data, split, output = files
    morse = replace(DATA.select(range(5)), level_of_theory="Morse")
    write_dataset(morse, tmp_path / "morse.h5")
    save_model(model, small_model(), {**facts.header, "other_levels": {"Morse": morse.fingerprint()}})
    less = made(model, data, "--split", split, "--command", "x", "-o", output)
    assert less.exit_code == 1 and "'Morse' are none" in less.output
    result = made(model, tmp_path / "morse.h5", data, "--split", split, "--command", "x", "-o", output)
    assert result.exit_code == 0, result.output
    assert "**Fitted together with**: Morse" in output.read_text()


def errors_of_a_peer(files, *words):
    folder = files[0].parent / "peer"
    arguments = ["evaluate", files[1], "--calculator", "nearest:NearestNeighbours", "-o", folder, "--overwrite", *words]
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return folder / "errors.json"


def test_a_peer_stands_in_both_tables(files):
    model, data, split, output = files
    errors = errors_of_a_peer(files, "--split", split, "--part", "test")
    content = json.loads(errors.read_text())
    assert [row["config_type"] for row in content["groups"]] != [row["config_type"] for row in content["errors"]]
    result = made(model, data, "--split", split, "--command", "x", "-o", output, "--peer", f"pairs={errors}")
    assert result.exit_code == 0, result.output
    heads = [line for line in output.read_text().splitlines() if "pairs: E RMSE | pairs: F error per frame" in line]
    assert len(heads) == 2


def test_inputs_that_do_not_belong_together_are_refused(files, tmp_path):
    model, data, split, output = files
    all_frames = errors_of_a_peer(files)
    write_dataset(DATA.select(range(7)), tmp_path / "less.h5")
    write_dataset(replace(DATA, level_of_theory="Morse"), tmp_path / "morse.h5")
    (tmp_path / "old.json").write_text(json.dumps({"errors": [], "data_hash": "x"}))
    foreign = {**json.loads(all_frames.read_text()), "data_hash": "f" * 64}
    (tmp_path / "foreign.json").write_text(json.dumps(foreign))
    (tmp_path / "untested.json").write_text(json.dumps({"data": DATA.fingerprint(), "train": list(range(8))}))
    given = {"split": split, "data": [data], "peer": None}
    for changes, message in (
        ({"peer": all_frames}, "pairs was evaluated on 8 frames, but the test frames are 2"),
        ({"peer": tmp_path / "old.json"}, "is not an errors.json of 'ru-calc evaluate' of this version"),
        ({"peer": tmp_path / "foreign.json"}, "pairs was evaluated on the data set ffffffffffff"),
        ({"data": [tmp_path / "less.h5"]}, "those that the model was fitted to"),
        ({"data": [data, tmp_path / "morse.h5"]}, "'Morse' are"),
        ({"data": [tmp_path / "morse.h5"]}, "no data set is of level 'Lennard-Jones'"),
        ({"split": tmp_path / "untested.json"}, "the split has no test frames"),
    ):
        now = {**given, **changes}
        peer = ["--peer", f"pairs={now['peer']}"] if now["peer"] else []
        result = made(model, *now["data"], "--split", now["split"], "--command", "x", "-o", output, *peer)
        assert result.exit_code != 0 and message in " ".join(result.output.split()), (changes, result.output)
        assert "Traceback" not in result.output and not output.exists()


def test_the_card_of_folds_shows_what_each_fit_had_not_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("ru_calc.properties.all_properties", lambda calculator, phonons: [])
    data = Dataset.from_atoms(lj_frames(20), level_of_theory="Lennard-Jones")
    write_dataset(data, tmp_path / "data.h5")
    settings, run = with_changes("md", {**SMALL_FIT, "epochs": 1}), tmp_path / "run"
    run_fit(FitInput(data, tmp_path / "start", settings), say=quiet)
    in_folds = FitInput(data, run, replace(settings, folds=2), init_from=str(tmp_path / "start"))
    result = run_committee(in_folds, 2, say=quiet)
    assert {row["split"] for row in result["errors"]} == {"test"} and result["errors"][0] == result["groups"][0]
    assert result["errors"][0]["frames"] == len(data)
    errors = errors_of_a_peer([run, tmp_path / "data.h5"])
    output = tmp_path / "card.md"
    words = [run, tmp_path / "data.h5", "--split", run, "--command", "x", "-o", output, "--peer", f"pairs={errors}"]
    done = made(*words)
    assert done.exit_code == 0, done.output
    text = output.read_text()
    pooled = result["groups"][0]
    assert "20 in 2 folds, each the test frames of one fit" in text
    assert "1 of each of 2 fits, whose weights are averaged" in text
    assert f"| all folds, held out | 20 | {number(pooled['energy_MAE_meV_per_atom'])} |" in text
    assert f"| fold 2 | 10 | {number(result['members'][1]['errors']['test']['energy_MAE_meV_per_atom'])} |" in text
    assert "| this model, on frames of its fits | 20 |" in text
    assert "## Errors on held-out frames of 2 folds, by group" in text and "by config type" in text
    (run / "committee.json").write_text('{"groups": []}')
    assert "committee.json' is damaged" in " ".join(made(*words).output.split())


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
