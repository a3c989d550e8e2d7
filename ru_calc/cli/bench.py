"""`ru-calc bench`: speed beside that of other packages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ru_calc.cli.progress import progress_bar
from ru_calc.cli.shared import output_file, use_threads

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
    help="schnetpack, emt, lammps (may be repeated), auto for all that are installed, or none.",
)  # fmt: skip
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Rounds; the median counts.")
@click.option(
    "--eam-file", type=click.Path(path_type=Path), metavar="PATH",
    help="EAM/FS file of ruthenium (Ru.eam.fs) for the peer lammps; none is shipped.",
)  # fmt: skip
@click.option(
    "--budget-s", type=float, default=20.0, show_default=True,
    help="A contestant drops out at the size at which one call would take longer.",
)  # fmt: skip
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all numbers to this file.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), help="Plot time per atom against atoms.")
@click.option(
    "--from", "stored", type=click.Path(path_type=Path), metavar="FILE",
    help="Show the numbers of an earlier --json file; nothing is run.",
)  # fmt: skip
@click.pass_context
def command(
    context: click.Context, json_file: Path | None, plot_file: Path | None, stored: Path | None, **options: Any
) -> None:
    """CPU time of forces and of dynamics per atom, for rattled hcp crystals of several sizes.

    Contestants take turns, round after round: the compiled engine of each model alone ("engine") and in ASE's
    VelocityVerlet ("ASE MD", whole steps), the reference in torch, and the peers that are installed (pip install
    'ru-calc[bench]').  The table shows the median of the rounds and their spread; ×, the cost relative to the baseline:
    the engine of "plain" or, without it, of the first model, or that model's reference where the engine does not take
    part; and "system", the share of the operating system.  Memory: "work" is the workspace of the engine, "plan" its
    plan of the neighbour list, "list" the neighbour list itself.
    """
    if stored:
        _refuse(context, "has no effect with --from")
    use_threads(max(options["threads"]))

    from ru_calc.files import write_json
    from ru_calc.reports.style import check_plottable
    from ru_calc.studies.bench.report import plot, remarks, tables

    if json_file is not None:
        output_file(json_file)
    if plot_file is not None:
        check_plottable(plot_file)
        output_file(plot_file)
    found = _stored(stored) if stored else _run(options)
    for table in tables(found):
        table.show()
    for line in remarks(found):
        click.echo(line)
    if json_file is not None:
        click.echo(f"wrote {write_json(json_file, found)}")
    if plot_file is not None:
        plot(found, plot_file)
        click.echo(f"wrote {plot_file}")


def _refuse(context: click.Context, rule: str) -> None:
    """Refuses options that would be ignored."""
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") != ParameterSource.DEFAULT
        if given and parameter.name not in ("stored", "plot_file"):
            raise click.UsageError(f"{parameter.opts[0]} {rule}; leave it out")


def _run(options: dict[str, Any]) -> Mapping[str, Any]:
    from ru_calc.studies.bench import BenchSettings, run_bench

    # Nothing that draws by itself: its CPU time would be counted.
    with progress_bar("bench", by_itself=False) as bar:
        return run_bench(BenchSettings(**options), bar.tell)


def _stored(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not {"machine", "settings", "baseline", "rows", "notes"} <= {*found}:
            raise ValueError("it has other keys")
    except (OSError, ValueError, TypeError) as problem:
        raise click.BadParameter(f"{str(path)!r} is not a JSON file of 'ru-calc bench' ({problem})") from None
    return dict(found)
