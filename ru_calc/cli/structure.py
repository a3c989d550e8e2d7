"""What `md` and `relax` share: options of structures, reading them, and the rows that are printed."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.reading import FORMAT_OPTIONS
from ru_calc.cli.shared import flag, option
from ru_calc.errors import DataError, SettingsError

if TYPE_CHECKING:
    from ase import Atoms

Column = tuple[str, int, int]  # heading, width, digits
BUILD = {
    "repeat": {"nargs": 3, "type": int, "metavar": "NX NY NZ", "help": "Cells along each lattice vector."},
    "n_atoms": {"type": int, "help": "Approximate number of atoms (named structures)."},
    "a_A": {"type": float, "help": "Lattice constant a in Å (named structures)."},
    "c_A": {"type": float, "help": "Lattice constant c in Å (named structures)."},
    "layers": {"type": int, "help": "Atomic layers of a slab."},
    "termination": {
        "type": click.Choice(["near", "far"]),
        "help": "Whether the two outermost planes of hcp10m10 are near each other or far apart.  [default: near]",
    },
    "vacuum_A": {"type": float, "help": "Vacuum between a slab and its periodic image in Å."},
    "diameter_A": {"type": float, "help": "Diameter of a sphere in Å."},
    "distance_A": {"type": float, "help": "Bond length of a dimer in Å."},
    "vacancy_fraction": {"type": float, "help": "Fraction of atoms removed at random (named structures)."},
}
BUILD_OPTIONS = (*(option(name, **settings) for name, settings in BUILD.items()), *FORMAT_OPTIONS)


class StructureCommand(click.Command):
    """A command whose help ends with the named structures and the options of each."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from ru_calc.structures.build import options_of, structure_names

        takes = {name: [flag(one) for one in BUILD if one in options_of(name)] for name in structure_names()}
        with formatter.section("Structures, and the options of each"):
            formatter.write_dl([(name, " ".join(options) or "none") for name, options in takes.items()])


def read_structure(text: str, given: Mapping[str, Any], default_n_atoms: int | None = None) -> Atoms:
    """The atoms that `text` names: a structure of `structures.build`, or a file that ASE reads (`file@3` is frame 3).

    Args:
        given: values of the options `BUILD` and `seed`; None where not given.
        default_n_atoms: size of a named crystal if no size is given.

    Raises:
        DataError: there is no such file or name, it cannot be read, or its atoms are not ruthenium, not finite or in
            a cell without volume.
        SettingsError: an option does not apply to the structure, or it is too large for this machine.
    """
    from ru_calc.structures import check_atoms
    from ru_calc.structures.build import build_structure, options_of, structure_names
    from ru_calc.structures.size import FORCES_BYTES, check_size

    options = {name: given[name] for name in BUILD if given.get(name) is not None}
    if text in structure_names():
        if "vacancy_fraction" in options:
            options["seed"] = given.get("seed") or 0
        sized = {"repeat", "n_atoms"} & options.keys()
        if default_n_atoms and not sized and "repeat" in options_of(text) and "layers" not in options_of(text):
            options["n_atoms"] = default_n_atoms
        check_size(options.get("n_atoms", 0), f"--n-atoms is {options.get('n_atoms')}", FORCES_BYTES)
        atoms = build_structure(text, **options)
        check_size(len(atoms), text, FORCES_BYTES)
        return atoms
    repeat = options.pop("repeat", (1, 1, 1))
    if options:
        raise SettingsError(
            f"{flag(next(iter(options)))} applies to named structures only, and {text!r} is a file: leave it out"
        )
    atoms = _file(text, given)
    check_atoms(atoms, f"{text}: ")
    if min(repeat) < 1:
        raise SettingsError(f"--repeat is {repeat}; it must be three numbers, each 1 or more")
    check_size(len(atoms) * math.prod(repeat), f"--repeat is {repeat}", FORCES_BYTES)
    return atoms.repeat(repeat) if repeat != (1, 1, 1) else atoms


def _file(text: str, given: Mapping[str, Any]) -> Atoms:
    from ru_calc.cli.reading import reading_of
    from ru_calc.dataset.layouts import read_last
    from ru_calc.structures.build import structure_names

    if not Path(text).exists() and not Path(text.rpartition("@")[0]).is_file():
        names = ", ".join(structure_names())
        raise DataError(f"there is no file or structure {text!r}; structures are {names}")
    frame = read_last(text, reading_of(given))
    if len(frame) == 0:
        raise DataError(f"{text} holds no atoms")
    return frame


def stem_of(text: str) -> str:
    """Of the file that `text` names, without folders, suffix and index of a frame; a named structure itself."""
    named = Path(text) if Path(text).exists() else Path(text.rpartition("@")[0] or text)
    return named.stem


def _cell(value: float | None, digits: int, width: int) -> str:
    """Starts with a space; scientific where it would be too long, "–" where there is no value."""
    if value is None or value != value:
        return "–".rjust(width)
    forms = (f".{digits}f", *(f".{n}e" for n in range(max(digits, 2), -1, -1)))
    texts = [format(value, form) for form in forms]
    return next((text for text in texts if len(text) < width), texts[-1]).rjust(width)


def row_printer(columns: Collection[Column], *title: str) -> Callable[[Iterable[float | None]], None]:
    """Prints rows, each value under its heading; title and headings come with the first: a refused run has none."""
    waiting = [*title, "".join(heading.rjust(width) for heading, width, _ in columns)]

    def report(values: Iterable[float | None]) -> None:
        while waiting:
            click.echo(waiting.pop(0))
        cells = (_cell(value, digits, width) for value, (_, width, digits) in zip(values, columns, strict=True))
        click.echo("".join(cells))

    return report


def warn_of_vacuum(atoms: Atoms, cutoff_A: float) -> None:
    """Warns of a gap wider than twice the cutoff in a cell that is about to change."""
    from ru_calc.structures import widest_gaps_A

    if not (atoms.pbc.all() and atoms.cell.rank == 3):
        return
    gaps = widest_gaps_A(atoms)
    k = int(gaps.argmax())
    if gaps[k] > 2 * cutoff_A:
        click.echo(
            f"warning: the cell can change, but has a gap of {gaps[k]:.1f} Å without atoms along lattice vector "
            f"{'abc'[k]}: nothing fixes its length there, and stress and pressure include the vacuum; keep the cell of "
            "a slab or cluster fixed, with pbc False across the gap",
            err=True,
        )
