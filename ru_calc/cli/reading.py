"""Options of commands that read labelled frames: layout, columns, units and signs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.shared import flag, option

if TYPE_CHECKING:
    from ru_calc.dataset import Dataset
    from ru_calc.dataset.reading import Reading

LABELS = ("energy", "forces", "stress", "virial")
KEYS = tuple(
    option(f"{label}_key", multiple=True, metavar="NAME",
           help=f"Column of the {label}, or none; may be repeated, the first that a frame has is taken.")
    for label in LABELS
)  # fmt: skip
UNITS = {
    "energy": "eV, Ha, Ry, kcal/mol, kJ/mol", "length": "Angstrom, bohr, nm", "forces": "eV/Angstrom, Ha/bohr, …",
    "stress": "eV/Angstrom^3, GPa, kbar, …", "virial": "eV, Ha, …",
}  # fmt: skip
FORMAT_OPTIONS = (
    click.option("--format", metavar="NAME",
                 help="Layout of a file whose name and content do not tell: h5md, deepmd, mace, arrays, "
                 "lammps-dump-text, lammps-data, vasp-xml, vasp-out, or a format of ASE."),
    click.option("--elements", metavar="SYMBOLS", default="",
                 help="Elements of the atom types in files that number them, e.g. Ru."),
)  # fmt: skip
READING_OPTIONS = (
    *FORMAT_OPTIONS,
    *KEYS,
    *(option(f"{quantity}_unit", metavar="UNIT", help=f"{examples}.  [default: what the file states, else ASE's]")
      for quantity, examples in UNITS.items()),
    option("energy_per_atom", is_flag=True, help="Energies are per atom, not of the frame."),
    option("forces_sign", type=click.Choice(["force", "gradient"]), default="force", show_default=True,
           help="gradient: the file holds that of the energy."),
    option("stress_sign", type=click.Choice(["ase", "vasp"]), default="ase", show_default=True,
           help="ase: tension is positive; vasp: compression is."),
    option("stress_order", type=click.Choice(["ase", "vasp"]),
           help="Of stress given as 6 numbers: xx yy zz yz xz xy (ase) or xx yy zz xy yz xz (vasp)."),
)  # fmt: skip


ACCEPT_FINDINGS = click.option(
    "--accept-findings", is_flag=True,
    help="Take the data even if units or signs look wrong or frames look broken (see ru-calc data check).",
)  # fmt: skip


def reading_of(options: Mapping[str, Any]) -> Reading:
    """The `Reading` that options of `READING_OPTIONS`, or of `FORMAT_OPTIONS`, ask for."""
    from ru_calc.dataset.reading import Reading

    given = {field.name: options[field.name] for field in fields(Reading) if field.name in options}
    return Reading(**{**given, "elements": tuple(options.get("elements", "").replace(",", " ").split())})


def reading_words(options: Mapping[str, Any]) -> list[str]:
    """The words of a command line that asks for the same reading."""
    from ru_calc.dataset.reading import Reading

    words = []
    for field in fields(Reading):
        value = options.get(field.name)
        name = flag(field.name)
        if value is True:
            words.append(name)
        elif value and value != field.default:
            words += [word for one in ([value] if isinstance(value, str) else value) for word in (name, one)]
    return words


def say_account(lines: Iterable[str]) -> None:
    """Prints what was taken from files; warnings go to standard error."""
    for line in lines:
        click.echo(line, err=line.startswith("warning: "))


def open_data(data: Sequence[str], reading: Reading | None = None) -> list[Dataset]:
    """The data sets that DATA of a command names, and what was taken from files of other programs.

    Raises:
        DataError: see `ru_calc.dataset.opening.open_datasets`.
    """
    from ru_calc.dataset.opening import open_datasets

    return open_datasets(data, reading, lambda line: say_account([line]))


def open_to_fit(
    data: Sequence[str], accept: bool, resume: bool = False, reading: Reading | None = None
) -> list[Dataset]:
    """As `open_data`, and runs the quick part of the doctor on each, unless a fit is resumed.

    Raises:
        DataError: see `ru_calc.dataset.opening.open_datasets`, and `refuse_findings`.
    """
    datasets = open_data(data, reading)
    if not resume:
        for name, dataset in zip(data, datasets, strict=True):
            refuse_findings(name, dataset, accept)
    return datasets


def refuse_findings(name: str, dataset: Dataset, accept: bool) -> None:
    """Runs the quick part of `ru-calc data check`, and prints warnings on standard error.

    Args:
        accept: errors are printed as well, instead of raised.

    Raises:
        DataError: labels or positions are in wrong units or of the wrong sign, or broken.
    """
    from ru_calc.doctor import examine
    from ru_calc.errors import DataError

    report = examine(dataset, quick=True)
    for finding in report.findings:
        if accept or finding.severity != "error":
            click.echo(f"{name}: {finding.line(dataset)}", err=True)
    if report.errors and not accept:
        first, *more = report.errors
        others = f"; and {len(more)} more: ru-calc data check {name}" if more else ""
        found = first.line(dataset).removeprefix("error: ")
        raise DataError(f"{name}: {found}, or keep the data as they are with --accept-findings{others}")
