"""`ru-calc convert`: from labelled frames in any layout to the native HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ru_calc.cli.reading import ACCEPT_FINDINGS, READING_OPTIONS, reading_of, refuse_findings, say_account
from ru_calc.cli.shared import new_file, settings_among, with_options
from ru_calc.errors import OutputError

SUFFIXES = (".h5", ".hdf5")


@click.command("convert")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IN...")
@click.argument("output", type=click.Path(path_type=Path), metavar="OUT.h5")
@with_options(READING_OPTIONS)
@click.option(
    "--group-by", type=click.Choice(["info", "file"]), default="info", show_default=True,
    help="Which frames a split keeps together: those with the same group_id, or those of one file.",
)  # fmt: skip
@click.option("--level-of-theory", help="That of the labels, e.g. 'PBE, GPAW'.  [default: what all frames state]")
@click.option("--energy-reference", default="as labelled", show_default=True, help="Zero of the energies.")
@click.option(
    "--leave-out", multiple=True, metavar="TYPE", help="Leave out frames of this config_type; may be repeated."
)
@ACCEPT_FINDINGS
@click.option("--overwrite", is_flag=True, help="Replace OUT.h5 if it exists.")
def command(inputs: tuple[Path, ...], output: Path, overwrite: bool, **options: Any) -> None:
    """Convert IN... to OUT.h5, and summarise it.

    IN is a file, FILE@INDEX (ASE's index of frames) or a folder of files: extxyz, traj, db, vasprun.xml, OUTCAR and
    what else ASE reads, H5MD, MACE, DeePMD, TorchMD and NequIP data, LAMMPS dumps, npz; also .gz, .bz2, .xz.

    Labels are found by name: energy, free_energy, force(s), stress, virial(s), also with REF_ or DFT_ in front, which
    come first; then free_energy before energy.  What looks like a label but is not taken is named.
    """
    if output.suffix not in SUFFIXES:
        raise OutputError(f"the output is {output}; its name must end in {' or '.join(SUFFIXES)}")
    new_file(output, overwrite)

    from ru_calc.dataset import write_dataset
    from ru_calc.dataset.convert import ConvertSettings, convert
    from ru_calc.dataset.summary import summary

    settings = ConvertSettings(reading_of(options), **settings_among(options, ConvertSettings))
    result = convert(inputs, settings)
    say_account(result.lines())
    refuse_findings(", ".join(map(str, inputs)), result.dataset, options["accept_findings"])
    click.echo(summary(result.dataset))
    write_dataset(result.dataset, output)
    click.echo(f"wrote {output} ({output.stat().st_size / 1e6:.2f} MB)")
