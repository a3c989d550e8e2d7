"""What several commands share: options, and how models and outputs are handled."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ru_calc.devices import DEVICE, DTYPES, ENGINES
from ru_calc.errors import ModelError, OutputError
from ru_calc.files import check_writable, owned_file

if TYPE_CHECKING:
    from ru_calc.calculator import RuCalculator

Made = TypeVar("Made")
Decorator = Callable[[Any], Any]


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


def refuse_changes(allowed: Collection[str]) -> None:
    """Refuses, in a restart, all options on the command line but those that are allowed."""
    given = [name for name in options_given() if name not in allowed]
    if given:
        what = "STRUCTURE" if given[0] == "structure" else flag(given[0])
        raise click.UsageError(f"{what} cannot change in a restart: leave it out, or start a new run")


def settings_among(options: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The options that are fields of a dataclass."""
    return {field.name: options[field.name] for field in fields(kind) if field.name in options}


def model_to_remember(model: str) -> dict[str, str]:
    """What a run keeps of its model beside the name, for `model_of_run`."""
    from ru_calc.modelfiles.read import read_model_file

    return {"model_sha256": read_model_file(model).sha256, "started_in": str(Path.cwd())}


def model_of_run(origin: Mapping[str, str], run: Path, given: str) -> str:
    """The model of a run to continue: where it was, where the run was started, or beside it; known by its hash.

    Args:
        origin: what the run has kept: the name, and what `model_to_remember` gives, which older runs lack.
        run: its folder or file.
        given: value of --model, which counts if it stands on the command line.

    Raises:
        ModelError: it is not there, or another model is.
    """
    from ru_calc.modelfiles.read import find_model

    known, run = origin.get("model_sha256"), run.absolute()
    if "model" in options_given():
        return find_model(given, known, [])
    started = [Path(origin["started_in"])] if "started_in" in origin else []
    return find_model(origin["model"], known, [*started, run.parent, run])


def model_in_words(model: str, dtype: str, engine: str) -> str:
    """The model that runs, its precision and its engine."""
    return f"model {model} in {dtype}, {engine} engine"


def check_predictor(chosen: Mapping[str, Any]) -> None:
    """Refuses a calculator together with the options of a model, and arguments without a calculator."""
    given = {"model", "device", "dtype", "engine"}.intersection(options_given())
    if chosen["calculator"] and given:
        raise click.UsageError(f"--{min(given)} and --calculator exclude each other; give one")
    if chosen["calculator_args"] and not chosen["calculator"]:
        raise click.UsageError("--calculator-args needs --calculator")


def new_file(path: Path, overwrite: bool) -> None:
    """Keeps a file for the command that runs, to its end.

    Raises:
        OutputError: it exists and is not to be overwritten, cannot be written, or another command is writing it.
    """
    if path.exists() and not path.is_dir() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name, or use --overwrite")
    output_file(path)


def output_file(path: Path) -> None:
    """Keeps a file, which may exist, for the command that runs, to its end.

    Raises:
        OutputError: it cannot be written, or another command is writing it.
    """
    check_writable(path)
    keep(owned_file(path))


def keep(resource: AbstractContextManager[Made]) -> Made:
    """Enters a context that lasts until the command ends."""
    return click.get_current_context().with_resource(resource)


def use_threads(threads: int) -> None:
    """Sets the CPU threads of torch for this process, even if torch is imported later."""
    import os
    import sys

    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


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
