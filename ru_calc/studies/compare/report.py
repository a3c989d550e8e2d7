"""The `md` protocol's results as Markdown, JSON and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ru_calc.evaluate.metrics import ALL, QUANTITIES, SCALES
from ru_calc.files import whole_file, write_json
from ru_calc.properties import reference
from ru_calc.reports.markdown import NONE, markdown_table, number, percent
from ru_calc.reports.plots import labelled_points

UNITS = {"energy": "eV/atom", "forces": "eV/Å", "stress": "GPa"}
ELASTIC = ("C11", "C12", "C13", "C33", "C44")
TEACHER = "nequix-omat-1"  # in the level of theory of the shipped labels
CLEARLY = 0.95  # a smaller error counts below this share of the other: one seed tells no more
OTHERS = ("a", "c", "E2g", "fcc-hcp", "bcc-hcp", "E_vac")
Results = Mapping[str, Any]


def write_report(results: Results, folder: Path) -> None:
    """Writes `table.md`, `results.json` and `figure.png`."""
    write_json(folder / "results.json", {**results, "families": _short(results["families"])}, indent=None)
    with whole_file(folder / "table.md") as temporary:
        temporary.write_text(markdown(results), encoding="utf-8")
    figure(results, folder / "figure.png")


def _short(families: Mapping[str, Any]) -> dict[str, Any]:
    """Without the largest errors and the counts of values, which are in the files of the families."""
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
    families, settings = results["families"], results["settings"]
    budget = (
        f"about {settings['budget_min']:g} minutes of CPU each" if settings["epochs"] is None else "the same epochs"
    )
    shares = "/".join(f"{share:g}" for share in settings["split"])
    sections = [
        "# Families of potentials side by side (`ru-calc compare --protocol md`)",
        *(["A quick look: few frames, one epoch; the figures mean nothing."] if settings["quick"] else []),
        f"The same frames (labels: {results['level_of_theory']}; split {shares} by group, seed {settings['seed']}), "
        f"the same loss on energies, forces and stress, {budget}.",
        "## Errors per split",
        error_table(families),
        "## What decides in practice",
        practice_table(results),
        "*compiled* is the engine in C++, *reference* the network in torch; one thread.",
        "## Properties",
        property_table(results),
        "## Which to pick",
        verdict(results),
        "## Test errors per config type",
        type_table(families),
    ]
    return "\n\n".join(sections) + "\n"


def error_table(families: Mapping[str, Any]) -> str:
    """MAE, MSE and RMSE of energy, forces and stress in eV/atom, eV/Å and GPa, on each part of the split."""
    head = ["family", "split"]
    for quantity in QUANTITIES:
        unit = UNITS[quantity]
        head += [f"{quantity} MAE ({unit})", "RMSE", f"MSE ({unit})²"]
    rows = []
    for family, found in families.items():
        for row in found["errors"]:
            if row["config_type"] == ALL:
                cells = [value for quantity in QUANTITIES for value in _errors(row, quantity)]
                rows.append([family, row["split"], *(number(value) for value in cells)])
    return markdown_table(head, rows)


def _errors(row: Mapping[str, Any], quantity: str) -> list[float | None]:
    scale = SCALES[quantity]
    shown = 1.0 if quantity == "stress" else 1e-3
    kinds = [row[f"{quantity}_{kind}_{scale.unit}"] for kind in ("MAE", "RMSE")]
    return [None if value is None else shown * value for value in kinds] + [row[f"{quantity}_MSE_{scale.squared}"]]


def practice_table(results: Results) -> str:
    """Size, cost, stability and elastic constants, one row per family."""
    settings, (words, level) = results["settings"], _standard(results)
    sizes = sorted({row["atoms"] for row in results["speeds"]})
    head = ["family", "parameters", "file (MB)", "epochs", "fit (CPU min)"]
    head += [f"µs per atom ({n} atoms)" for n in sizes]
    head += [
        f"NVE drift (eV/atom/ps, {settings['nve_ps']:g} ps, {settings['nve_K']:g} K)",
        f"{settings['hot_ps']:g} ps at {settings['hot_K']:g} K",
        "test force RMSE",
        f"worst elastic constant against {words}",
    ]
    rows = []
    for family, found in results["families"].items():
        drift = found["conservation"].get("drift_eV_per_atom_per_ps")
        cells = [f"{found['size']['parameters']}", number(found["size"]["file_MB"]), f"{found['fit']['epochs']}",
                 number(found["fit"]["cpu_min"])]  # fmt: skip
        cells += [_speed_cell(results["speeds"], family, n) for n in sizes]
        cells += ["stopped" if not found["conservation"]["survived"] else NONE if drift is None else f"{drift:.1e}",
                  "survived" if found["survival"]["survived"] else "did not survive",
                  percent(test_row(found)["forces_relative"]), _worst(found["properties"], level)]  # fmt: skip
        rows.append([family, *cells])
    return markdown_table(head, rows)


def _speed_cell(speeds: Sequence[Mapping[str, Any]], family: str, atoms: int) -> str:
    found = {row["engine"]: row for row in speeds if row["family"] == family and row["atoms"] == atoms}
    return ", ".join(f"{row['cpu_us']:.3g} ({engine})" for engine, row in found.items()) or NONE


def _standard(results: Results) -> tuple[str, str]:
    """What properties are held against, in words and as a level: the labels' own where these are known, else PBE."""
    return ("the labels", "teacher") if TEACHER in results["level_of_theory"] else ("PBE (literature)", "PBE")


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


def property_table(results: Results) -> str:
    """Properties beside those of the labels, or of PBE."""
    families, (words, level) = results["families"], _standard(results)
    symbols = [*OTHERS[:2], *ELASTIC, *OTHERS[2:]]
    rows = [[words, *(number(_known(name, level)) for name in symbols)]]
    rows += [
        [family, *(number(found["properties"].get(name)) for name in symbols)] for family, found in families.items()
    ]
    return markdown_table(["", *symbols], rows)


def type_table(families: Mapping[str, Any]) -> str:
    """Energy MAE and relative force RMSE of each config type of the test frames."""
    head = ["config type", "frames"]
    for family in families:
        head += [f"{family}: E MAE (meV/atom)", "F RMSE (of rms force)"]
    by_family = {
        family: {row["config_type"]: row for row in found["errors"] if row["split"] == "test"}
        for family, found in families.items()
    }
    kinds = next(iter(by_family.values()))
    rows = []
    for kind, first in kinds.items():
        cells = [kind, str(first["frames"])]
        for rows_of in by_family.values():
            cells += [number(rows_of[kind]["energy_MAE_meV_per_atom"]), percent(rows_of[kind]["forces_relative"])]
        rows.append(cells)
    return markdown_table(head, rows)


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
        f"Quickest as it runs here: `{quick}` ({speed[quick]:.3g} µs of one core per atom); with all in torch: "
        f"`{light}` ({in_torch[light]:.3g}).",
    ]
    fallen = [family for family, found in families.items() if not found["survival"]["survived"]]
    if fallen:
        lines.append(f"Not for hot runs: {', '.join(f'`{family}`' for family in fallen)} left the physical range.")
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
    return "\n".join(f"- {line}" for line in lines)


def figure(results: Results, path: Path) -> None:
    """Test force error against cost: one point per family and engine, at the largest size."""
    largest = max(row["atoms"] for row in results["speeds"])
    points = {
        f"{row['family']} ({row['engine']})": (
            row["cpu_us"], test_row(results["families"][row["family"]])["forces_RMSE_meV_per_A"],
        )
        for row in results["speeds"] if row["atoms"] == largest
    }  # fmt: skip
    labels = (f"CPU time of a force call (µs per atom, {largest} atoms)", "test force RMSE (meV/Å)")
    labelled_points(path, points, labels, "families, fitted for about the same time")
