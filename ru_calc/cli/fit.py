"""`ru-calc fit`: from labelled frames to a model."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.ending import can_resume
from ru_calc.cli.progress import progress_bar, say
from ru_calc.cli.reading import ACCEPT_FINDINGS, READING_OPTIONS, open_to_fit, reading_of, reading_words
from ru_calc.cli.shared import THREADS, device_name, named_values, use_threads, with_options

if TYPE_CHECKING:
    from ru_calc.dataset import Dataset
    from ru_calc.dataset.reading import Reading
    from ru_calc.fit.team import Team


def _list_settings(context: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked:
        from ru_calc.fit.listing import listing

        click.echo(listing())
        context.exit()


@click.command("fit")
@click.argument("data", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Run folder.")
@click.option("--preset", type=click.Choice(["md", "paper"]), help="Settings to start from. [default: md]")
@click.option("--family", metavar="NAME", help="Family of the network. [default: the preset's]")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training frames. [default: the preset's]")
@click.option("--seed", type=click.IntRange(0), help="Seed of everything random, the split included. [default: 0]")
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    help="Highest learning rate of all parts of the network. [default: the preset's]",
)
@click.option("--split", help="Fractions of training, validation and test frames. [default: 0.6,0.2,0.2]")
@click.option(
    "--set", "changes", multiple=True, callback=named_values, metavar="NAME=VALUE",
    help="Any other setting (batch_pairs=2000, energy_weight=0.1,2) or hyper-parameter (model.channels=64); may be "
    "repeated.",
)  # fmt: skip
@click.option("--list-settings", is_flag=True, is_eager=True, expose_value=False, callback=_list_settings,
              help="Show all settings and hyper-parameters with their values in the preset md.")  # fmt: skip
@click.option("--level", help="Level of theory that the model predicts: one of DATA, or what a file states.  "
              "[default: that of the last DATA]")  # fmt: skip
@click.option("--init-from", help="Start from the weights of this model: name, file or run folder.")
@click.option(
    "--committee", type=click.IntRange(2), metavar="N", help="N fits of the same frames with seeds SEED, SEED + 1, …"
)
@click.option(
    "--folds", type=click.IntRange(2), metavar="N",
    help="Cross-validation: N fits, each tested on another N-th of the frames; with --init-from also their mean.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Resume the fit in the run folder, with its settings.")
@click.option("--device", callback=device_name, default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@THREADS
@with_options(READING_OPTIONS)
@ACCEPT_FINDINGS
@click.option("--licence", help="Licence of the weights, for the model file.  [default: not stated]")
def command(data: tuple[str, ...], output: Path, **options: Any) -> None:
    """Fit a model to DATA: labelled frames in any layout that ru-calc convert reads, or shipped sets (distilled).

    Files of different levels of theory are fitted together: the levels share the network but for its readout,
    and each has its own zero of energy.
    """
    from ru_calc.devices import resolve_device
    from ru_calc.fit.team import device_of_process, team_of

    if options["folds"] and options["committee"]:
        raise click.UsageError("--folds and --committee both ask for several fits; leave out one of them")
    device = device_of_process(resolve_device(options["device"]))
    use_threads(options["threads"])
    with team_of(device) as team:
        if team.main:
            start, members = _start(data, output, options)
        start, members = team.of_main((start, members) if team.main else None)
        if members is not None and team.size > 1:
            raise click.UsageError("--folds and --committee make several fits, one by one: start them without torchrun")
        with nullcontext() if team.main else redirect_stdout(io.StringIO()):
            levels = _levels(data, options, reading_of(options), not team.main)
            _fit(levels, members, options["resume"], team, folder=output, device=device, **start)


def _start(data: tuple[str, ...], output: Path, options: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
    """Settings, start and licence of the fit, and the size of its committee, once they are known to be right."""
    from ru_calc.fit.start import FIT

    members = options["folds"] or options["committee"]
    start, members = _resumed(output, options, members) if options["resume"] else (_new(options), members)
    _check(output, members, options["resume"], start)
    level = ["--level", options["level"]] if options["level"] else []
    words = ["ru-calc", "fit", *data, *level, *reading_words(options), "-o", str(output), "--resume"]
    can_resume(FIT, output, words, lambda: _how_far(output, members))
    return start, members


def _check(folder: Path, members: int | None, resume: bool, start: dict[str, Any]) -> None:
    from ru_calc.fit.committee import check_committee
    from ru_calc.fit.start import check_start

    if members is None:
        check_start(folder, start["settings"], start["init_from"], resume)
    else:
        check_committee(folder, members, start["settings"], start["init_from"], resume)


def _new(options: dict[str, Any]) -> dict[str, Any]:
    """Settings, start and licence of a new fit."""
    from ru_calc.errors import SettingsError
    from ru_calc.fit.settings import with_changes
    from ru_calc.fit.start import NO_LICENCE, settings_of_model

    changes = _changes(options)
    if options["init_from"]:
        own = settings_of_model(options["init_from"])
        if changes.get("family", own["family"]) != own["family"]:
            raise SettingsError(
                f"{options['init_from']} is of family {own['family']} and cannot start a fit of family "
                f"{changes['family']}; leave out --family, or --init-from"
            )
        changes = own | changes
    settings = with_changes(options["preset"] or "md", changes)
    return {"settings": settings, "init_from": options["init_from"], "licence": options["licence"] or NO_LICENCE}


def _resumed(folder: Path, options: dict[str, Any], members: int | None) -> tuple[dict[str, Any], int | None]:
    """Settings, start and licence of the fit in a folder, changed as given, and the size of its committee."""
    from ru_calc.fit.settings import with_changes_to
    from ru_calc.fit.start import stored_fit

    before = stored_fit(folder)
    given = {name: options[name] or getattr(before, name) for name in ("init_from", "licence")}
    settings = with_changes_to(before.settings, options["preset"], _changes(options))
    return {"settings": settings, **given}, members or before.committee


def _changes(options: dict[str, Any]) -> dict[str, Any]:
    given = {name: options[name] for name in ("family", "epochs", "seed", "folds") if options[name] is not None}
    if options["rate"] is not None:
        given |= {f"rate_{part}": options["rate"] for part in ("embedding", "blocks", "readout")}
    if options["split"]:
        given["split"] = _fractions(options["split"])
    twice = sorted(given.keys() & options["changes"].keys())
    if twice:
        raise click.UsageError(f"{twice[0]} is given by --set and by an option of its own; leave out one of them")
    return options["changes"] | given


def _levels(data: tuple[str, ...], options: dict[str, Any], reading: Reading, checked: bool) -> list[Dataset]:
    from ru_calc.dataset.summary import summary
    from ru_calc.fit.levels import by_level

    datasets = open_to_fit(data, options["accept_findings"], options["resume"] or checked, reading)
    levels = by_level(datasets, data, options["level"])
    click.echo("\n".join(summary(dataset) for dataset in levels))
    return levels


def _fit(levels: Sequence[Dataset], members: int | None, resume: bool, team: Team, **job: Any) -> None:
    from ru_calc.fit.committee import run_committee
    from ru_calc.fit.run import FitInput, run_fit

    fit = FitInput(levels[0], others=levels[1:], **job)
    with progress_bar("fit") if team.main else nullcontext() as bar:
        if members is None:
            run_fit(fit, resume, say, bar, team)
        else:
            run_committee(fit, members, resume, say, bar)


def _how_far(folder: Path, members: int | None) -> str:
    from ru_calc.fit.committee import current_member
    from ru_calc.fit.start import epochs_done

    last = folder if members is None else current_member(folder, members)
    epochs = epochs_done(last)
    where = f" after epoch {epochs}" if epochs else " before the end of the first epoch"
    return where if members is None else f"{where} of {last.name}"


def _fractions(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"--split is {text!r}; give three fractions as 0.6,0.2,0.2") from None
