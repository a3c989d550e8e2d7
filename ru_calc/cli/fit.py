"""`ru-calc fit`: from an HDF5 file to a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ru_calc.cli.shared import THREADS, device_name, use_threads


def _setting(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    changes = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE")
        try:
            changes[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            changes[name.strip()] = value
    return changes


@click.command("fit")
@click.argument("data")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Run folder.")
@click.option("--preset", type=click.Choice(["md", "paper"]), default="md", show_default=True)
@click.option("--family", help="Family of the network. [default: the preset's]")
@click.option("--epochs", type=click.IntRange(1))
@click.option("--seed", type=click.IntRange(0))
@click.option("--split", help="Fractions of training, validation and test frames, as 0.6,0.2,0.2.")
@click.option(
    "--set", "changes", multiple=True, callback=_setting, metavar="NAME=VALUE",
    help="Any other setting (batch_atoms=250) or hyper-parameter (model.channels=64); may be repeated.",
)  # fmt: skip
@click.option("--init-from", help="Start from the weights of this model (name or file).")
@click.option("--resume", is_flag=True, help="Go on with the fit in the run folder.")
@click.option("--device", callback=device_name, default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@THREADS
@click.option("--licence", default="not stated", show_default=True, help="Licence of the weights, for the model file.")
def command(data: str, output: Path, preset: str, **options: Any) -> None:
    """Fit a model to DATA: an HDF5 file, or the name of a shipped set (distilled)."""
    from tqdm import tqdm

    from ru_calc.dataset import read_dataset
    from ru_calc.devices import resolve_device
    from ru_calc.fit.run import FitInput, run_fit
    from ru_calc.fit.settings import with_changes
    from ru_calc.fit.start import check_start
    from ru_calc.summary import summary

    changes = dict(options["changes"])
    changes |= {name: options[name] for name in ("family", "epochs", "seed") if options[name] is not None}
    if options["split"]:
        changes["split"] = _fractions(options["split"])
    if options["init_from"]:
        from ru_calc.storage import load_model

        start = load_model(options["init_from"]).potential
        changes = {"family": start.family} | {f"model.{k}": v for k, v in start.hyperparameters().items()} | changes
    settings = with_changes(preset, changes)
    device = resolve_device(options["device"])
    check_start(output, settings, options["init_from"], options["resume"])
    use_threads(options["threads"])
    dataset = read_dataset(data)
    click.echo(summary(dataset))
    job = FitInput(dataset, output, settings, device, options["init_from"], options["licence"])
    with tqdm(desc="fit", unit="batch", disable=None, dynamic_ncols=True) as bar:
        run_fit(job, options["resume"], say=tqdm.write, bar=bar)


def _fractions(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"--split is {text!r}; give three fractions as 0.6,0.2,0.2") from None
