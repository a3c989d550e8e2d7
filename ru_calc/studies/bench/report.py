"""A benchmark as tables, as JSON and as a plot."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from ru_calc.files import write_json
from ru_calc.reports.figures import MOST_LINES, line_plot
from ru_calc.studies.bench.race import Result
from ru_calc.studies.bench.run import Bench

NONE = "–"
MUCH_SYSTEM, KEEP = 0.2, 2**34
MEMORY = ("workspace_bytes", "plan_bytes", "list_bytes")


def records(bench: Bench) -> list[dict[str, Any]]:
    """One row per result, as plain values: per atom, and against the baseline of the same size and threads.

    Keys: contestant, per, threads, atoms, calls, repeats, cpu_us (median), cpu_us_min, cpu_us_max, wall_us, ratio (CPU
    time over that of the baseline), atom_steps_per_s (of CPU time), system_share (of the CPU time, what the operating
    system took), speed_up (wall time with one thread over this), and `Facts`, memory per atom.
    """
    base = {(row.threads, row.n_atoms): median(row.cpu_us) for row in bench.results if row.contestant == bench.baseline}
    alone = {(row.contestant, row.n_atoms): median(row.wall_us) for row in bench.results if row.threads == 1}
    return [
        _record(row, base.get((row.threads, row.n_atoms)), alone.get((row.contestant, row.n_atoms)))
        for row in bench.results
    ]


def _record(row: Result, base_us: float | None, alone_us: float | None) -> dict[str, Any]:
    cpu_us, wall_us = median(row.cpu_us), median(row.wall_us)
    facts = asdict(row.facts)
    facts |= {name: None if facts[name] is None else facts[name] / row.n_atoms for name in MEMORY}
    return {
        "contestant": row.contestant, "per": row.per, "threads": row.threads, "atoms": row.n_atoms,
        "calls": row.calls, "repeats": len(row.cpu_us), "cpu_us": cpu_us, "cpu_us_min": min(row.cpu_us),
        "cpu_us_max": max(row.cpu_us), "wall_us": wall_us, "ratio": cpu_us / base_us if base_us else None,
        "atom_steps_per_s": 1e6 / cpu_us,
        "system_share": min(1.0, sum(row.system_us) / sum(row.cpu_us)) if sum(row.cpu_us) else 0.0,
        "speed_up": alone_us / wall_us if alone_us and row.threads > 1 else None, **facts,
    }  # fmt: skip


def tables(bench: Bench) -> list[Table]:
    """One table for each number of threads, sections by size."""
    rows = records(bench)
    return [_table(n, [row for row in rows if row["threads"] == n], bench.baseline) for n in bench.settings.threads]


def _table(threads: int, rows: list[dict[str, Any]], baseline: str) -> Table:
    title = f"CPU time per atom, {threads} thread{'s' if threads > 1 else ''}, float32; × is over {baseline}"
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    walls = ("wall\nµs/atom", "speed-up\n(wall)") if threads > 1 else ()
    headings = ("atoms", "contestant", "per", "CPU\nµs/atom", "min – max", "system\n%", "atom-steps\nper CPU s",
                "×", *walls, "rebuilds", "work\nB/atom", "plan\nB/atom", "list\nB/atom")  # fmt: skip
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="left" if heading in ("contestant", "per") else "right")
    size = None
    for row in rows:
        if size not in (None, row["atoms"]):
            table.add_section()
        size = row["atoms"]
        table.add_row(*_cells(row))
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    cells = [
        str(row["atoms"]), row["contestant"], row["per"], short(row["cpu_us"]),
        f"{short(row['cpu_us_min'])} – {short(row['cpu_us_max'])}", f"{100 * row['system_share']:.0f}",
        f"{row['atom_steps_per_s']:.0f}",
        NONE if row["ratio"] is None else short(row["ratio"]),
    ]  # fmt: skip
    if row["threads"] > 1:
        cells += [short(row["wall_us"]), NONE if row["speed_up"] is None else f"{row['speed_up']:.2f}"]
    cells.append(NONE if row["rebuilds"] is None else f"{row['rebuilds']} in {row['steps']}")
    return cells + [NONE if row[name] is None else f"{row[name]:.0f}" for name in MEMORY]


def memory_remarks(bench: Bench) -> list[str]:
    """A line on those who spend much of their time in the operating system, and how to spare them that."""
    largest = {row["contestant"]: row for row in records(bench) if row["threads"] == bench.settings.threads[0]}
    found = [
        f"{name} {100 * row['system_share']:.0f} % (at {row['atoms']} atoms)"
        for name, row in largest.items()
        if row["system_share"] > MUCH_SYSTEM
    ]
    if not found:
        return []
    return [
        f"time spent in the operating system, which hands out and clears the memory of large arrays anew at each call: "
        f"{', '.join(found)}; with glibc, MALLOC_MMAP_THRESHOLD_={KEEP} MALLOC_TRIM_THRESHOLD_={KEEP} in the "
        "environment keeps that memory and saves the time"
    ]


def short(value: float) -> str:
    """Three digits that count, without exponent: 0.0123, 1.23, 12.3, 1234."""
    digits = max(0, 2 - len(str(int(abs(value)))) + 1) if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def write(bench: Bench, path: str | Path) -> None:
    """Everything as JSON.

    Raises:
        OutputError: it cannot be written there.
    """
    settings = asdict(bench.settings)
    settings["eam_file"] = None if bench.settings.eam_file is None else bench.settings.eam_file.name
    settings["models"] = [Path(model).name for model in bench.settings.models]
    content = {
        "machine": bench.machine, "settings": settings, "baseline": bench.baseline, "rows": records(bench),
        "turns": [
            {"contestant": row.contestant, "threads": row.threads, "atoms": row.n_atoms, "cpu_us": row.cpu_us,
             "system_us": row.system_us, "wall_us": row.wall_us}
            for row in bench.results
        ],
        "notes": bench.notes + memory_remarks(bench),
    }  # fmt: skip
    write_json(path, content)


def plot(bench: Bench, path: str | Path) -> None:
    """CPU time per atom against the number of atoms, with the first number of threads, of those that a user compares.

    Raises:
        OutputError: an unknown suffix, or a file that cannot be written.
    """
    threads = bench.settings.threads[0]
    rows = [row for row in records(bench) if row["threads"] == threads]
    title = f"{threads} thread{'s' if threads > 1 else ''}, float32"
    series = {}
    for name, words in compared(list(dict.fromkeys(row["contestant"] for row in rows))).items():
        own = [row for row in rows if row["contestant"] == name]
        series[words] = [row["atoms"] for row in own], [row["cpu_us"] for row in own]
    line_plot(path, series, ("atoms", "CPU time of a force call (µs per atom)"), title)


def compared(contestants: list[str]) -> dict[str, str]:
    """Contestants in the figure, at most six, with their names there: engines, SchNetPack, EAM and one reference.

    The engine whose weights SchNetPack runs is left out where there is another.
    """

    def starting(word: str) -> list[str]:
        return [name for name in contestants if name.startswith(f"{word} ")]

    peers = [name for name in starting("SchNetPack") if not name.endswith("network only")]
    twins = {f"engine {name.removeprefix('SchNetPack ')}" for name in peers}
    engines = starting("engine")
    engines = [name for name in engines if name not in twins] or engines
    others = peers[:1] + starting("LAMMPS")[:1] + starting("reference")[:1]
    chosen = engines[: MOST_LINES - len(others)] + others
    return {name: _in_figure(name) for name in chosen}


def _in_figure(name: str) -> str:
    kind, _, rest = name.partition(" ")
    return {"engine": rest, "SchNetPack": f"SchNetPack ({rest})", "LAMMPS": "EAM (LAMMPS)"}.get(
        kind, f"{rest}, in torch"
    )
