"""The `md` protocol's results as Markdown, JSON and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ru_calc.evaluate.metrics import ALL, SCALES
from ru_calc.files import write_json, write_text
from ru_calc.properties import level_of, reference
from ru_calc.reports.figures import labelled_points
from ru_calc.reports.tables import (
    NONE,
    Cell,
    Record,
    Table,
    bullets,
    page,
    percent,
    share,
    tabulate,
    text,
    value,
)

UNITS = {"energy": ("eV/atom", 1e-3), "forces": ("eV/Å", 1e-3), "stress": ("GPa", 1.0)}  # and their print units
ELASTIC = ("C11", "C12", "C13", "C33", "C44")
STANDARDS = {"teacher": "the labels", "GPAW": "our own DFT"}
CLEARLY = 0.95  # an error counts as smaller below this fraction of the other: one seed tells no more
OTHERS = ("a", "c", "E2g", "fcc-hcp", "bcc-hcp", "E_vac")
Results = Mapping[str, Any]


def write_report(results: Results, folder: Path) -> None:
    """Writes `table.md`, `results.json` and `figure.png`."""
    write_json(folder / "results.json", {**results, "families": _short(results["families"])}, indent=None)
    write_text(folder / "table.md", markdown(results))
    figure(results, folder / "figure.png")


def _short(families: Mapping[str, Any]) -> dict[str, Any]:
    """Without largest errors and counts of values, which the files of the families hold."""
    kept = ("split", "config_type", "frames", "forces_relative")

    def short(row: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: float(f"{value:.6g}") if isinstance(value, float) else value
            for name, value in row.items()
            if name in kept or any(kind in name for kind in ("_MAE_", "_RMSE_", "_MSE_"))
        }

    return {family: {**found, "errors": [short(row) for row in found["errors"]]} for family, found in families.items()}


def markdown(results: Results) -> str:
    """The tables, and what they say."""
    settings = results["settings"]
    budget = (
        f"about {settings['budget_min']:g} minutes of CPU each" if settings["epochs"] is None else "the same epochs"
    )
    shares = "/".join(f"{share:g}" for share in settings["split"])
    return page(
        "# Families of potentials side by side (`ru-calc compare --protocol md`)",
        "A quick look: few frames, one epoch; the figures mean nothing." if settings["quick"] else "",
        f"The same frames (labels: {results['level_of_theory']}; split {shares} by group, seed {settings['seed']}), "
        f"the same loss on energies, forces and stress, {budget}.",
        "## Errors per split",
        error_table(results["families"]).markdown(),
        "## What decides in practice",
        practice_table(results).markdown(),
        "*compiled* is the engine in C++, *reference* the network in torch; one thread.",
        "## Properties",
        property_table(results).markdown(),
        "## Which to pick",
        verdict(results),
        "## Test errors per config type",
        type_table(results["families"]).markdown(),
    )


def error_table(families: Mapping[str, Any]) -> Table:
    """MAE, RMSE and MSE of energy, forces and stress in eV/atom, eV/Å and GPa, on each part of the split."""
    columns = {"family": text("family"), "split": text("split")}
    for quantity, (unit, scale) in UNITS.items():
        names = SCALES[quantity]
        columns[f"{quantity} MAE ({unit})"] = value(f"{quantity}_MAE_{names.unit}", scale)
        columns[f"{quantity} RMSE"] = value(f"{quantity}_RMSE_{names.unit}", scale)
        columns[f"{quantity} MSE ({unit})²"] = value(f"{quantity}_MSE_{names.squared}")
    rows = [
        {"family": family, **row} for family, found in families.items() for row in found["errors"]
        if row["config_type"] == ALL
    ]  # fmt: skip
    return tabulate(rows, columns)


def practice_table(results: Results) -> Table:
    """Size, cost, stability and elastic constants, one row per family."""
    settings, (words, level), speeds = results["settings"], _standard(results), results["speeds"]
    columns: dict[str, Cell] = {
        "family": text("family"), "parameters": text("size.parameters"), "file (MB)": value("size.file_MB"),
        "epochs": text("fit.epochs"), "fit (CPU min)": value("fit.cpu_min"),
    }  # fmt: skip
    for n in sorted({row["atoms"] for row in speeds}):
        columns[f"µs per atom ({n} atoms)"] = partial(_speed_cell, speeds, n)
    columns |= {
        f"NVE drift (eV/atom/ps, {settings['nve_ps']:g} ps, {settings['nve_K']:g} K)": _drift,
        f"{settings['hot_ps']:g} ps at {settings['hot_K']:g} K": lambda row: (
            "survived" if row["survival"]["survived"] else "did not survive"
        ),
        "test force RMSE": lambda row: percent(test_row(row)["forces_relative"]),
        f"worst elastic constant against {words}": lambda row: _worst(row["properties"], level),
    }
    return tabulate([{"family": family, **found} for family, found in results["families"].items()], columns)


def _drift(row: Record) -> str:
    drift = row["conservation"].get("drift_eV_per_atom_per_ps")
    return "stopped" if not row["conservation"]["survived"] else NONE if drift is None else f"{drift:.1e}"


def _speed_cell(speeds: Sequence[Record], atoms: int, of: Record) -> str:
    found = {row["engine"]: row for row in speeds if row["family"] == of["family"] and row["atoms"] == atoms}
    return ", ".join(f"{row['cpu_us']:.3g} ({engine})" for engine, row in found.items()) or NONE


def _standard(results: Results) -> tuple[str, str]:
    """What properties are compared with, in words and as a level: the labels' own values if known, else PBE."""
    level = level_of(results["level_of_theory"])
    return (STANDARDS[level], level) if level else ("PBE (literature)", "PBE")


def _worst(properties: Mapping[str, Any], level: str) -> str:
    off = {name: _deviation(name, properties, level) for name in ELASTIC}
    known = {name: value for name, value in off.items() if value is not None}
    if not known:
        return NONE
    name = max(known, key=lambda one: abs(known[one]))
    return f"{name} {100 * known[name]:+.0f} %"


def _deviation(name: str, properties: Mapping[str, Any], level: str) -> float | None:
    value, label = properties.get(name), _known(name, level)
    return None if value is None or not label else value / label - 1


def _known(symbol: str, level: str) -> float | None:
    found = reference(symbol, level)
    return None if found is None else found.value


def property_table(results: Results) -> Table:
    """Properties beside those of the labels, or of PBE."""
    words, level = _standard(results)
    symbols = [*OTHERS[:2], *ELASTIC, *OTHERS[2:]]
    rows = [{"": words, **{name: _known(name, level) for name in symbols}}]
    rows += [{"": family, **found["properties"]} for family, found in results["families"].items()]
    return tabulate(rows, {"": text(""), **{name: value(name) for name in symbols}})


def type_table(families: Mapping[str, Any]) -> Table:
    """Energy errors and relative force RMSE of each config type of the test frames."""
    by_kind: dict[str, dict[str, Any]] = {}
    columns: dict[str, Cell] = {"config type": text("config_type"), "frames": text("frames")}
    for family, found in families.items():
        for row in found["errors"]:
            if row["split"] == "test":
                by_kind.setdefault(row["config_type"], {**row})[family] = row
        columns[f"{family}: E MAE (meV/atom)"] = value(f"{family}.energy_MAE_meV_per_atom")
        columns[f"{family}: E RMSE"] = value(f"{family}.energy_RMSE_meV_per_atom")
        columns[f"{family}: F RMSE (of rms force)"] = share(f"{family}.forces_relative")
    return tabulate(by_kind.values(), columns)


def test_row(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Errors on all test frames."""
    return next(row for row in found["errors"] if row["split"] == "test" and row["config_type"] == ALL)


def best_speed(results: Results, family: str, engines: Sequence[str] = ("compiled", "reference")) -> float:
    """µs per atom at the largest size, by the fastest of the engines that the family has."""
    largest = max(row["atoms"] for row in results["speeds"])
    rows = [row for row in results["speeds"] if (row["family"], row["atoms"]) == (family, largest)]
    return min(row["cpu_us"] for row in rows if row["engine"] in engines)


def verdict(results: Results) -> str:
    """What follows from the numbers, in sentences."""
    families = results["families"]
    force = {family: test_row(found)["forces_RMSE_meV_per_A"] for family, found in families.items()}
    energy = {family: test_row(found)["energy_MAE_meV_per_atom"] for family, found in families.items()}
    speed = {family: best_speed(results, family) for family in families}
    in_torch = {family: best_speed(results, family, ("reference",)) for family in families}
    accurate, quick, light = (min(found, key=lambda one, found=found: found[one]) for found in (force, speed, in_torch))
    lines = [
        f"Smallest force error on the test frames: `{accurate}` ({force[accurate]:.0f} meV/Å); smallest energy error: "
        f"`{min(energy, key=lambda one: energy[one])}` ({min(energy.values()):.3g} meV/atom).",
        f"Fastest as it runs here: `{quick}` ({speed[quick]:.3g} µs of one core per atom); with everything in torch: "
        f"`{light}` ({in_torch[light]:.3g}).",
    ]
    fallen = [family for family, found in families.items() if not found["survival"]["survived"]]
    if fallen:
        lines.append(f"Not for hot runs: {', '.join(f'`{family}`' for family in fallen)} became unphysical.")
    for family in families:
        better = [
            other
            for other in families
            if speed[other] < speed[family] and all(e[other] <= CLEARLY * e[family] for e in (force, energy))
        ]
        if better:
            names = ", ".join(f"`{other}`" for other in better)
            lines.append(f"`{family}` is slower and, in forces and in energies, less accurate than {names}.")
        else:
            lines.append(f"Nothing else is quicker and clearly more accurate than `{family}`.")
    return bullets(lines)


def figure(results: Results, path: Path) -> None:
    """Test force error against cost: one point per family and engine, at the largest size."""
    largest = max(row["atoms"] for row in results["speeds"])
    force = {name: test_row(found)["forces_RMSE_meV_per_A"] for name, found in results["families"].items()}
    points = {
        f"{row['family']} ({row['engine']})": (row["cpu_us"], force[row["family"]])
        for row in results["speeds"]
        if row["atoms"] == largest
    }
    labels = (f"CPU time of a force call (µs per atom, {largest} atoms)", "test force RMSE (meV/Å)")
    labelled_points(path, points, labels, "families fitted for about the same time")
