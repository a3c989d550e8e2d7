"""`ru-calc sweep`: one fit for each of many settings."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.progress import progress_bar, say
from ru_calc.cli.shared import THREADS, end_at_sigterm, named_values, use_threads

if TYPE_CHECKING:
    from ru_calc.studies.sweep.plan import Plan


@click.command("sweep")
@click.argument("data")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the sweep.")
@click.option("--epochs", type=click.IntRange(1), help="Of every fit. [default: 40]")
@click.option(
    "--trials", type=click.Path(path_type=Path), metavar="FILE",
    help='JSON file of trials by name, {"wide": {"model.channels": 192}, …}. [default: a built-in list]',
)  # fmt: skip
@click.option("--only", multiple=True, metavar="NAME", help="Fit this trial; may be repeated. [default: all]")
@click.option("--seed", type=click.IntRange(0), help="Of the split and of everything random. [default: 0]")
@click.option("--resume", is_flag=True, help="Go on with the sweep in the folder, with its settings and trials.")
@click.option(
    "--set", "changes", multiple=True, callback=named_values, metavar="NAME=VALUE",
    help="A setting (or model.NAME) of every trial, as of ru-calc fit; may be repeated.",
)  # fmt: skip
@THREADS
def command(data: str, output: Path, **options: Any) -> None:
    """Fit DATA with many settings, and compare what comes of them.

    DATA is an HDF5 file, or the name of a shipped set (distilled).  All fits have the same epochs, training and
    validation frames; the errors in the table are those of the validation frames, and the test frames are taken out
    before the first fit.  The built-in list has some 60 trials: of the shipped set, each is a fit of some 5 minutes of
    one core, so give --only, or trials of your own.  Several processes may share a folder: all but the first with
    --resume, each with --only.
    """
    from ru_calc.studies.sweep.plan import plan_sweep
    from ru_calc.studies.sweep.trials import read_trials

    given = options["changes"] | {name: options[name] for name in ("epochs", "seed") if options[name] is not None}
    trials = None if options["trials"] is None else read_trials(options["trials"])
    plan = plan_sweep(output, given, trials, options["resume"])
    plan.chosen(options["only"])
    use_threads(options["threads"])
    end_at_sigterm()
    try:
        stopped = _sweep(data, output, plan, options)
    except KeyboardInterrupt:
        click.echo(_interrupted(data, output, options["only"]), err=True)
        sys.exit(130)
    click.echo((output / "sweep.md").read_text(encoding="utf-8"))
    click.echo(f"wrote {output}/sweep.md, sweep.json, sweep.png")
    if stopped:
        click.echo(f"without a result: {', '.join(stopped)}; the table says why", err=True)
        sys.exit(1)


def _sweep(data: str, output: Path, plan: Plan, options: dict[str, Any]) -> list[str]:
    """Names of the trials that stopped without a result."""
    from ru_calc.dataset import read_dataset
    from ru_calc.studies.sweep.run import run_sweep

    dataset = read_dataset(data)
    with progress_bar("fit") as bar:
        command = _command(data, output, options)
        return list(run_sweep(dataset, output, plan, options["only"], command, say=say, bar=bar)["stopped"])


def _command(data: str, folder: Path, options: dict[str, Any]) -> str:
    """What is new in the command as it was given; none where it only goes on with a sweep, or with part of one."""
    import json

    if options["resume"] and options["trials"] is None:
        return ""
    words = ["ru-calc", "sweep", data, "-o", str(folder), *(["--resume"] if options["resume"] else [])]
    for name in ("epochs", "seed", "trials"):
        words += [f"--{name}", str(options[name])] if options[name] is not None else []
    for name, value in options["changes"].items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"]
    return shlex.join(words)


def _interrupted(data: str, folder: Path, only: tuple[str, ...]) -> str:
    from ru_calc.studies.sweep.plan import SWEEP

    if not SWEEP.begun(folder):
        return "interrupted before the sweep began; give the same command again"
    words = ["ru-calc", "sweep", data, "-o", str(folder), "--resume", *(w for name in only for w in ("--only", name))]
    return f"interrupted; go on with: {shlex.join(words)}"
