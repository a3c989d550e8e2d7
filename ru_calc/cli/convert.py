"""`ru-calc convert`: from files that ASE reads to the native HDF5 layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ru_calc.cli.shared import check_new_file
from ru_calc.errors import OutputError

SUFFIXES = (".h5", ".hdf5")


@click.command("convert")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IN...")
@click.argument("output", type=click.Path(path_type=Path), metavar="OUT.h5")
@click.option(
    "--energy", type=click.Choice(["auto", "free_energy", "energy"]), default="auto", show_default=True,
    help="Which energy to read: auto takes the force-consistent free_energy if a frame has it, otherwise energy.",
)  # fmt: skip
@click.option(
    "--group-by", type=click.Choice(["info", "file"]), default="info", show_default=True,
    help="Which frames a split keeps together: those with the same group_id, or those of one file.",
)  # fmt: skip
@click.option("--level-of-theory", help="That of the labels, e.g. 'PBE, GPAW'.  [default: what all frames state]")
@click.option("--energy-reference", default="as labelled", show_default=True, help="Zero of the energies.")
@click.option(
    "--leave-out", multiple=True, metavar="TYPE", help="Leave out frames of this config_type; may be repeated."
)
@click.option("--overwrite", is_flag=True, help="Replace OUT.h5 if it exists.")
def command(inputs: tuple[Path, ...], output: Path, overwrite: bool, **options: Any) -> None:
    """Convert IN... (extxyz, traj, db, vasprun.xml, OUTCAR, also .gz) to OUT.h5, and summarise it."""
    if output.suffix not in SUFFIXES:
        raise OutputError(f"the output is {output}; its name must end in {' or '.join(SUFFIXES)}")
    check_new_file(output, overwrite)

    from ru_calc.dataset import write_dataset
    from ru_calc.dataset.convert import ConvertSettings, convert
    from ru_calc.dataset.summary import summary

    result = convert(inputs, ConvertSettings(**options))
    dataset, used = result.dataset, result.energies
    click.echo(f"read {len(dataset)} frames from {len(inputs)} file{'s' if len(inputs) > 1 else ''}")
    click.echo("energy taken from: " + ", ".join(f"{name} ({count} frames)" for name, count in sorted(used.items())))
    if used.get("energy") and used.get("free_energy"):
        click.echo("warning: energy and free_energy are mixed; they differ by the electronic entropy: see --energy")
    for name, count in result.left_out.items():
        click.echo(f"left out: {count} frames of {name}")
    if result.stress_dropped:
        click.echo(f"stress dropped from {result.stress_dropped} frames that are not periodic in three directions")
    if result.unlabelled:
        click.echo(
            f"warning: {result.unlabelled} of {len(dataset)} frames have no label; a fit learns nothing from them",
            err=True,
        )
    click.echo(summary(dataset))
    write_dataset(dataset, output)
    click.echo(f"wrote {output} ({output.stat().st_size / 1e6:.2f} MB)")
