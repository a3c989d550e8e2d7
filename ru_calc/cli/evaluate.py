"""`ru-calc evaluate`: errors of a model, or of any ASE calculator, on labelled frames."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.progress import progress_bar
from ru_calc.cli.reading import READING_OPTIONS, open_data, reading_of
from ru_calc.cli.shared import PREDICTOR_OPTIONS, check_predictor, keep, model_in_words, use_threads, with_options

if TYPE_CHECKING:
    import numpy as np

    from ru_calc.dataset import Dataset
    from ru_calc.evaluate import Evaluation, Predictions


@click.command("evaluate")
@click.argument("data")
@with_options(PREDICTOR_OPTIONS)
@click.option("--split", metavar="FILE|NAME", help="split.json of a run folder, or the name of a shipped model.")
@click.option("--part", "parts", multiple=True, metavar="NAME", help="Only this part of the split; may be repeated.")
@click.option(
    "--shift", type=click.Choice(["none", "mean", "median", "isolated"]),
    help="Bring the zeros of energy together; median is not moved by a few frames that are far off.  "
    "[default: none for models, mean for calculators]",
)  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for tables, plots and worst frames.")
@click.option("--overwrite", is_flag=True, help="Replace an evaluation that is in that folder.")
@with_options(READING_OPTIONS)
@click.option("--worst", type=click.IntRange(1), default=20, show_default=True, help="How many of the worst frames.")
@click.option("--batch-atoms", type=click.IntRange(1), default=1000, show_default=True, help="Atoms at once (models).")
def command(data: str, output: Path | None, **options: Any) -> None:
    """Errors on DATA: labelled frames in any layout that ru-calc convert reads, or a shipped set (distilled)."""
    check_predictor(options)
    if options["parts"] and not options["split"]:
        raise click.UsageError("--part needs --split")

    from ru_calc.evaluate import assess, chosen_frames, only, read_split, tables, write_report
    from ru_calc.evaluate.report import output_files
    from ru_calc.files import owned

    (dataset,) = open_data([data], reading_of(options))
    splits = only(read_split(options["split"], dataset), options["parts"]) if options["split"] else None
    frames, _ = chosen_frames(dataset, splits)
    if output is not None:
        keep(owned(output))
        output_files(output, options["overwrite"])
    started = time.perf_counter()
    predictions, about = _predict(dataset, frames, options)
    about |= {"data": data, "data_hash": dataset.fingerprint(), "level_of_theory": dataset.level_of_theory,
              "split": options["split"], "seconds": round(time.perf_counter() - started, 2)}  # fmt: skip
    shift = options["shift"] or ("mean" if options["calculator"] else "none")
    evaluation = assess(dataset, predictions, splits, shift, about)
    for table in tables(evaluation):
        table.show()
    _say(evaluation, len(dataset))
    if output is None:
        click.echo("nothing was written; --output FOLDER keeps the tables, parity plots and the worst frames")
    else:
        written = write_report(evaluation, output, options["worst"])
        click.echo(f"wrote {', '.join(path.name for path in written)} to {output}")


def _predict(dataset: Dataset, frames: np.ndarray, options: dict[str, Any]) -> tuple[Predictions, dict[str, Any]]:
    """Predictions of the chosen frames, and what made them."""
    from ru_calc.evaluate import load_calculator, predict_by_calculator, predict_by_model
    from ru_calc.modelfiles import open_model
    from ru_calc.modelfiles.read import read_model_file

    chosen = dataset if len(frames) == len(dataset) else dataset.select(frames)
    if options["calculator"]:
        about = {"predictor": options["calculator"], "calculator_args": options["calculator_args"]}
        calculator = load_calculator(options["calculator"], options["calculator_args"])
    else:
        name = options["model"] or "default"
        dtype = options["dtype"] or "float64"
        use_threads(options["threads"])
        opened = open_model(name, dtype, options["device"] or "auto", options["threads"], options["engine"] or "auto")
        about = {
            "predictor": name,
            "model_sha256": read_model_file(name).sha256,
            "device": opened.device,
            "dtype": dtype,
            "engine": opened.engine,
        }
    with progress_bar("frames", total=len(chosen)) as bar:
        if options["calculator"]:
            return predict_by_calculator(calculator, chosen, bar.update), about
        return predict_by_model(opened.predictor, chosen, options["batch_atoms"], bar.update), about


def _say(evaluation: Evaluation, n_given: int) -> None:
    """What a reader of the tables has to know."""
    evaluated, about = len(evaluation.frames), evaluation.about
    name = about["predictor"]
    what = model_in_words(name, about["dtype"], about["engine"]) if "engine" in about else name
    click.echo(f"{what}: {evaluated} of {n_given} frames in {about['seconds']:.1f} s")
    if evaluation.shift != "none":
        click.echo(
            f"energies of {name} were shifted by {evaluation.shift_eV_per_atom:+.6f} eV/atom "
            f"(--shift {evaluation.shift}), one constant for all frames"
        )
    if evaluation.failures:
        frames = {failure.frame for failure in evaluation.failures}
        click.echo(f"warning: {len(frames)} of {evaluated} frames were not predicted in full:")
        for failure in evaluation.failures[:5]:
            kind = evaluation.comparison.dataset.config_type[evaluation.frames.tolist().index(failure.frame)]
            click.echo(f"  frame {failure.frame} ({kind}), {failure.quantity}: {failure.reason}")
        if len(evaluation.failures) > 5:
            click.echo(f"  and {len(evaluation.failures) - 5} more, all in failures.csv of --output")
