"""A sweep's results as Markdown, JSON and a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ru_calc.files import whole_file, write_json
from ru_calc.reports.markdown import markdown_table, number, percent
from ru_calc.reports.plots import labelled_points

Results = Mapping[str, Any]
VERSIONS = ("ru_calc", "python", "torch", "numpy", "ase")


def write_report(results: Results, folder: Path) -> None:
    """Writes `sweep.json`, `sweep.md` and `sweep.png`."""
    write_json(folder / "sweep.json", results)
    with whole_file(folder / "sweep.md") as temporary:
        temporary.write_text(markdown(results), encoding="utf-8")
    points = costs(results)
    labels = (
        f"CPU time of a force call (µs per atom, {results['speed_atoms']} atoms)", "validation force RMSE (meV/Å)",
    )  # fmt: skip
    title = f"{len(points)} trials of {results['settings']['epochs']} epochs"
    labelled_points(folder / "sweep.png", points, labels, title, front=pareto(points))


def costs(results: Results) -> dict[str, tuple[float, float]]:
    """Trial → (µs per atom in the compiled engine, force RMSE in meV/Å), where both are known."""
    pairs = {row["trial"]: (row["cpu_us"], row["forces_RMSE_meV_per_A"]) for row in results["trials"]}
    return {name: pair for name, pair in pairs.items() if all(value is not None and value == value for value in pair)}


def pareto(points: Mapping[str, tuple[float, float]]) -> set[str]:
    """Names of the points than which no other is as small in both values and smaller in one."""
    return {
        name
        for name, (x, y) in points.items()
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points.values())
    }


def markdown(results: Results) -> str:
    """The table, and how it came about."""
    settings, frames, machine = results["settings"], results["frames"], results["machine"]
    versions = ", ".join(f"{name} {machine[name]}" for name in VERSIONS if name in machine)
    sections = [
        "# Settings side by side (`ru-calc sweep`)",
        "\n".join(f"    {command}" for command in results["commands"]),
        f"Each trial is one fit of {settings['epochs']} epochs to the same {frames['train']} frames (labels: "
        f"{results['level_of_theory']}; data {results['data'][:12]}; seed {settings['seed']}), judged by the same "
        f"{frames['validation']} validation frames. The {frames['test']} test frames (`split.json`) were taken out "
        "before the first fit: nothing here has seen them.",
        table(results),
        f"Sorted by the force RMSE; energies in meV/atom, forces in meV/Å, stress in GPa. *loss*: of the validation "
        "frames, where it is measured as in the shared settings. *µs per atom*: CPU time of a force call of "
        f"{results['speed_atoms']} atoms in float32, compiled engine, one thread, all models in turns. Bold: no other "
        "trial is both quicker and better in forces (the line in `sweep.png`).",
        *_stopped(results["stopped"]),
        f"{machine['processor']}, {machine['cores']} cores; {versions}.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _stopped(stopped: Mapping[str, str]) -> list[str]:
    return ["\n".join(f"- `{name}` has no result: {why}" for name, why in stopped.items())] if stopped else []


def table(results: Results) -> str:
    """One row per finished trial, in the order of the results."""
    head = [
        "trial", "changes", "E MAE", "E RMSE", "F MAE", "F RMSE", "F RMSE / rms", "σ MAE", "loss", "µs per atom",
        "parameters", "epochs", "fit (CPU min)",
    ]  # fmt: skip
    front = pareto(costs(results))
    rows = []
    for row in results["trials"]:
        errors = [row[name] for name in ("energy_MAE_meV_per_atom", "energy_RMSE_meV_per_atom",
                                         "forces_MAE_meV_per_A", "forces_RMSE_meV_per_A")]  # fmt: skip
        name = f"**{row['trial']}**" if row["trial"] in front else row["trial"]
        cells = [
            *map(number, errors), percent(row["forces_relative"]), number(row["stress_MAE_GPa"]),
            number(row["validation_loss"]), number(row["cpu_us"]), str(row["parameters"]), str(row["epochs"]),
            number(row["cpu_min"]),
        ]  # fmt: skip
        rows.append([name, in_words(row["changes"]), *cells])
    return markdown_table(head, rows)


def in_words(changes: Mapping[str, Any]) -> str:
    """Changes as `--set` takes them, without `model.`; "–" where there is none."""
    return ", ".join(f"{name.removeprefix('model.')}={_value(value)}" for name, value in changes.items()) or "–"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
