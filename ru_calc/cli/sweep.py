"""`ru-calc sweep`: one fit for each of many settings."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.ending import can_resume
from ru_calc.cli.progress import progress_bar, say
from ru_calc.cli.reading import ACCEPT_FINDINGS, open_to_fit
from ru_calc.cli.shared import THREADS, named_values, use_threads

if TYPE_CHECKING:
    from ru_calc.studies.sweep.plan import Plan


@click.command("sweep")
@click.argument("data")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the sweep.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of every fit. [default: 40]")
@click.option(
    "--trials", type=click.Path(path_type=Path), metavar="FILE",
    help='JSON file of trials by name, {"wide": {"model.channels": 192}, …}. [default: a built-in list]',
)  # fmt: skip
@click.option("--only", multiple=True, metavar="NAME", help="Fit this trial; may be repeated. [default: all]")
@click.option("--seed", type=click.IntRange(0), help="Seed of everything random, the split included. [default: 0]")
@click.option("--resume", is_flag=True, help="Resume the sweep in the folder, with its settings and trials.")
@click.option(
    "--set", "changes", multiple=True, callback=named_values, metavar="NAME=VALUE",
    help="A setting of all trials, as for ru-calc fit; may be repeated.",
)  # fmt: skip
@ACCEPT_FINDINGS
@THREADS
def command(data: str, output: Path, **options: Any) -> None:
    """Fit DATA with many settings and compare the models.

    DATA is an HDF5 file, or the name of a shipped set (distilled).  All fits have the same epochs, training and
    validation frames; the table shows errors on the validation frames, and the test frames are taken out before the
    first fit.  With the shipped set, each of the some 60 built-in trials takes about 5 minutes on one core, so select
    some by --only, or give your own.  Several processes may share a folder: all but the first with --resume, each with
    --only.
    """
    from ru_calc.studies.sweep.plan import SWEEP, plan_sweep
    from ru_calc.studies.sweep.trials import read_trials

    given = options["changes"] | {name: options[name] for name in ("epochs", "seed") if options[name] is not None}
    trials = None if options["trials"] is None else read_trials(options["trials"])
    plan = plan_sweep(output, given, trials, options["resume"])
    plan.chosen(options["only"])
    use_threads(options["threads"])
    only = [word for name in options["only"] for word in ("--only", name)]
    can_resume(SWEEP, output, ["ru-calc", "sweep", data, "-o", str(output), "--resume", *only])
    failed = _sweep(data, output, plan, options)
    click.echo((output / "sweep.md").read_text(encoding="utf-8"))
    click.echo(f"wrote {output}/sweep.md, sweep.json, sweep.png")
    if failed:
        click.echo(f"without a result: {', '.join(failed)}; see the table for the reasons", err=True)
        sys.exit(1)


def _sweep(data: str, output: Path, plan: Plan, options: dict[str, Any]) -> list[str]:
    """Names of the trials without a result."""
    from ru_calc.studies.sweep.run import run_sweep

    (dataset,) = open_to_fit([data], options["accept_findings"], options["resume"])
    with progress_bar("fit") as bar:
        command = _command(data, output, options)
        return list(run_sweep(dataset, output, plan, options["only"], command, say=say, bar=bar)["stopped"])


def _command(data: str, folder: Path, options: dict[str, Any]) -> str:
    """The command as given; empty if it only resumes a sweep."""
    import json

    if options["resume"] and options["trials"] is None:
        return ""
    words = ["ru-calc", "sweep", data, "-o", str(folder), *(["--resume"] if options["resume"] else [])]
    words += ["--accept-findings"] if options["accept_findings"] else []
    for name in ("epochs", "seed", "trials"):
        words += [f"--{name}", str(options[name])] if options[name] is not None else []
    for name, value in options["changes"].items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"]
    return shlex.join(words)
