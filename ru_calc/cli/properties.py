"""`ru-calc properties`: properties of ruthenium by a model, beside the labels, PBE and experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.shared import PREDICTOR_OPTIONS, check_predictor, make_calculator, with_options

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
    close the model has to come to the labels.
    """
    check_predictor(chosen)

    from ru_calc.errors import UnphysicalError
    from ru_calc.files import check_writable, write_json
    from ru_calc.properties import all_properties, compare, markdown, score, summary
    from ru_calc.properties.table import as_records, remarks, table

    if json_file is not None:
        check_writable(json_file)
    rows = compare(all_properties(_calculator(chosen), quick, phonons))
    if all(row.property.value is None for row in rows):
        raise UnphysicalError(f"no property could be measured ({rows[0].property.failure}); try another model")
    if json_file is not None:
        about = {"predictor": chosen["calculator"] or chosen["model"] or "default", "quick": quick}
        found = {"summary": summary(rows), "score": score(rows), "properties": as_records(rows)}
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
