"""What several commands share: options, structures, models, rows of a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ru_calc.devices import DEVICE, DTYPES, ENGINES
from ru_calc.errors import DataError, ModelError, OutputError, SettingsError

if TYPE_CHECKING:
    from ase import Atoms

    from ru_calc.calculator import RuCalculator

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def json_object(_ctx: click.Context, _param: click.Parameter, text: str) -> dict[str, Any]:
    """Callback of an option that takes a JSON object."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as problem:
        raise click.BadParameter(f"{text!r} is not JSON ({problem})") from None
    if not isinstance(value, dict):
        raise click.BadParameter(f'{text!r} is not a JSON object; write {{"argument": value}}')
    return value


def named_values(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """Callback of a repeatable option NAME=VALUE; a value that is not JSON is a list or a word."""
    changes = {}
    for text in values:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE")
        if name in changes:
            raise click.BadParameter(f"{name} is given twice")
        changes[name] = _value(value)
    return changes


def _value(text: str) -> Any:
    for form in (text, f"[{text}]") if "," in text else (text,):
        try:
            return json.loads(form)
        except json.JSONDecodeError:
            continue
    return text


def device_name(_ctx: click.Context, _param: click.Parameter, text: str | None) -> str | None:
    """Callback of an option that names a device; whether the device exists is checked when it is used."""
    if text is not None and not DEVICE.fullmatch(text):
        raise click.BadParameter(f"{text!r} is not one of auto, cpu, cuda, cuda:N")
    return text


def option(name: str, **settings: Any) -> Decorator:
    """An option called after an argument: `--a-A` for `a_A`."""
    return click.option(flag(name), name, **settings)


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


# One thread by default: on a busy machine, threads that wait for each other cost far more than they gain.
THREADS = click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True,
    help="CPU threads; more than one pays for large systems on an idle machine.",
)  # fmt: skip


def model_options(dtype: str) -> tuple[Decorator, ...]:
    """Options that name a model and how it runs, by default in `dtype`."""
    return (
        click.option("--model", default="default", show_default=True, help="Name or file of a model."),
        click.option(
            "--device", callback=device_name, default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."
        ),
        click.option(
            "--dtype", type=click.Choice(DTYPES), default=dtype, show_default=True, help="Precision of the model."
        ),
        click.option(
            "--engine", type=click.Choice(ENGINES), default="auto", show_default=True,
            help="The compiled engine, or the reference in torch; auto takes the compiled one where it can serve.",
        ),
        THREADS,
    )  # fmt: skip


MODEL_OPTIONS = model_options("float32")
PREDICTOR_OPTIONS = (
    *model_options("float64"),
    click.option(
        "--calculator", metavar="MODULE:CLASS",
        help="Any ASE calculator instead of a model, e.g. ase.calculators.eam:EAM.",
    ),
    click.option(
        "--calculator-args", callback=json_object, default="{}", metavar="JSON",
        help='Arguments of the calculator, e.g. {"potential": "Ru.eam.fs", "form": "fs"}.',
    ),
)  # fmt: skip
BUILD = {
    "repeat": {"nargs": 3, "type": int, "metavar": "NX NY NZ", "help": "Cells along each lattice vector."},
    "n_atoms": {"type": int, "help": "Approximate number of atoms (named structures)."},
    "a_A": {"type": float, "help": "Lattice constant a in Å (named structures)."},
    "c_A": {"type": float, "help": "Lattice constant c in Å (named structures)."},
    "layers": {"type": int, "help": "Atomic layers of a slab."},
    "vacuum_A": {"type": float, "help": "Vacuum between a slab and its periodic image in Å."},
    "diameter_A": {"type": float, "help": "Diameter of a sphere in Å."},
    "distance_A": {"type": float, "help": "Bond length of a dimer in Å."},
    "vacancy_fraction": {"type": float, "help": "Fraction of atoms removed at random (named structures)."},
}
BUILD_OPTIONS = tuple(option(name, **settings) for name, settings in BUILD.items())


class StructureCommand(click.Command):
    """A command whose help ends with the named structures and the options of each."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from ru_calc.structures.build import options_of, structure_names

        takes = {name: [flag(one) for one in BUILD if one in options_of(name)] for name in structure_names()}
        with formatter.section("Structures, and the options of each"):
            formatter.write_dl([(name, " ".join(options) or "none") for name, options in takes.items()])


def with_options(options: tuple[Decorator, ...]) -> Decorator:
    """Adds several options to a command, in this order."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def options_given() -> list[str]:
    """Names of the options and arguments that stand on the command line."""
    context = click.get_current_context()
    return [name for name in context.params if context.get_parameter_source(name) == ParameterSource.COMMANDLINE]


def read_structure(text: str, given: Mapping[str, Any], default_n_atoms: int | None = None) -> Atoms:
    """The atoms that `text` names: a structure of `structures.build`, or a file that ASE reads (`file@3` is frame 3).

    Args:
        given: values of the options `BUILD` and `seed`; None where not given.
        default_n_atoms: size of a named crystal if no size is given.

    Raises:
        DataError: there is no such file or name, it cannot be read, or its atoms are not ruthenium, not finite or in
            a cell without volume.
        SettingsError: an option does not apply to the structure.
    """
    from ru_calc.structures import check_atoms
    from ru_calc.structures.build import build_structure, options_of, structure_names

    options = {name: given[name] for name in BUILD if given.get(name) is not None}
    if text in structure_names():
        if "vacancy_fraction" in options:
            options["seed"] = given.get("seed") or 0
        sized = {"repeat", "n_atoms"} & options.keys()
        if default_n_atoms and not sized and "repeat" in options_of(text) and "layers" not in options_of(text):
            options["n_atoms"] = default_n_atoms
        return build_structure(text, **options)
    repeat = options.pop("repeat", (1, 1, 1))
    if options:
        raise SettingsError(
            f"{flag(next(iter(options)))} applies to named structures only, and {text!r} is a file: leave it out"
        )
    atoms = _file(text)
    check_atoms(atoms, f"{text}: ")
    if min(repeat) < 1:
        raise SettingsError(f"--repeat is {repeat}; it must be three numbers, each 1 or more")
    return atoms.repeat(repeat) if repeat != (1, 1, 1) else atoms


def _file(text: str) -> Atoms:
    import ase.io

    from ru_calc.structures.build import structure_names

    path = Path(text)
    if not path.is_file() and not Path(text.rpartition("@")[0]).is_file():
        names = ", ".join(structure_names())
        raise DataError(f"there is no file or structure {text!r}; structures are {names}")
    try:
        frame = ase.io.read(text)
    except Exception as problem:  # ASE's readers raise whatever their format makes them raise
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise DataError(f"{text} cannot be read as a structure ({reason}); give a file that ASE reads") from problem
    if isinstance(frame, list):
        raise DataError(f"{text} names {len(frame)} frames; name one, as {text.rpartition('@')[0]}@0")
    if len(frame) == 0:
        raise DataError(f"{text} holds no atoms")
    return frame


Column = tuple[str, int, int]  # heading, width, digits


def headings(columns: Sequence[Column]) -> str:
    return "".join(heading.rjust(width) for heading, width, _ in columns)


def row_of(values: Sequence[float | None], columns: Sequence[Column]) -> str:
    """A row of a table, each value under its heading."""
    return "".join(_cell(value, digits, width) for value, (_, width, digits) in zip(values, columns, strict=True))


def _cell(value: float | None, digits: int, width: int) -> str:
    """Starts with a space; scientific where it would be too long, "–" where there is no value."""
    if value is None or value != value:
        return "–".rjust(width)
    forms = (f".{digits}f", *(f".{n}e" for n in range(max(digits, 2), -1, -1)))
    texts = [format(value, form) for form in forms]
    return next((text for text in texts if len(text) < width), texts[-1]).rjust(width)


def headed(print_row: Callable[..., None], *heading: str) -> Callable[..., None]:
    """`print_row` with a heading before the first row, so that a run that is refused prints no heading."""
    waiting = list(heading)

    def report(*values: Any) -> None:
        while waiting:
            click.echo(waiting.pop(0))
        print_row(*values)

    return report


def model_in_words(model: str, dtype: str, engine: str) -> str:
    """The model that runs, its precision and its engine."""
    return f"model {model} in {dtype}, {engine} engine"


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


def check_predictor(chosen: Mapping[str, Any]) -> None:
    """Refuses a calculator together with the options of a model, and arguments without a calculator."""
    given = {"model", "device", "dtype", "engine"}.intersection(options_given())
    if chosen["calculator"] and given:
        raise click.UsageError(f"--{min(given)} and --calculator exclude each other; give one")
    if chosen["calculator_args"] and not chosen["calculator"]:
        raise click.UsageError("--calculator-args needs --calculator")


def check_new_file(path: Path, overwrite: bool) -> None:
    """Refuses, before anything is computed, a file that cannot or should not be written.

    Raises:
        OutputError: it exists and is not to be overwritten, or cannot be written there.
    """
    from ru_calc.files import check_writable

    check_writable(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name, or use --overwrite")


def say(line: str) -> None:
    """Prints a line above a progress bar, at once: in a pipe or a file it would otherwise wait in a buffer."""
    import sys

    from tqdm import tqdm

    tqdm.write(line)
    sys.stdout.flush()


def use_threads(threads: int) -> None:
    """Sets the CPU threads of torch for this process, even if torch is imported later."""
    import os
    import sys

    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def end_at_sigterm() -> None:
    """Makes SIGTERM end the command like Ctrl-C: finished work is kept, and a message says how to continue."""
    import signal
    import threading

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def make_calculator(model: str, device: str, dtype: str, threads: int = 1, engine: str = "auto") -> RuCalculator:
    """`RuCalculator` with its model loaded, so that errors appear before anything starts.

    Raises:
        ModelError: there is no such model or device, or the model is damaged.
    """
    from ase.calculators.calculator import CalculatorSetupError

    from ru_calc.calculator import RuCalculator

    use_threads(threads)
    try:
        calculator = RuCalculator(model=model, device=device, dtype=dtype, threads=threads, engine=engine)
        _ = calculator.cutoff_A
    except CalculatorSetupError as problem:
        raise ModelError(str(problem)) from problem
    return calculator
