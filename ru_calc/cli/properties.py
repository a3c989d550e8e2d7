"""`ru-calc properties`: properties of ruthenium by a model, beside the labels, our DFT, PBE and experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.shared import PREDICTOR_OPTIONS, check_predictor, make_calculator, output_file, with_options

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


@click.command("properties")
@with_options(PREDICTOR_OPTIONS)
@click.option("--quick", is_flag=True, help="Smaller cells, and only what has a target.")
@click.option("--phonons", is_flag=True, help="Also the lowest phonon frequency of the whole zone (needs phonopy).")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all values and sources to this file.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table in Markdown.")
def command(quick: bool, phonons: bool, json_file: Path | None, as_markdown: bool, **chosen: Any) -> None:
    """Lattice, elastic constants, phonons, phases, vacancy, surface and dimer of ruthenium, with reference values.

    Differences of the model stand in brackets: in %, or in the unit itself for %, eV and eV/atom.  A target is how
    close a model of the distilled level has to come to its labels, or one of our DFT's level to the GPAW values;
    models of other levels, and other calculators, have none.
    """
    check_predictor(chosen)

    from ru_calc.errors import UnphysicalError
    from ru_calc.files import write_json
    from ru_calc.properties import all_properties, compare, level_of, markdown, score, summary
    from ru_calc.properties.table import as_records, remarks, table

    if json_file is not None:
        output_file(json_file)
    calculator = _calculator(chosen)
    judged_by = level_of(getattr(calculator, "header", {}).get("level_of_theory", ""))
    rows = compare(all_properties(calculator, quick, phonons), judged_by)
    if all(row.property.value is None for row in rows):
        raise UnphysicalError(f"no property could be measured ({rows[0].property.failure}); try another model")
    if json_file is not None:
        about = {"predictor": chosen["calculator"] or chosen["model"] or "default", "quick": quick}
        about |= {"judged_by": judged_by}
        found = {
            "summary": summary(rows), "score": score(rows) if judged_by else None, "properties": as_records(rows),
        }  # fmt: skip
        write_json(json_file, {**about, "calculator_args": chosen["calculator_args"], **found})
    if as_markdown:
        click.echo(markdown(rows), nl=False)
        return
    table(rows).show()
    for line in remarks(rows):
        click.echo(line)


def _calculator(chosen: dict[str, Any]) -> Calculator:
    if chosen["calculator"]:
        from ru_calc.evaluate import load_calculator

        return load_calculator(chosen["calculator"], chosen["calculator_args"])
    defaults = {"model": "default", "device": "auto", "dtype": "float64", "engine": "auto"}
    used = {name: chosen[name] or default for name, default in defaults.items()}
    return make_calculator(**used, threads=chosen["threads"])
