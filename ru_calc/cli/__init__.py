"""The command line: `ru-calc COMMAND`.  A command's module is imported when it is called, so that help is instant."""

from __future__ import annotations

from importlib import import_module

import click

from ru_calc.errors import RuCalcError

COMMANDS = {
    "md": "Molecular dynamics; with no argument, bulk hcp ruthenium at 300 K.",
    "relax": "Relax atoms and, if asked, the cell.",
    "evaluate": "Errors of a model or of any ASE calculator on labelled frames.",
    "properties": "Lattice, elastic constants, phonons, defects and surface beside DFT and experiment.",
    "convert": "Turn files that ASE reads into the HDF5 layout.",
    "fit": "Fit a model to an HDF5 file.",
    "compare": "Families of potentials side by side: as potentials, or as in the starting paper.",
    "sweep": "One fit for each of many settings, and a table of what they bring.",
    "card": "Measure a model and write its card.",
    "bench": "Speed beside that of other packages.",
    "bench-fit": "Speed of a training step, beside plain autograd and SchNetPack.",
}


class LazyGroup(click.Group):
    """Lists commands without importing them, and prints errors of ru-calc as one line."""

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
        try:
            return super().invoke(ctx)
        except RuCalcError as error:
            raise click.ClickException(" ".join(str(error).split())) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ru-calc")
def main() -> None:
    """Ruthenium by a machine-learned potential: MD, relaxation, evaluation, fitting."""
