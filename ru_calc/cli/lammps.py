"""`ru-calc lammps`: the potential in LAMMPS, over any number of MPI processes."""

from __future__ import annotations

from pathlib import Path

import click

from ru_calc.cli.shared import output_file
from ru_calc.devices import DTYPES


@click.group("lammps")
def command() -> None:
    """Run the potential in LAMMPS, over any number of MPI processes.

    In an input script of LAMMPS, in units metal, with Ru once for each atom type:

    \b
        pair_style ruschnet
        pair_coeff * * TABLES Ru
    """


@command.command("build")
@click.option("--instruction-set", type=click.Choice(["avx512", "avx2", "base"]),
              help="Of the processors that the plugin will run on.  [default: the widest of this one]")  # fmt: skip
@click.option("--again", is_flag=True, help="Compile it also if it is there.")
def build(instruction_set: str | None, again: bool) -> None:
    """Compile the plugin for the LAMMPS of this Python, and print where it is.

    The other commands do so themselves; the `lmp` of the extra ru-calc[lammps] then finds it by itself, and others load
    it by `plugin load FILE`.
    """
    from ru_calc.lammps.build import built_plugin
    from ru_calc.lammps.installed import find_lammps

    version = find_lammps().version
    click.echo(f"plugin for LAMMPS {version}: {built_plugin(instruction_set or '', again)}")


@command.command("tables")
@click.argument("model", default="default")
@click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True,
              help="Precision in which LAMMPS evaluates the network.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File.  [default: NAME.tables]")
def tables(model: str, dtype: str, output: Path | None) -> None:
    """Write the tables of MODEL, which pair_coeff names, to one file.

    MODEL is a shipped model, a model file, or the folder of a fit, of the family schnet.
    """
    from ru_calc.lammps.tables_file import write_tables

    output = output or Path(f"{Path(model).stem}.tables")
    output_file(output)
    made = write_tables(output, model, dtype)
    click.echo(f"{output}: model {made.model} ({made.sha256[:12]}) in {dtype}; pair_coeff * * {output} Ru")
