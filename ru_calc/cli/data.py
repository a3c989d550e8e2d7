"""`ru-calc data`: what a labelled data set is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.reading import READING_OPTIONS, open_data, reading_of
from ru_calc.cli.shared import output_file, with_options

if TYPE_CHECKING:
    import numpy as np

    from ru_calc.dataset import Dataset
    from ru_calc.doctor import Report


@click.group("data")
def command() -> None:
    """Examine labelled data."""


@command.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--split", metavar="FILE|NAME", help="split.json of a run folder, or the name of a shipped model: look "
              "for frames that the training part shares with others.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Only what convert and fit check: units, signs and broken labels of some "
              "40 frames of each file.")  # fmt: skip
@with_options(READING_OPTIONS)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all findings to this file.")
def check(files: tuple[str, ...], split: str | None, quick: bool, json_file: Path | None, **options: Any) -> None:
    """Look for what is wrong in FILE...: data sets, or files that convert reads.

    Wrong units and signs are told from distances, from a model of ruthenium, and from energies against forces; then
    broken frames, missing labels, outliers and copies.  Several files of one level of theory are taken as parts of a
    split, and frames that two of them share are named.  An error ends with exit status 1.
    """
    if split and len(files) > 1:
        raise click.UsageError("--split belongs to one file; give that file alone")

    from ru_calc.doctor import examine, examine_together
    from ru_calc.files import write_json

    if json_file is not None:
        output_file(json_file)
    names = list(dict.fromkeys(files))
    datasets = dict(zip(names, open_data(names, reading_of(options)), strict=True))
    parts = {name: _parts(split, dataset) for name, dataset in datasets.items()}
    reports = {name: examine(dataset, quick, parts[name]) for name, dataset in datasets.items()}
    shared = [] if quick else examine_together(datasets)
    errors = sum(len(report.errors) for report in reports.values())
    for name, report in reports.items():
        _show(name, report, quick)
    for sentence in shared:
        click.echo(f"warning: {sentence}")
    if json_file is not None:
        write_json(json_file, {"files": _records(reports), "between_files": shared, "errors": errors})
    click.get_current_context().exit(1 if errors else 0)


def _parts(split: str | None, dataset: Dataset) -> dict[str, np.ndarray] | None:
    from ru_calc.evaluate import read_split

    return read_split(split, dataset) if split else None


def _records(reports: dict[str, Report]) -> list[dict[str, Any]]:
    return [{"file": name, **report.record()} for name, report in reports.items()]


def _show(name: str, report: Report, quick: bool) -> None:
    total = len(report.dataset)
    looked = f"{report.examined} of {total} frames" if quick else f"{total} frame{'s' * (total > 1)}"
    found = len(report.findings)
    click.echo(f"{name}: {looked} examined, {found or 'no'} finding{'s' * (found != 1)}")
    for line in report.lines():
        click.echo(f"  {line}")
