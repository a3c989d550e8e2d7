"""A sweep from data to a table: one fit per trial; a killed sweep resumes with the trials that are not finished.

The folder holds `plan.json`, `split.json` (of all frames, test frames included), a run folder `trials/NAME/` for each
trial, and at the end `sweep.json`, `sweep.md` and `sweep.png`.

The test frames are taken out before the first fit, so that the best trial is not selected by them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ru_calc.dataset import Dataset, split_by_group
from ru_calc.errors import DataError, OutputError, RuCalcError, SettingsError
from ru_calc.evaluate.metrics import SCALES
from ru_calc.files import WAIT_S, make_folder, owned, owned_file, read_json, write_json
from ru_calc.fit.report import fit_cost
from ru_calc.fit.run import FitInput, finish_fit, finished, splits_of
from ru_calc.fit.runs import Log, data_changes, refuse
from ru_calc.fit.settings import FitSettings
from ru_calc.fit.start import FIT, METRICS, check_start
from ru_calc.modelfiles.read import BEST, read_header
from ru_calc.studies.bench.costs import force_calls, size
from ru_calc.studies.bench.run import machine_facts, system
from ru_calc.studies.sweep.plan import SWEEP, Plan, stored
from ru_calc.studies.sweep.report import write_report

ATOMS, REPEATS = 448, 5
ERRORS = (
    *(f"{quantity}_{kind}_{scale.unit}" for quantity, scale in SCALES.items() for kind in ("MAE", "RMSE")),
    "forces_relative",
)
STOPPED = "stopped.json"


def run_sweep(
    dataset: Dataset,
    folder: Path,
    plan: Plan,
    only: tuple[str, ...] = (),
    command: str = "",
    say: Log = print,
    bar: Any = None,
) -> dict[str, Any]:
    """Fits the trials that are not finished, and writes the table of all that are.

    Several processes may share a folder, each with its own trials, if all but the first resume.

    Args:
        dataset: labelled frames.
        folder: of the sweep.
        plan: from `plan_sweep`.
        only: names of the trials to fit; none means all.
        command: for the record.
        say, bar: see `ru_calc.fit.run.run_fit`.

    Returns:
        The contents of `sweep.json`.

    Raises:
        SettingsError, OutputError, DataError: wrong trials, folder or data; nothing has been fitted.
    """
    with owned(folder, shared=bool(only)):
        return _sweep(dataset, folder, plan, only, command, say, bar)


def _sweep(
    dataset: Dataset, folder: Path, plan: Plan, only: tuple[str, ...], command: str, say: Log, bar: Any
) -> dict[str, Any]:
    fingerprint = dataset.fingerprint()
    if plan.data:
        refuse(data_changes(plan.data, fingerprint))
    kept, test = _held_out(dataset, plan)
    part = dataset.select(kept)
    jobs = [FitInput(part, folder / "trials" / name, plan.settings(name)) for name in plan.chosen(only)]
    for job in jobs:
        split = splits_of(job)[0]  # the same for all trials
        check_start(job.folder, job.settings, resume=FIT.begun(job.folder), data=part.fingerprint())
    plan = _begin(folder, replace(plan, data=fingerprint), command)
    parts = {"train": kept[split["train"]], "validation": kept[split["validation"]], "test": test}
    frames = {name: indices.tolist() for name, indices in parts.items()}
    write_json(folder / "split.json", {"data": fingerprint, **frames}, indent=None)
    for k, job in enumerate(jobs, 1):
        _fit(job, f"trial {k} of {len(jobs)}, {job.settings.epochs} epochs", say, bar)
    results = {
        "commands": list(plan.commands), "settings": asdict(plan.base), "data": fingerprint,
        "level_of_theory": dataset.level_of_theory, "frames": {name: len(indices) for name, indices in frames.items()},
        "machine": machine_facts(), **_measured(folder, plan, say),
    }  # fmt: skip
    write_report(results, folder)
    return results


def _held_out(dataset: Dataset, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the frames for the fits, and of the test frames."""
    split = split_by_group(dataset, plan.base.split, plan.base.seed_of_split)
    return np.sort(np.concatenate([split["train"], split["validation"]])), split["test"]


def _begin(folder: Path, plan: Plan, command: str) -> Plan:
    with owned_file(folder / SWEEP.file, WAIT_S):  # another process may have added some
        commands = stored(folder).commands if SWEEP.begun(folder) else ()
        plan = replace(plan, commands=commands if command in (*commands, "") else (*commands, command))
        SWEEP.begin(folder, asdict(plan))
        return plan


def _fit(job: FitInput, note: str, say: Log, bar: Any) -> None:
    """Finishes a trial; one that fails leaves the reason, and is tried again when the sweep is resumed."""
    try:
        finish_fit(job, note, say, bar)
    except (DataError, OutputError, SettingsError):
        raise
    except RuCalcError as problem:
        say(f"{job.folder.name}: stopped, {problem}")
        make_folder(job.folder)
        write_json(job.folder / STOPPED, {"why": str(problem)})


def _measured(folder: Path, plan: Plan, say: Log) -> dict[str, Any]:
    """Rows of all finished trials by increasing force error, and why others failed."""
    runs = {name: folder / "trials" / name for name in plan.trials}
    done = [name for name, run in runs.items() if finished(run)]
    say(f"speed of {len(done)} models, in turns")
    models = {name: runs[name] / BEST for name in done}
    speeds = {row["model"]: row for row in force_calls(models, (ATOMS,), ("compiled",), REPEATS)}
    rows = [_row(name, runs[name], plan) for name in done]
    for row in rows:
        row |= {key: speeds.get(row["trial"], {}).get(key) for key in ("cpu_us", "spread_us")}
    stopped = {
        name: read_json(run / STOPPED)["why"]
        for name, run in runs.items()
        if name not in done and (run / STOPPED).is_file()
    }
    return {"speed_atoms": len(system(ATOMS)), "trials": sorted(rows, key=_force_error), "stopped": stopped}


def _force_error(row: dict[str, Any]) -> float:
    error = row["forces_RMSE_meV_per_A"]
    return math.inf if error is None else error


def _row(name: str, run: Path, plan: Plan) -> dict[str, Any]:
    model = run / BEST
    errors = read_json(run / METRICS)["validation"]
    same = _measure(plan.settings(name)) == _measure(plan.base)
    return {
        "trial": name, "changes": plan.trials[name], **size(model), **fit_cost(run),
        **{column: errors[column] for column in ERRORS},
        "validation_loss": read_header(model)["metrics"]["validation_loss"] if same else None,
    }  # fmt: skip


def _measure(settings: FitSettings) -> tuple[str, dict[str, float]]:
    """The settings that make validation losses comparable."""
    return settings.loss, settings.weights(1.0)
