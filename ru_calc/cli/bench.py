"""`ru-calc bench`: speed beside that of other packages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.shared import use_threads

if TYPE_CHECKING:
    from ru_calc.studies.bench import Bench, BenchSettings

WIDTH, PROGRESS = 160, 78
SIZES = (64, 500, 4000, 32000, 100000)


@click.command("bench")
@click.option(
    "--atoms", multiple=True, type=click.IntRange(1), default=SIZES, show_default=True,
    help="About how many atoms; may be repeated.",
)  # fmt: skip
@click.option(
    "--threads", multiple=True, type=click.IntRange(1), default=(1,), show_default=True,
    help="CPU threads; may be repeated, one table each.",
)  # fmt: skip
@click.option(
    "--models", multiple=True, default=("default", "plain"), show_default=True, metavar="NAME|FILE",
    help="Models; may be repeated.",
)  # fmt: skip
@click.option(
    "--peers", multiple=True, default=("auto",), show_default=True, metavar="NAME",
    help="schnetpack, emt, lammps (may be repeated); auto takes what is installed, none takes none.",
)  # fmt: skip
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Rounds; the median counts.")
@click.option(
    "--eam-file", type=click.Path(path_type=Path), metavar="PATH",
    help="EAM/FS file of ruthenium (Ru.eam.fs) for the peer lammps; none is shipped.",
)  # fmt: skip
@click.option(
    "--budget-s", type=float, default=20.0, show_default=True,
    help="A contestant stops at the size at which one call would take longer.",
)  # fmt: skip
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all numbers to this file.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), help="Plot time per atom against atoms.")
def command(json_file: Path | None, plot_file: Path | None, **options: Any) -> None:
    """CPU time of forces and of dynamics per atom, for rattled hcp crystals of several sizes.

    Contestants take turns, round after round: the compiled engine of each model alone ("engine") and in ASE's
    VelocityVerlet with all that belongs to a step ("ASE MD"), the reference in torch, and the peers that are installed
    (pip install 'ru-calc[bench]').  The table shows the median of the rounds and their spread, and ×, how many times as
    long as the baseline each takes: the engine of "plain" or, without it, of the first model, or that model's reference
    where the engine does not take part.  "system" is what the operating system took of it.  Memory: "work" is the
    workspace of the engine, "plan" its plan of the neighbour list, "list" the neighbour list itself.
    """
    use_threads(max(options["threads"]))

    from rich.console import Console

    from ru_calc.files import check_writable
    from ru_calc.reports.style import check_plottable
    from ru_calc.studies.bench import BenchSettings
    from ru_calc.studies.bench.report import plot, tables, write

    settings = BenchSettings(**options)
    if json_file is not None:
        check_writable(json_file)
    if plot_file is not None:
        check_plottable(plot_file)
    bench = _run(settings)
    console = Console(width=WIDTH, highlight=False)
    for table in tables(bench):
        console.print(table)
    _say(bench)
    if json_file is not None:
        write(bench, json_file)
        click.echo(f"wrote {json_file}")
    if plot_file is not None:
        plot(bench, plot_file)
        click.echo(f"wrote {plot_file}")


def _run(settings: BenchSettings) -> Bench:
    from ru_calc.studies.bench import run_bench

    with progress() as advance:
        return run_bench(settings, advance)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function that shows what is running, in one line of a terminal; the line goes at the end."""

    def advance(text: str) -> None:
        # Nothing that draws by itself: its CPU time would be counted.
        if sys.stderr.isatty():
            click.echo(f"\r{text:<{PROGRESS}.{PROGRESS}}", nl=False, err=True)

    try:
        yield advance
    finally:
        advance("")
        if sys.stderr.isatty():
            click.echo("\r", nl=False, err=True)


def machine_line(about: dict[str, Any]) -> str:
    """Processor and versions."""
    versions = ", ".join(f"{name} {about[name]}" for name in ("torch", "schnetpack", "lammps") if name in about)
    return f"{about['processor']}, {about['cores']} cores, {about['instructions'] or 'no'} kernel, {versions}"


def _say(bench: Bench) -> None:
    """What a reader of the tables has to know."""
    from ru_calc.studies.bench.report import memory_remarks

    about = bench.machine
    click.echo(machine_line(about))
    for note in bench.notes + memory_remarks(bench):
        click.echo(f"- {note}")
    if max(bench.settings.threads) > 1:
        click.echo(
            f"- with more than one thread only wall time shows a gain, and only on an idle machine; the load here was "
            f"{about['load_before']} before and {about['load_after']} after, on {about['cores']} cores"
        )
