"""`ru-calc card`: measure a model and write its card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click

from ru_calc.cli.shared import make_calculator


@click.command("card")
@click.argument("model")
@click.argument("data")
@click.option("--split", required=True, metavar="FILE|NAME", help="split.json of the fit, or a shipped model's name.")
@click.option("--command", "made_by", required=True, help="The command that made the model, for the record.")
@click.option(
    "--peer", "peers", multiple=True, metavar="NAME=errors.json",
    help="A peer's errors.json of 'ru-calc evaluate' on the same test frames; may be repeated.",
)  # fmt: skip
@click.option(
    "--bench", "bench_file", type=click.Path(path_type=Path), metavar="FILE",
    help="JSON of 'ru-calc bench' with models to set beside this one.",
)  # fmt: skip
@click.option("--note", "notes", multiple=True, help="A sentence on where not to trust it; may be repeated.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The card, a Markdown file.")
def command(
    model: str,
    data: str,
    split: str,
    made_by: str,
    peers: tuple[str, ...],
    bench_file: Path | None,
    notes: tuple[str, ...],
    output: Path,
) -> None:
    """Errors of MODEL per split of DATA and its properties, as a card beside the model."""
    import numpy as np

    from ru_calc.dataset import read_dataset
    from ru_calc.evaluate import assess, predict_by_model, read_split
    from ru_calc.files import check_writable, write_text
    from ru_calc.modelfiles.card import CardFacts, card, group_of
    from ru_calc.properties import all_properties, compare, markdown

    check_writable(output)
    others = {name: _rows(path) for name, _, path in (peer.partition("=") for peer in peers)}
    speeds = [] if bench_file is None else _speeds(bench_file)
    calculator = make_calculator(model, "auto", "float64")
    dataset = read_dataset(data)
    parts = read_split(split, dataset)
    frames_in_split = sum(len(part) for part in parts.values())
    if frames_in_split != len(dataset):
        raise click.UsageError(f"the split holds {frames_in_split} of {len(dataset)} frames; give the data of the fit")
    predictions = predict_by_model(calculator.predictor, dataset)
    errors = assess(dataset, predictions, parts).rows
    kinds = np.array([group_of(kind) for kind in dataset.config_type])
    groups = assess(replace(dataset, config_type=kinds), predictions, parts).rows
    properties = markdown(compare(all_properties(calculator, phonons=True)))
    facts = CardFacts(output.stem, calculator.header, errors, groups, properties, made_by, others, notes, speeds)
    click.echo(f"wrote {write_text(output, card(facts))}")


def _speeds(path: Path) -> list[dict]:
    """The engines of a benchmark at its largest size of at most 5000 atoms, one thread."""
    from ru_calc.modelfiles.read import read_header

    try:
        rows = [row for row in json.loads(path.read_text())["rows"] if row["contestant"].startswith("engine ")]
        rows = [row for row in rows if row["threads"] == 1 and row["atoms"] <= 5000]
        size = max(row["atoms"] for row in rows)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise click.BadParameter(f"{str(path)!r} is not a JSON file of 'ru-calc bench' ({problem})") from None
    named = [(row["contestant"].removeprefix("engine "), row) for row in rows if row["atoms"] == size]
    return [{"model": name, "header": read_header(name), "atoms": size, "cpu_us": row["cpu_us"]} for name, row in named]


def _rows(path: str) -> list[dict]:
    try:
        return [row for row in json.loads(Path(path).read_text())["errors"] if row["split"] in ("test", "all")]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise click.BadParameter(f"{path!r} is not an errors.json of 'ru-calc evaluate' ({problem})") from None
