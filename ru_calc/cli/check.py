"""`ru-calc check`: whether a model keeps, on this machine, what a potential promises."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ru_calc.cli.shared import model_options, with_options

if TYPE_CHECKING:
    from ru_calc.checks import Line, Subject

NAME, NUMBER, UNIT = 31, 9, 11  # widths


@click.command("check")
@click.argument("model", default="default")
@click.argument("structure", required=False)
@with_options(model_options("float64")[1:])
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all lines to this file.")
def command(
    model: str, structure: str | None, device: str, dtype: str, engine: str, threads: int, json_file: Path | None
) -> None:
    """Measure whether MODEL keeps what a potential promises, on this machine, in less than a minute.

    Each line is a claim with the figure that was measured, its bound, and a verdict: derivatives, symmetries, cutoff,
    neighbors, engine, precisions, threads, dynamics, core.  The status is 1 if one fails.  What takes differences runs
    in float64 in any case; other lines run in --dtype, with the bounds of its rounding.

    The structures are a crystal, a small skewed cell, a slab, a liquid and a cluster; or only STRUCTURE, a file that
    ASE reads or a name (see `ru-calc md --help`).  Cutoff, threads, dynamics and core have structures of their own.
    """
    from ru_calc.checks import Subject, run_checks, standard_structures
    from ru_calc.cli.shared import model_in_words, output_file, use_threads
    from ru_calc.cli.structure import read_structure
    from ru_calc.errors import ModelError
    from ru_calc.modelfiles import model_path, open_model

    if json_file is not None:
        output_file(json_file)
    model_path(model)
    use_threads(threads)
    frames = standard_structures() if structure is None else {structure: read_structure(structure, {})}
    used = engine
    with suppress(ModelError):  # which is the first line
        used = open_model(model, dtype, device, threads, engine).engine
    subject = Subject(model, frames, device, dtype, engine, threads)
    click.echo(f"{model_in_words(model, dtype, used)}, {subject.device_used}, threads: {threads}")
    lines = show_lines(run_checks(subject))
    if json_file is not None:
        _write(json_file, subject, lines)
    sys.exit(1 if any(line.failed for line in lines) else 0)


def show_lines(lines: Iterable[Line]) -> list[Line]:
    """Prints each line when it is there, and at the end how many there were of each verdict."""
    shown: list[Line] = []
    for line in lines:
        if not shown:
            click.echo(f"{'':{NAME}}{'figure':>{NUMBER}}   {'bound':<{NUMBER}}{'unit':{UNIT}}verdict")
        shown.append(line)
        click.echo(_text(line))
    counts = {verdict: sum(line.verdict == verdict for line in shown) for verdict in ("passed", "skipped", "FAILED")}
    click.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))
    return shown


def _text(line: Line) -> str:
    figure = line.figure
    if figure is None:
        return f"{line.name:{NAME}}{line.verdict}: {line.remark}"
    sign = "≥" if figure.at_least else "≤"
    where = ", ".join(part for part in (figure.of, figure.where) if part)
    return (
        f"{line.name:{NAME}}{figure.value:>{NUMBER}.2g} {sign} {figure.bound:<{NUMBER}.2g}{figure.unit:{UNIT}}"
        f"{line.verdict:8}({where})"
    )


def _write(path: Path, subject: Subject, lines: Sequence[Line]) -> None:
    import ru_calc
    from ru_calc.files import write_json

    about = {name: getattr(subject, name) for name in ("model", "device", "dtype", "engine", "threads")}
    passed = not any(line.failed for line in lines)
    records = [line.record() for line in lines]
    write_json(path, {"version": ru_calc.__version__, **about, "passed": passed, "lines": records})
