"""`ru-calc card`: measure a model and write its card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.shared import make_calculator, output_file
from ru_calc.files import read_json

if TYPE_CHECKING:
    from ru_calc.dataset import Dataset
    from ru_calc.evaluate import Predictions
    from ru_calc.modelfiles.card import HeldOutErrors


@click.command("card")
@click.argument("model")
@click.argument("data", nargs=-1, required=True)
@click.option(
    "--split", required=True, metavar="FILE|NAME|FOLDER",
    help="split.json of the fit, a shipped model's name, or the run folder of 'ru-calc fit --folds'.",
)  # fmt: skip
@click.option(
    "--command", "commands", multiple=True, required=True,
    help="A command that made the model, for the record; may be repeated.",
)  # fmt: skip
@click.option(
    "--peer", "peers", multiple=True, metavar="NAME=errors.json",
    help="A peer's errors.json of 'ru-calc evaluate' on the same test frames (of folds: all frames); may be repeated.",
)  # fmt: skip
@click.option(
    "--bench", "bench_file", type=click.Path(path_type=Path), metavar="FILE",
    help="JSON of 'ru-calc bench' with models to set beside this one.",
)  # fmt: skip
@click.option("--note", "notes", multiple=True, help="A sentence on where not to trust it; may be repeated.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The card, a Markdown file.")
def command(
    model: str,
    data: tuple[str, ...],
    split: str,
    commands: tuple[str, ...],
    peers: tuple[str, ...],
    bench_file: Path | None,
    notes: tuple[str, ...],
    output: Path,
) -> None:
    """Errors of MODEL on the frames of DATA that it was not fitted to, and its properties, as a card beside the model.

    DATA are all data of the fit: HDF5 files, or names of shipped sets.
    """
    from ru_calc.evaluate import predict_by_model, read_split
    from ru_calc.files import write_text
    from ru_calc.modelfiles.card import CardFacts, card
    from ru_calc.properties import all_properties, compare, level_of, markdown

    output_file(output)
    speeds = [] if bench_file is None else _speeds(bench_file)
    calculator = make_calculator(model, "auto", "float64")
    header = calculator.header
    levels = _levels(data, header)
    others = {name: _peer(name, path, levels[0]) for name, _, path in (peer.partition("=") for peer in peers)}
    owners = read_split(split, levels[0])
    folds = _folds(Path(split))
    predictions = predict_by_model(calculator.predictor, levels[0])
    if folds:
        parts, test = _of_folds(folds, levels[0], predictions)
    else:
        parts, test = _of_split(owners, levels[0], predictions)
    for name, other in others.items():
        if other.groups[0]["frames"] != test.groups[0]["frames"]:
            raise click.BadParameter(
                f"{name} was evaluated on {other.groups[0]['frames']} frames, but the test frames are "
                f"{test.groups[0]['frames']}; evaluate it on the same frames"
            )
    judged_by = level_of(header["level_of_theory"])
    properties = markdown(compare(all_properties(calculator, phonons=True), judged_by))
    members = len(folds["members"]) if folds else 0
    facts = CardFacts(
        output.stem, header, levels, parts, test, properties, commands, others, notes, speeds, members
    )  # fmt: skip
    click.echo(f"wrote {write_text(output, card(facts))}")


def _levels(names: Sequence[str], header: dict[str, Any]) -> list[Dataset]:
    """The data of the model's fit by level of theory, its own first; refuses any other data."""
    from ru_calc.cli.reading import open_data
    from ru_calc.errors import DataError
    from ru_calc.fit.levels import by_level

    levels = by_level(open_data(names), names, header["level_of_theory"])
    fitted = {header["level_of_theory"]: header["data"], **header.get("other_levels", {})}
    given = {level.level_of_theory: level.fingerprint() for level in levels}
    for level in {**fitted, **given}:
        if fitted.get(level) != given.get(level):
            found, own = (str(one.get(level, "none"))[:12] for one in (given, fitted))
            raise DataError(
                f"the data of level {level!r} are {found}, those that the model was fitted to {own}; give all data of "
                "its fit, and no others"
            )
    return levels


def _of_split(split: Any, dataset: Dataset, predictions: Predictions) -> tuple[list[dict], HeldOutErrors]:
    """Errors of each part of a split, and those on its test frames."""
    from ru_calc.evaluate import assess
    from ru_calc.evaluate.metrics import ALL
    from ru_calc.modelfiles.card import HeldOutErrors

    frames_in_split = sum(len(part) for part in split.values())
    if frames_in_split != len(dataset):
        raise click.UsageError(f"the split holds {frames_in_split} of {len(dataset)} frames; give the data of the fit")
    if not len(split.get("test", ())):
        raise click.UsageError("the split has no test frames, so nothing tells how good the model is; fit it in folds")
    found = assess(dataset, predictions, split)
    kinds, groups = ([row for row in rows if row["split"] == "test"] for rows in (found.rows, found.groups))
    return [row for row in found.rows if row["config_type"] == ALL], HeldOutErrors(kinds, groups)


def _of_folds(folds: dict[str, Any], dataset: Dataset, predictions: Predictions) -> tuple[list[dict], HeldOutErrors]:
    """Errors of the members on their folds, of all together, and of the model on what its members have seen."""
    from ru_calc.evaluate import assess
    from ru_calc.modelfiles.card import HeldOutErrors

    rows = [{"split": f"fold {k}", **one["errors"]["test"]} for k, one in enumerate(folds["members"], 1)]
    rows.append({**folds["groups"][0], "split": "all folds, held out"})
    rows.append({**assess(dataset, predictions).rows[0], "split": "this model, on frames of its fits"})
    return rows, HeldOutErrors(folds.get("errors", []), folds["groups"])


def _folds(folder: Path) -> dict[str, Any] | None:
    """What `ru-calc fit --folds` found, if this is its run folder."""
    path = folder / "committee.json"
    if not path.is_file():
        return None
    try:
        found = dict(read_json(path))
        if "groups" not in found:
            return None
        _ = found["members"][0]["errors"]["test"], found["groups"][0]["frames"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as problem:
        raise click.BadParameter(f"{str(path)!r} is damaged ({problem!r}); fit again with --resume") from None
    return found


def _speeds(path: Path) -> list[dict]:
    """The engines of a benchmark at its largest size of at most 5000 atoms, one thread."""
    from ru_calc.modelfiles.read import read_header

    try:
        rows = [row for row in read_json(path)["rows"] if row["contestant"].startswith("engine ")]
        rows = [row for row in rows if row["threads"] == 1 and row["atoms"] <= 5000]
        size = max(row["atoms"] for row in rows)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise click.BadParameter(f"{str(path)!r} is not a JSON file of 'ru-calc bench' ({problem})") from None
    named = [(row["contestant"].removeprefix("engine "), row) for row in rows if row["atoms"] == size]
    return [{"model": name, "header": read_header(name), "atoms": size, "cpu_us": row["cpu_us"]} for name, row in named]


def _peer(name: str, path: str, dataset: Dataset) -> HeldOutErrors:
    """Errors of a peer on the test frames, or on all frames."""
    from ru_calc.evaluate.report import tested
    from ru_calc.modelfiles.card import HeldOutErrors

    try:
        found = read_json(path)
        errors, data = HeldOutErrors(*(tested(found[rows]) for rows in ("errors", "groups"))), found["data_hash"]
        _ = errors.groups[0]["frames"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as problem:
        raise click.BadParameter(
            f"{path!r} is not an errors.json of 'ru-calc evaluate' of this version ({problem!r}); evaluate {name} again"
        ) from None
    if data != dataset.fingerprint():
        raise click.BadParameter(
            f"{name} was evaluated on the data set {data[:12]}, but the model's is {dataset.fingerprint()[:12]}; "
            "evaluate it on the same frames"
        )
    return errors
