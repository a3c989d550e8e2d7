"""A sweep's results as Markdown, JSON and a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ru_calc.evaluate.report import ERROR_COLUMNS
from ru_calc.files import write_json, write_text
from ru_calc.reports.figures import labelled_points
from ru_calc.reports.tables import Table, bullets, page, tabulate, text, value

Results = Mapping[str, Any]
VERSIONS = ("ru_calc", "python", "torch", "numpy", "ase")


def write_report(results: Results, folder: Path) -> None:
    """Writes `sweep.json`, `sweep.md` and `sweep.png`."""
    write_json(folder / "sweep.json", results)
    write_text(folder / "sweep.md", markdown(results))
    figure(results, folder / "sweep.png")


def figure(results: Results, path: Path) -> None:
    """Validation force error of all trials against the cost of a force call, with the Pareto front."""
    points = costs(results)
    cost = f"CPU time of a force call (µs per atom, {results['speed_atoms']} atoms)"
    title = f"{len(points)} trials of {results['settings']['epochs']} epochs, and their Pareto front"
    labelled_points(path, points, (cost, "validation force RMSE (meV/Å)"), title, front=pareto(points))


def costs(results: Results) -> dict[str, tuple[float, float]]:
    """Trial → (µs per atom in the compiled engine, force RMSE in meV/Å), where both are known."""
    pairs = {row["trial"]: (row["cpu_us"], row["forces_RMSE_meV_per_A"]) for row in results["trials"]}
    return {name: pair for name, pair in pairs.items() if all(value is not None and value == value for value in pair)}


def pareto(points: Mapping[str, tuple[float, float]]) -> set[str]:
    """Names on the Pareto front: no other point is at least as small in both values and smaller in one."""
    return {
        name
        for name, (x, y) in points.items()
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points.values())
    }


def markdown(results: Results) -> str:
    """The table, and how it was made."""
    settings, frames, machine = results["settings"], results["frames"], results["machine"]
    versions = ", ".join(f"{name} {machine[name]}" for name in VERSIONS if name in machine)
    return page(
        "# Settings side by side (`ru-calc sweep`)",
        "\n".join(f"    {command}" for command in results["commands"]),
        f"Each trial is one fit of {settings['epochs']} epochs to the same {frames['train']} frames (labels: "
        f"{results['level_of_theory']}; data {results['data'][:12]}; seed {settings['seed']}), judged by the same "
        f"{frames['validation']} validation frames. The {frames['test']} test frames (`split.json`) were set aside "
        "before the first fit and are not used here.",
        table(results).markdown(),
        "Sorted by force RMSE; energies in meV/atom, forces in meV/Å, stress in GPa. *loss*: validation loss, "
        "for trials with the shared loss settings. *µs per atom*: CPU time of a force call of "
        f"{results['speed_atoms']} atoms in float32, compiled engine, one thread, all models in turns. Bold: on the "
        "Pareto front of cost and force RMSE (the line in `sweep.png`).",
        bullets(f"`{name}` has no result: {why}" for name, why in results["stopped"].items()),
        f"{machine['processor']}, {machine['cores']} cores; {versions}.",
    )


def table(results: Results) -> Table:
    """One row per finished trial, in the order of the results."""
    front = pareto(costs(results))
    columns = {
        "trial": lambda row: f"**{row['trial']}**" if row["trial"] in front else row["trial"],
        "changes": lambda row: in_words(row["changes"]),
        **ERROR_COLUMNS, "loss": value("validation_loss"), "µs per atom": value("cpu_us"),
        "parameters": text("parameters"), "epochs": text("epochs"), "fit (CPU min)": value("cpu_min"),
    }  # fmt: skip
    return tabulate(results["trials"], columns)


def in_words(changes: Mapping[str, Any]) -> str:
    """Changes as `--set` takes them, without `model.`; "–" for none."""
    return ", ".join(f"{name.removeprefix('model.')}={_value(value)}" for name, value in changes.items()) or "–"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
