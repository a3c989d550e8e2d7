"""`ru-calc label`: energies, forces and stress of frames by any ASE calculator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.ending import can_go_on
from ru_calc.cli.progress import progress_bar, say
from ru_calc.cli.shared import named_values, settings_among

if TYPE_CHECKING:
    from ru_calc.label import Labelling


@click.command("label")
@click.argument("frames", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "labels", required=True, type=click.Path(path_type=Path), metavar="LABELS",
    help="extxyz file that grows; frames that it holds already are skipped.",
)  # fmt: skip
@click.option("--calculator", metavar="MODULE:CLASS", help="An ASE calculator, e.g. ase.calculators.eam:EAM.")
@click.option(
    "--set", "arguments", multiple=True, callback=named_values, metavar="NAME=VALUE",
    help="An argument of the calculator, as JSON or a word; may be repeated.",
)  # fmt: skip
@click.option("--preset", type=click.Choice(["gpaw"]), help="The level of the shipped DFT frames, by GPAW.")
@click.option(
    "--level", metavar="TEXT", help="Name of the level of theory.  [default: the calculator and its arguments]"
)
@click.option(
    "--workers", type=click.IntRange(1),
    help="Frames at a time, each in a process of its own.  [default: 1; with --dask or --parsl 100]",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads of each worker.")
@click.option("--attempts", type=click.IntRange(1), help="Attempts per frame.  [default: 2; with --preset 3]")
@click.option(
    "--limit-min", type=float,
    help="CPU time of an attempt in minutes; ten times as much by the clock.  [default: none; with --preset 25]",
)  # fmt: skip
@click.option("--retry-failed", is_flag=True, help="Try again the frames that LABELS.failed lists.")
@click.option("--keep-going", is_flag=True, help="Do not stop when the first five frames all fail.")
@click.option("--dask", metavar="SCHEDULER", help="Label on a Dask cluster: address or file of its scheduler.")
@click.option("--parsl", type=click.Path(path_type=Path), metavar="FILE.py", help="Label where its Parsl config says.")
def command(frames: Path, labels: Path, **options: Any) -> None:
    """Label FRAMES (any file that ASE reads) with energy, forces and stress, and append them to LABELS.

    Each frame is written as soon as it is done: after Ctrl-C, a kill or a full disk, the same command goes on.  Frames
    that fail are listed in LABELS.failed.  Make a file LABELS.stop to end a run after the frames being computed.
    """
    if not (options["calculator"] or options["preset"]):
        raise click.UsageError("give --calculator MODULE:CLASS or --preset gpaw")

    from ru_calc.dataset.layouts import read_frames
    from ru_calc.errors import OutputError
    from ru_calc.label import LabelSettings, label_frames

    settings = LabelSettings(**settings_among(options, LabelSettings))
    if labels.exists() and frames.exists() and labels.samefile(frames):
        raise OutputError(f"{labels} is the file of the frames; give the labels another name")
    given = read_frames(frames)
    can_go_on(lambda: f"what is done is in {labels}: give the same command again to go on")
    with progress_bar("frames", total=len(given)) as bar:
        result = label_frames(given, labels, settings, say, bar.update, str(frames))
    _summary(result, labels)


def _summary(result: Labelling, labels: Path) -> None:
    cost = f", {result.cpu_s / result.done:.1f} s of CPU time each" if result.done else ""
    click.echo(f"labelled {result.done} frames{cost}; {result.known} were done before; wrote {labels}")
    if result.left:
        click.echo(f"{result.left} frames are left: give the same command again to go on")
    if result.failed:
        click.echo(
            f"{len(result.failed)} frames failed and are listed in {labels}.failed (--retry-failed tries again):"
        )
        for uid, reason in result.failed:
            click.echo(f"  {uid}: {reason}")
