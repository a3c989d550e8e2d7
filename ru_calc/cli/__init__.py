"""The command line, `ru-calc COMMAND`.  A command's module is imported when it is called: help is instant."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import click

import ru_calc
from ru_calc import kernels
from ru_calc.cli.ending import one_line_at_the_end, replace_what_cannot_be_printed

COMMANDS = {
    "md": "Run molecular dynamics; without arguments, of bulk hcp ruthenium at 300 K.",
    "relax": "Relax the atoms and, if asked, the cell.",
    "lammps": "Run the potential in LAMMPS, over any number of MPI processes.",
    "properties": "Compute lattice, elastic, phonon, defect and surface properties, beside DFT and experiment.",
    "evaluate": "Measure the errors of a model, or of any ASE calculator, on labelled frames.",
    "sample": "Make diverse structures to be labelled by DFT.",
    "convert": "Convert labelled frames of other programs to an HDF5 data set.",
    "data": "Check labelled data: units, signs, broken frames, copies, leaks between parts of a split.",
    "label": "Label structures with energy, forces and stress by any ASE calculator.",
    "fit": "Fit a model to labelled frames.",
    "learn": "Improve a model by rounds of MD, labelling of what it is least sure of, and fits.",
    "sweep": "Run one fit for each of many settings, and tabulate the results.",
    "compare": "Fit several families of potentials to the same data, and compare them.",
    "check": "Measure whether a model keeps what a potential promises, on this machine.",
    "card": "Measure a model and write its model card.",
    "bench": "Measure the speed of models, or of training, and of other packages.",
}


class LazyGroup(click.Group):
    """Lists commands without importing them, and ends each with one line if it ends early."""

    def main(self, *args: Any, **extra: Any) -> Any:
        replace_what_cannot_be_printed()
        return super().main(*args, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return import_module(f"ru_calc.cli.{cmd_name.replace('-', '_')}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        before, warnings.formatwarning = warnings.formatwarning, _one_line
        try:
            with one_line_at_the_end(ctx):
                return super().invoke(ctx)
        finally:
            warnings.formatwarning = before
        return None


def _one_line(message: Warning | str, *_: object, **__: object) -> str:
    """A warning without the place in the source."""
    return f"warning: {' '.join(str(message).split())}\n"


def print_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Prints the version of ru-calc and the instruction set of its compiled engine."""
    if not wanted:
        return
    engine = next(iter(kernels.available()), "none (install a C++20 compiler, then install ru-calc again)")
    click.echo(f"ru-calc {ru_calc.__version__}, compiled engine: {engine}")
    context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version,
    help="Show the version and the compiled engine, and exit.",
)  # fmt: skip
def main() -> None:
    """A machine-learned potential for ruthenium: molecular dynamics, relaxation, properties, fits."""
