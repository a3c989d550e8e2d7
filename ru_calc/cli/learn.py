"""`ru-calc learn`: rounds of dynamics, labelling and fitting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ru_calc.cli.ending import can_resume
from ru_calc.cli.progress import progress_bar, say
from ru_calc.cli.reading import ACCEPT_FINDINGS, open_to_fit
from ru_calc.cli.sample import counts, temperatures
from ru_calc.cli.shared import THREADS, named_values, options_given, settings_among, use_threads

LABEL_OPTIONS = ("preset", "calculator", "arguments", "level", "workers", "limit_min")


@click.command("learn")
@click.argument("data", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the loop.")
@click.option("--init-from", default="omat", show_default=True,
              help="Model from whose weights every fit starts; it must not have seen DATA.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Rounds after the first fit.")
@click.option("--frames", type=click.IntRange(1), default=20, show_default=True, help="Frames to label in a round.")
@click.option(
    "--md", multiple=True, callback=counts, metavar="NAME[=COUNT]",
    help="Candidates from runs, as for ru-calc sample; may be repeated.  [default: all kinds of runs]",
)  # fmt: skip
@click.option(
    "--kind", "kinds", multiple=True, callback=counts, metavar="NAME[=COUNT]",
    help="Candidates that are static, as for ru-calc sample; may be repeated.  [default: none]",
)  # fmt: skip
@click.option("--temperature-K", "temperature_K", callback=temperatures, metavar="LOWEST,HIGHEST",
              help="Temperatures of the runs.  [default: those of each kind]")  # fmt: skip
@click.option("--max-atoms", type=click.IntRange(1), default=12, show_default=True, help="In a frame to label.")
@click.option("--every-fs", type=float, default=200.0, show_default=True, help="Time between candidates of a run.")
@click.option("--threshold", "threshold_eV_per_A", type=click.FloatRange(0), metavar="EV_PER_A",
              help="Label frames with an atom of larger uncertainty.  [default: that of the model]")  # fmt: skip
@click.option("--preset", type=click.Choice(["gpaw"]), help="Label at the level of the shipped DFT frames, by GPAW.")
@click.option("--calculator", metavar="MODULE:CLASS", help="Label by an ASE calculator.")
@click.option("--set", "arguments", multiple=True, callback=named_values, metavar="NAME=VALUE",
              help="An argument of the calculator; may be repeated.")  # fmt: skip
@click.option("--level", metavar="TEXT", help="Level of theory that is learned and labelled.  [default: the preset's]")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Frames labelled at a time.")
@click.option("--limit-min", type=float, help="CPU time of an attempt to label a frame, in minutes.")
@click.option("--fit", "fit", multiple=True, callback=named_values, metavar="NAME=VALUE",
              help="A setting of the fits, as for ru-calc fit --set; may be repeated.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything random.")
@click.option("--licence", default="not stated", show_default=True, help="Licence of the weights, for model files.")
@click.option("--resume", is_flag=True, help="Resume the loop in the folder; only --rounds and --workers may change.")
@ACCEPT_FINDINGS
@THREADS
def command(data: tuple[str, ...], output: Path, resume: bool, threads: int, **options: Any) -> None:
    """Improve a model where it is least sure: run MD with it, label the frames it knows least of, fit, and again.

    DATA are the frames labelled so far, as for ru-calc fit; the level of theory that is learned is that of the labels
    to come.  Every step is kept: after Ctrl-C, a kill or a full disk, --resume goes on.
    """
    from ru_calc.studies.learn.run import LEARNING

    use_threads(threads)
    words = ["ru-calc", "learn", *data, "-o", str(output), "--resume"]
    can_resume(LEARNING, output, words)
    _learn(data, output, resume, options)
    click.echo(f"wrote {output}/learn.md, results.json")


def _learn(data: tuple[str, ...], output: Path, resume: bool, options: dict[str, Any]) -> None:
    from ru_calc.fit.levels import by_level
    from ru_calc.studies.learn.rounds import Loop
    from ru_calc.studies.learn.run import check_learning, learn, settings_from, stored_settings
    from ru_calc.studies.learn.settings import LearnSettings

    record = stored_settings(output) if resume else {}
    settings = settings_from(_again(record, options)) if resume else LearnSettings(**_new(options))
    level = settings.labelling.level_of_theory
    levels = by_level(open_to_fit(data, options["accept_findings"], resume), data, level if len(data) > 1 else None)
    licence = record.get("licence", options["licence"])
    with progress_bar("fit") as bar:
        loop = Loop(output, settings, levels[0], levels[1:], licence, say, bar)
        check_learning(loop, resume)
        learn(loop, resume)


def _new(options: dict[str, Any]) -> dict[str, Any]:
    from ru_calc.studies.learn.settings import LearnSettings

    if not (options["calculator"] or options["preset"]):
        raise click.UsageError("give --calculator MODULE:CLASS or --preset gpaw to label with")
    given = settings_among(options, LearnSettings)
    if not options["md"] and not options["kinds"]:
        del given["md"]  # all of them
    label = {name: options[name] for name in LABEL_OPTIONS if options[name]}
    return given | {"label": label}


def _again(record: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The record of a loop with what stands on the command line that resumes it."""
    named = set(options_given()) - {"data", "output", "resume", "threads", "licence", "accept_findings"}
    given = {name: options[name] for name in named}
    label = {name: given.pop(name) for name in LABEL_OPTIONS if name in given}
    return record | given | {"label": record["label"] | label}
