"""`ru-calc sample`: structures to be labelled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.progress import progress_bar
from ru_calc.cli.shared import (
    MODEL_OPTIONS,
    flag,
    make_calculator,
    new_file,
    option,
    options_given,
    settings_among,
    with_options,
)
from ru_calc.errors import OutputError

if TYPE_CHECKING:
    from ru_calc.sample import Sample, SampleSettings


def counts(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, int | None]:
    """Callback of a repeatable option NAME[=COUNT]; a later one replaces an earlier one."""
    wanted: dict[str, int | None] = {}
    for text in values:
        name, equals, count = (part.strip() for part in text.partition("="))
        if not name or (equals and not count.removeprefix("-").isdecimal()):
            raise click.BadParameter(f"{text!r} is not NAME or NAME=COUNT, with a whole number of frames")
        wanted.pop(name, None)
        wanted[name] = int(count) if equals else None
    return wanted


def temperatures(_ctx: click.Context, _param: click.Parameter, text: str | None) -> tuple[float, float] | None:
    """Callback of an option that takes one temperature, or the lowest and the highest."""
    if text is None:
        return None
    try:
        low, *rest = (float(part) for part in text.split(","))
        (high,) = rest or (low,)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a temperature in K, or LOWEST,HIGHEST") from None
    return low, high


def list_kinds(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Prints the kinds."""
    if not wanted:
        return
    from ru_calc.sample.table import all_kinds

    static, runs = all_kinds()
    click.echo(f"for --kind:\n{static.text()}\n\nfor --md:\n{runs.text()}")
    context.exit()


OF_RUNS = ("temperature_K", "every_fs", "model", "device", "dtype", "engine", "threads")
SAMPLE_OPTIONS = (
    click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FRAMES.extxyz"),
    option("kind", callback=counts, multiple=True, metavar="NAME[=COUNT]",
           help="A kind of structure, or several such as 'eos_*', and how many frames of each; may be repeated."),
    option("md", callback=counts, multiple=True, metavar="NAME[=COUNT]",
           help="A kind of molecular dynamics with the model, or several, and how many frames; may be repeated."),
    option("list_kinds", is_flag=True, is_eager=True, expose_value=False, callback=list_kinds,
           help="Show all kinds, what they make, their default counts and sizes, and exit."),
    option("seed", type=int, default=0, show_default=True, help="Seed of everything random."),
    option("max_atoms", type=int, default=16, show_default=True, help="Most atoms of a frame."),
    option("nearest_A", type=float, default=1.9, show_default=True,
           help="Least distance of two atoms; compressed kinds, dimers, interstitials and runs have their own."),
    option("vacuum_A", type=float, default=12.0, show_default=True,
           help="Vacuum between a slab or cluster and its image."),
    option("temperature_K", callback=temperatures, metavar="LOWEST,HIGHEST",
           help="Temperatures of all runs.  [default: those of --list-kinds]"),
    option("every_fs", type=float, default=200.0, show_default=True, help="Time between two frames of a run."),
    option("exclude", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
           help="Leave out frames that FILE has, or that differ from one of its by 0.01 Å at most; may be repeated."),
    option("overwrite", is_flag=True, help="Replace the output file."),
)  # fmt: skip


@click.command("sample")
@with_options(SAMPLE_OPTIONS)
@with_options(MODEL_OPTIONS)
def command(output: Path, exclude: tuple[Path, ...], overwrite: bool, **options: Any) -> None:
    """Make diverse structures of ruthenium, small enough for DFT, to be labelled.

    Without --kind and --md: every kind of structure, no molecular dynamics.  With --md alone: only that.  Two kinds
    differ in their random numbers, so the count of one does not change the frames of another.  All cells are periodic
    in three directions.
    """
    from ru_calc.dataset.layouts import read_frames
    from ru_calc.sample import SampleSettings
    from ru_calc.sample.table import frames_table

    if output.suffix not in (".extxyz", ".xyz"):
        raise OutputError(f"the output is {output}; its name must end in .extxyz")
    new_file(output, overwrite)
    unused = [name for name in options_given() if name in OF_RUNS and not options["md"]]
    if unused:
        raise click.UsageError(f"{flag(unused[0])} applies to molecular dynamics: name a kind with --md")
    if not options["kind"] and not options["md"]:
        options["kind"] = None
    settings = SampleSettings(**settings_among({**options, "kinds": options["kind"]}, SampleSettings))
    known = [atoms for path in exclude for atoms in read_frames(path)]
    made = _made(settings, options, known)
    for note in made.notes:
        click.echo(note, err=True)
    if not made.frames:
        raise OutputError(f"no frame is left, so {output} is not written")
    _write(made, output)
    frames_table(made.frames).show()
    click.echo(f"wrote {len(made.frames)} frames to {output}")


def _made(settings: SampleSettings, options: dict[str, Any], known: list[Any]) -> Sample:
    from ru_calc.sample import sample

    model = {name: options[name] for name in ("model", "device", "dtype", "threads", "engine")}
    with progress_bar("sampling") as bar:
        return sample(settings, lambda: make_calculator(**model), known, bar.tell)


def _write(made: Sample, output: Path) -> None:
    import ase.io

    from ru_calc.files import whole_file

    with whole_file(output) as temporary:
        ase.io.write(temporary, made.frames, format="extxyz")
