"""A sweep: the built-in trials fit the settings, the table is made of validation errors, and a killed one goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from labelled import SMALL_FIT, lj_frames, quiet

import ru_calc.studies.sweep.run as sweep
from ru_calc import RuCalculator
from ru_calc.dataset import Dataset
from ru_calc.errors import DataError, RuCalcError, SettingsError
from ru_calc.evaluate import assess, predict_by_model, read_split
from ru_calc.fit.settings import with_changes
from ru_calc.studies.sweep import report
from ru_calc.studies.sweep.plan import SWEEP, Plan, plan_sweep, stored
from ru_calc.studies.sweep.trials import PRESET, Trials, built_in, check_trials, read_trials

SMALL = {**SMALL_FIT, "batch_atoms": 0, "batch_pairs": 780, "model.l_max": 2, "model.spline_intervals": 16, "epochs": 2}
TRIALS: Trials = {
    "base": {},
    "seed": {"seed": 5},
    "wide": {"model.channels": 12},
    "weights": {"forces_weight": [1.0, 1.0], "rate_blocks": 0.01},
    "other": {"family": "calhousnet"},
}


@pytest.fixture(autouse=True, scope="module")
def in_short() -> Iterator[None]:
    """A short race, and no figures of single fits."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sweep, "ATOMS", 16)
        patched.setattr(sweep, "REPEATS", 1)
        patched.setattr("ru_calc.studies.bench.race.LEAST_S", 0.001)
        patched.setattr("ru_calc.fit.run.learning_curves", lambda *_, **__: None)
        patched.setattr("ru_calc.fit.report.parity_plot", lambda *_, **__: None)
        yield


def frames() -> Dataset:
    return Dataset.from_atoms(lj_frames(24), level_of_theory="Lennard-Jones")


def swept(folder: Path, only: tuple[str, ...] = (), trials: Trials | None = None, **options) -> dict:
    """A sweep over `TRIALS`, or what is left of it."""
    resume = SWEEP.begun(folder)
    plan = plan_sweep(folder, {} if resume else SMALL, trials or (None if resume else TRIALS), resume)
    return sweep.run_sweep(options.pop("dataset", frames()), folder, plan, only, say=options.pop("say", quiet))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("sweep") / "s"
    return folder, swept(folder)


def test_every_built_in_trial_is_a_fit_of_its_own() -> None:
    trials = built_in({})
    assert {"base", "channels-96", "readout-64x64", "layer_norm-true", "batch-half", "rates-double", "plain"} <= {
        *trials
    }
    found = check_trials(trials, {})
    assert found["base"] == with_changes(PRESET, {})
    assert all(found[one] != found[other] for one in found for other in found if one < other)
    assert found["seed"].seed == 1 and found["ema-0.9995"].ema == 0.9995
    assert found["energy_weight-half"].energy_weight == tuple(0.5 * w for w in found["base"].energy_weight)


def test_built_in_trials_follow_what_all_share() -> None:
    trials = built_in({"model.channels": 96, "seed": 3, "batch_frames": 5, "rate_blocks": 0.5})
    assert "channels-96" not in trials and "channels-32" in trials and trials["seed"] == {"seed": 4}
    assert trials["batch-half"]["batch_frames"] == 2 and trials["batch-half"]["batch_atoms"] == 0
    assert trials["rates-double"]["rate_blocks"] == 1.0
    with pytest.raises(SettingsError, match="for family schnet, not ani; give --trials"):
        built_in({"family": "ani"})


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        ({"a/b": {}}, "it names a folder"),
        ({"..": {}}, "it names a folder"),
        ({"long": {"epochs": 9}}, "trial long: epochs is common to all trials"),
        ({"cut": {"split": [0.5, 0.5, 0.0]}}, "trial cut: split is common"),
        ({"odd": {"model.nonesuch": 1}}, "trial odd: family 'schnet' has no hyper-parameter 'nonesuch'"),
        ({"odd": {"model.channels": "many"}}, "trial odd: model.channels is 'many'"),
        ({"fine": {}, "odd": {"ema": 2.0}}, "trial odd: ema is 2.0"),
    ],
)
def test_a_wrong_trial_is_refused_by_name(tmp_path: Path, trials: Trials, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        plan_sweep(tmp_path / "s", SMALL, trials)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"), ("{}", "must hold trials by name"), ('["base"]', "must hold trials by name"),
        ('{"base": 3}', "must hold trials by name"), ('{"a": {}, "a": {"ema": 0.9}}', "occurs twice in a, a"),
    ],
)  # fmt: skip
def test_a_file_without_trials_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(SettingsError, match=words):
        read_trials(tmp_path / "t.json")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_trials(tmp_path / "none.json")


def test_the_table_holds_every_trial_the_smallest_force_error_first(whole: tuple[Path, dict]) -> None:
    folder, results = whole
    errors = [row["forces_RMSE_meV_per_A"] for row in results["trials"]]
    assert {row["trial"] for row in results["trials"]} == TRIALS.keys() and errors == sorted(errors)
    lines = [line for line in (folder / "sweep.md").read_text().splitlines() if line.startswith("| ")]
    assert [line.split("|")[1].strip(" *") for line in lines[1:]] == [row["trial"] for row in results["trials"]]
    assert "| channels=12 |" in "\n".join(lines) and "forces_weight=[1.0,1.0], rate_blocks=0.01" in "\n".join(lines)
    stored_results = json.loads((folder / "sweep.json").read_text())
    assert stored_results["data"] == frames().fingerprint() and stored_results["settings"]["seed"] == 0
    assert stored_results["machine"]["torch"] and stored_results["trials"] == results["trials"]
    assert (folder / "sweep.png").stat().st_size > 1000


def test_a_trial_knows_its_size_its_cost_and_its_loss_where_that_can_be_compared(whole: tuple[Path, dict]) -> None:
    folder, results = whole
    rows = {row["trial"]: row for row in results["trials"]}
    assert rows["wide"]["parameters"] > rows["base"]["parameters"] > 0
    assert all(row["epochs"] == 2 and row["cpu_min"] > 0 for row in rows.values())
    assert rows["weights"]["validation_loss"] is None and rows["base"]["validation_loss"] > 0
    log = (folder / "trials" / "base" / "log.csv").read_text().splitlines()
    column = log[0].split(",").index("validation_loss")
    assert rows["base"]["validation_loss"] == min(float(line.split(",")[column]) for line in log[1:])
    assert rows["base"]["cpu_us"] > 0 and rows["other"]["cpu_us"] is None


def test_errors_are_those_of_the_stored_model_on_the_validation_frames(whole: tuple[Path, dict]) -> None:
    folder, results = whole
    split = read_split(folder, frames())
    assert sorted(np.concatenate([*split.values()])) == list(range(24)) and all(map(len, split.values()))
    row = next(row for row in results["trials"] if row["trial"] == "wide")
    predictor = RuCalculator(folder / "trials" / "wide" / "best.safetensors", "cpu", "float64").predictor
    part = {"validation": split["validation"]}
    found = assess(frames(), predict_by_model(predictor, frames().select(np.sort(part["validation"]))), part).rows[0]
    for name in sweep.ERRORS:
        assert row[name] == pytest.approx(found[name], rel=1e-6), name


def test_all_trials_are_judged_by_the_same_frames_also_with_another_seed(whole: tuple[Path, dict]) -> None:
    folder, _ = whole
    splits = {(folder / "trials" / name / "split.json").read_text() for name in TRIALS}
    assert len(splits) == 1
    assert json.loads((folder / "trials" / "seed" / "settings.json").read_text())["settings"]["seed"] == 5


def test_no_trial_touches_the_test_frames(whole: tuple[Path, dict], tmp_path: Path) -> None:
    """Test frames with other positions and without labels change nothing but the fingerprint."""
    folder, results = whole
    test = read_split(folder, frames())["test"]
    data = frames()
    atoms = data.structures.atoms_of(test)
    positions, energy, forces = data.structures.positions.copy(), data.energy.copy(), data.forces.copy()
    positions[atoms] += 0.3 * np.random.default_rng(0).normal(size=positions[atoms].shape)
    energy[test], forces[atoms] = -1e6, np.nan
    spoilt = replace(data, structures=replace(data.structures, positions=positions), energy=energy, forces=forces)
    assert spoilt.fingerprint() != data.fingerprint()
    again = swept(tmp_path / "s", dataset=spoilt, only=("base",))
    found, expected = ({row["trial"]: row for row in of["trials"]}["base"] for of in (again, results))
    for name in (*sweep.ERRORS, "validation_loss"):
        assert found[name] == expected[name], name
    for name in TRIALS:
        metrics = json.loads((folder / "trials" / name / "metrics.json").read_text())
        assert metrics.keys() == {"train", "validation"}


def test_a_killed_sweep_goes_on_to_the_same_table(whole: tuple[Path, dict], tmp_path: Path) -> None:
    """Killed in the second trial after the first of its two epochs; the first is not fitted again."""
    _, expected = whole

    def stop(line: str) -> None:
        if line.startswith("seed: epoch    1/2"):
            raise KeyboardInterrupt

    folder = tmp_path / "s"
    with pytest.raises(KeyboardInterrupt):
        swept(folder, only=("base", "seed"), say=stop)
    assert (folder / "trials" / "base" / "metrics.json").is_file() and not (folder / "sweep.md").exists()
    before = (folder / "trials" / "base" / "best.safetensors").stat().st_mtime_ns
    lines: list[str] = []
    found = swept(folder, only=("base", "seed"), say=lines.append)
    assert "base: already finished" in lines and "seed: resumed after epoch 1" in lines
    assert (folder / "trials" / "base" / "best.safetensors").stat().st_mtime_ns == before
    those = [row for row in expected["trials"] if row["trial"] in ("base", "seed")]
    for row, other in zip(found["trials"], those, strict=True):
        assert [row[name] for name in ("trial", *sweep.ERRORS)] == [other[name] for name in ("trial", *sweep.ERRORS)]


def test_processes_share_a_folder_and_trials_can_be_added(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    assert [row["trial"] for row in swept(folder, only=("wide",))["trials"]] == ["wide"]
    assert {row["trial"] for row in swept(folder, only=("base",))["trials"]} == {"wide", "base"}
    added = swept(folder, only=("narrow",), trials={"narrow": {"model.channels": 4}})
    assert {row["trial"] for row in added["trials"]} == {"wide", "base", "narrow"}
    assert list(stored(folder).trials) == [*TRIALS, "narrow"]


def test_a_trial_that_breaks_down_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = sweep.finish_fit

    def breaking(job, *arguments, **options):
        if job.settings.seed == 5:
            (tmp_path / "s" / "trials" / "seed").mkdir(parents=True)
            raise RuCalcError("the loss is nan in epoch 1")
        return fit(job, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(sweep, "finish_fit", breaking)
        results = swept(tmp_path / "s", only=("seed", "wide"))
    assert [row["trial"] for row in results["trials"]] == ["wide"]
    assert "`seed` has no result: the loss is nan in epoch 1" in (tmp_path / "s" / "sweep.md").read_text()
    assert swept(tmp_path / "s", only=("seed",))["stopped"] == {}


def test_another_sweep_in_the_folder_is_refused(whole: tuple[Path, dict], tmp_path: Path) -> None:
    folder, _ = whole
    with pytest.raises(SettingsError, match="already holds a sweep; use --resume"):
        plan_sweep(folder, SMALL, TRIALS)
    with pytest.raises(SettingsError, match="holds no sweep to resume"):
        plan_sweep(tmp_path, SMALL, TRIALS, resume=True)
    with pytest.raises(SettingsError, match=r"changed settings: epochs: 2 → 3; seed: 0 → 1"):
        plan_sweep(folder, {"epochs": 3, "seed": 1}, resume=True)
    with pytest.raises(SettingsError, match=r"trial wide: model\.channels: 12 → 13"):
        plan_sweep(folder, {}, {"wide": {"model.channels": 13}}, resume=True)
    plan = plan_sweep(folder, {}, resume=True)
    with pytest.raises(SettingsError, match=r"changed settings: data: .* → "):
        sweep.run_sweep(Dataset.from_atoms(lj_frames(24, seed=1)), folder, plan, say=quiet)
    with pytest.raises(SettingsError, match="there is no trial 'nonesuch'; choose from base, seed"):
        sweep.run_sweep(frames(), folder, plan, ("nonesuch",), say=quiet)
    (tmp_path / "plan.json").write_text('{"trials": 3}')
    with pytest.raises(SettingsError, match="damaged"):
        plan_sweep(tmp_path, {}, resume=True)


def test_data_that_cannot_be_fitted_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    unlabelled = replace(frames(), stress=np.full((24, 6), np.nan))
    with pytest.raises(DataError, match="has stress"):
        swept(tmp_path / "s", dataset=unlabelled)
    with pytest.raises(DataError, match="is empty"):
        swept(tmp_path / "s", dataset=frames().select(range(2)))
    assert not (tmp_path / "s").exists()


def test_the_front_is_what_nothing_beats_in_both() -> None:
    points = {"quick": (1.0, 9.0), "both": (2.0, 5.0), "worse": (3.0, 5.0), "as good": (2.0, 5.0), "exact": (9.0, 1.0)}
    assert report.pareto(points) == {"quick", "both", "as good", "exact"}


def test_the_plan_leaves_no_frame_to_test_and_keeps_the_proportion_of_the_others() -> None:
    plan = Plan({"split": [0.6, 0.2, 0.2], "epochs": 3}, {"base": {}})
    assert plan.settings("base").split == pytest.approx((0.75, 0.25, 0.0))
