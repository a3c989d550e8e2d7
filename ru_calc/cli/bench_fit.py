"""`ru-calc bench-fit`: speed of a training step beside plain autograd and SchNetPack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ru_calc.cli.bench import WIDTH, machine_line, progress
from ru_calc.cli.shared import named_values, use_threads


@click.command("bench-fit")
@click.argument("data", default="distilled")
@click.option(
    "--batches", type=click.IntRange(1), default=20, show_default=True, help="Batches of a turn, drawn at random."
)
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Turns of each; the median counts."
)
@click.option(
    "--epoch/--no-epoch", default=True, show_default=True, help="Take a whole epoch of the first row, for its memory."
)
@click.option(
    "--set", "changes", multiple=True, callback=named_values, metavar="NAME=VALUE",
    help="A setting (or model.NAME) of every row, as of ru-calc fit; may be repeated.",
)  # fmt: skip
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all numbers to this file.")
def command(json_file: Path | None, **options: Any) -> None:
    """CPU time of a training step on DATA: an HDF5 file, or the name of a shipped set (distilled).

    Everyone trains on the same batches, in a process of its own with one thread, and takes turns, round after round:
    the fit of this package with its fused operators; with autograd that differentiates the same spline network twice;
    with autograd over the filter networks at every pair; and SchNetPack's SchNet, if it is installed (pip install
    'ru-calc[bench]').  By default that takes some minutes.
    """
    use_threads(1)

    from rich.console import Console

    from ru_calc.files import check_writable
    from ru_calc.studies.bench.training import TrainingSettings, remarks, run_training_bench, training_table, write

    settings = TrainingSettings(**options)
    if json_file is not None:
        check_writable(json_file)
    with progress() as advance:
        bench = run_training_bench(settings, advance)
    Console(width=WIDTH, highlight=False).print(training_table(bench))
    click.echo(machine_line(bench.machine))
    for remark in remarks(bench):
        click.echo(f"- {remark}")
    if json_file is not None:
        write(bench, json_file)
        click.echo(f"wrote {json_file}")
