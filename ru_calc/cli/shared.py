"""What several commands share: how a structure and a model are named, read and refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.devices import DEVICE, DTYPES, ENGINES
from ru_calc.errors import DataError, ModelError, SettingsError

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
    """Callback of an option that takes NAME=VALUE and may be repeated; a value that is not JSON is a list or a word."""
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
    """Callback of an option that names a device; whether it is there is seen when it is used."""
    if text is not None and not DEVICE.fullmatch(text):
        raise click.BadParameter(f"{text!r} is not one of auto, cpu, cuda, cuda:N")
    return text


# One thread by default: where the machine is busy, threads that wait for each other cost far more than they bring.
THREADS = click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True,
    help="CPU threads; more than one pays for large systems on an idle machine.",
)  # fmt: skip
PREDICTOR_OPTIONS = (
    click.option("--model", help="Name or file of a model. [default: default]"),
    click.option(
        "--calculator", metavar="MODULE:CLASS", help="Any ASE calculator instead, as ase.calculators.eam:EAM."
    ),
    click.option(
        "--calculator-args", callback=json_object, default="{}", metavar="JSON",
        help='Its arguments, as {"potential": "Ru.eam.fs", "form": "fs"}.',
    ),
    click.option("--device", callback=device_name, help="auto, cpu, cuda or cuda:N; of a model. [default: auto]"),
    click.option("--dtype", type=click.Choice(DTYPES), help="Of a model. [default: float64]"),
    click.option("--engine", type=click.Choice(ENGINES), help="What evaluates a model. [default: auto]"),
    THREADS,
)  # fmt: skip
BUILD_OPTIONS = (
    click.option("--repeat", nargs=3, type=int, metavar="NX NY NZ", help="Cells along each lattice vector."),
    click.option("--n-atoms", type=int, help="About how many atoms (named structures)."),
    click.option("--a-A", "a_A", type=float, help="Lattice constant a in Å (named structures)."),
    click.option("--c-A", "c_A", type=float, help="Lattice constant c in Å (named structures)."),
    click.option("--layers", type=int, help="Atomic layers of a slab."),
    click.option("--vacuum-A", "vacuum_A", type=float, help="Empty space between a slab and its image in Å."),
    click.option("--diameter-A", "diameter_A", type=float, help="Diameter of a sphere in Å."),
    click.option("--distance-A", "distance_A", type=float, help="Distance of a dimer in Å."),
    click.option("--vacancy-fraction", type=float, help="Share of atoms taken out at random (named structures)."),
)
MODEL_OPTIONS = (
    click.option("--model", default="default", show_default=True, help="Name or file of a model."),
    click.option(
        "--device", callback=device_name, default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."
    ),
    click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True),
    click.option(
        "--engine",
        type=click.Choice(ENGINES),
        default="auto",
        show_default=True,
        help="The compiled engine, or the reference in torch; auto is compiled on the CPU where it can.",
    ),
    THREADS,
)
BUILD_NAMES = (
    "repeat", "n_atoms", "a_A", "c_A", "layers", "vacuum_A", "diameter_A", "distance_A", "vacancy_fraction",
)  # fmt: skip


class StructureCommand(click.Command):
    """A command whose help ends with the structures that have a name, and the options that each takes."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Read from `ru_calc.structures.build` when help is asked for."""
        from ru_calc.structures.build import options_of, structure_names

        takes = {name: [_option(one) for one in BUILD_NAMES if one in options_of(name)] for name in structure_names()}
        with formatter.section("Structures, and the options of each"):
            formatter.write_dl([(name, " ".join(options) or "none") for name, options in takes.items()])


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def with_options(options: tuple[Decorator, ...]) -> Decorator:
    """Adds several options to a command, in their order."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def read_structure(text: str, given: Mapping[str, Any], default_n_atoms: int | None = None) -> Atoms:
    """The atoms that `text` names: a structure of `structures.build`, or a file that ASE reads (`file@3` is frame 3).

    Args:
        given: values of `BUILD_NAMES` and `seed`; None where not given.
        default_n_atoms: size of a named crystal of which no size is given.

    Raises:
        DataError: there is no such file or name, it cannot be read, or its atoms are not ruthenium, not finite or in
            a cell without volume.
        SettingsError: an option does not belong to the structure.
    """
    from ru_calc.structures import check_atoms
    from ru_calc.structures.build import options_of, structure_names

    options = {name: given[name] for name in BUILD_NAMES if given.get(name) is not None}
    if text in structure_names():
        if options.get("vacancy_fraction") is not None:
            options["seed"] = given.get("seed") or 0
        sized = {"repeat", "n_atoms"} & options.keys()
        if default_n_atoms and not sized and "repeat" in options_of(text) and "layers" not in options_of(text):
            options["n_atoms"] = default_n_atoms
        return _built(text, options)
    repeat = options.pop("repeat", (1, 1, 1))
    if options:
        raise SettingsError(
            f"{_option(next(iter(options)))} applies to named structures only, and {text!r} is none: leave it out"
        )
    atoms = _file(text)
    check_atoms(atoms, f"{text}: ")
    if min(repeat) < 1:
        raise SettingsError(f"--repeat is {repeat}; it must be three numbers, each 1 or more")
    return atoms.repeat(repeat) if repeat != (1, 1, 1) else atoms


def _built(name: str, options: dict[str, Any]) -> Atoms:
    from ru_calc.structures.build import build_structure

    return build_structure(name, **options)


def _file(text: str) -> Atoms:
    import ase.io

    from ru_calc.structures.build import structure_names

    path = Path(text)
    if not path.is_file() and not Path(text.rpartition("@")[0]).is_file():
        names = ", ".join(structure_names())
        raise DataError(f"there is no file {text!r}, and no structure of that name; structures are {names}")
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


def number(value: float | None, digits: int, width: int) -> str:
    """A cell of a table with a space before it: scientific where it would be too long, "–" where there is none."""
    if value is None or value != value:
        return "–".rjust(width)
    forms = (f".{digits}f", *(f".{n}e" for n in range(max(digits, 2), -1, -1)))
    texts = [format(value, form) for form in forms]
    return next((text for text in texts if len(text) < width), texts[-1]).rjust(width)


def headed(print_row: Callable[..., None], *heading: str) -> Callable[..., None]:
    """`print_row` with lines before its first call, so that what is refused before it has no heading."""
    waiting = list(heading)

    def report(*values: Any) -> None:
        while waiting:
            click.echo(waiting.pop(0))
        print_row(*values)

    return report


def model_in_words(model: str, dtype: str, engine: str) -> str:
    """Which model runs, and on what."""
    return f"model {model} in {dtype}, {engine} engine"


def warn_of_vacuum(atoms: Atoms, cutoff_A: float) -> None:
    """Says on standard error that a periodic cell which is to move has a gap that no interaction spans."""
    from ru_calc.structures import widest_gaps_A

    if not (atoms.pbc.all() and atoms.cell.rank == 3):
        return
    gaps = widest_gaps_A(atoms)
    k = int(gaps.argmax())
    if gaps[k] > 2 * cutoff_A:
        click.echo(
            f"warning: the cell moves, and it has a gap of {gaps[k]:.1f} Å without atoms along lattice vector "
            f"{'abc'[k]}: nothing holds its length there, and stress and pressure count the empty space; keep the cell "
            "of a slab or cluster, with pbc False across the gap",
            err=True,
        )


def check_predictor(chosen: Mapping[str, Any]) -> None:
    """Refuses a model and a calculator at once, and options of the one that is not there."""
    if chosen["calculator"]:
        for option in ("model", "device", "dtype", "engine"):
            if chosen[option]:
                raise click.UsageError(f"--{option} and --calculator exclude each other; give one")
    elif chosen["calculator_args"]:
        raise click.UsageError("--calculator-args needs --calculator")


def say(line: str) -> None:
    """Prints a line above a progress bar, at once: a pipe or a file would show nothing for many epochs."""
    import sys

    from tqdm import tqdm

    tqdm.write(line)
    sys.stdout.flush()


def use_threads(threads: int) -> None:
    """Sets the CPU threads of torch for this process, also where torch is loaded only later."""
    import os
    import sys

    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def end_at_sigterm() -> None:
    """Ends the command at SIGTERM as at Ctrl-C: what is done is kept, and how to go on is said."""
    import signal
    import threading

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def make_calculator(model: str, device: str, dtype: str, threads: int = 1, engine: str = "auto") -> RuCalculator:
    """`RuCalculator` with its model loaded, so that what is wrong with it is said before anything starts.

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
