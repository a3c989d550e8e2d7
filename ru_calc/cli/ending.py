"""How a command ends before its time: by an error, Ctrl-C, SIGTERM, a closed pipe, a full disk or lack of memory.

Each ends any command with one line on standard error that says how to go on.  The exit status is 1 after an error, 130
after an interruption, and 141 after a closed pipe, which ends it without a line.  What was done so far stays whole.
"""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from ru_calc.errors import RuCalcError
from ru_calc.files import FULL, why

if TYPE_CHECKING:
    from ru_calc.fit.runs import RunKind

INTERRUPTED, CLOSED_PIPE = 130, 141
AGAIN = "give the same command again"
KEY = "ru_calc.way_on"
NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "bad_alloc", "out of memory", "failed to map segment")


@dataclass(frozen=True)
class WayOn:
    """What a command that ends early says: `where` it was, and `how` to go on."""

    how: Callable[[], str] = lambda: AGAIN
    where: Callable[[], str] = str


def can_go_on(how: Callable[[], str], where: Callable[[], str] = str) -> None:
    """From here on, the command that runs says this if it ends early."""
    click.get_current_context().meta[KEY] = WayOn(how, where)


def can_resume(run: RunKind, folder: Path, words: Sequence[str], where: Callable[[], str] = str) -> None:
    """From here on, the command that runs says how to resume the run in `folder` if it ends early.

    Args:
        words: of the command that resumes it.
        where: tells how far the run was.
    """

    def how() -> str:
        return f"resume with: {shlex.join(words)}" if run.begun(folder) else AGAIN

    can_go_on(how, lambda: where() if run.begun(folder) else f" before the {run.name} began")


def replace_what_cannot_be_printed() -> None:
    """Prints a question mark for a character that the encoding of the output lacks, as Å in a POSIX locale."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def one_line_at_the_end(context: click.Context) -> Iterator[None]:
    """Turns whatever ends the commands of this context early into one line and an exit status."""
    try:
        with _sigterm_like_ctrl_c():
            yield
            sys.stdout.flush()
    except RuCalcError as problem:
        full = isinstance(problem.__cause__, OSError) and problem.__cause__.errno in FULL
        _fail(f"{problem}; then {_way_on(context).how()}" if full else str(problem), problem)
    except KeyboardInterrupt:
        way_on = _way_on(context)
        click.echo(f"interrupted{way_on.where()}; {way_on.how()}", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        _silence()
        raise click.exceptions.Exit(CLOSED_PIPE) from None
    except (MemoryError, OSError, RuntimeError, ImportError) as problem:
        _of_the_system(problem, context)


def _of_the_system(problem: Exception, context: click.Context) -> NoReturn:
    how = _way_on(context).how()
    if isinstance(problem, MemoryError) or any(words in str(problem).lower() for words in NO_MEMORY):
        said = f" ({problem})" if str(problem) else ""
        _fail(f"memory ran out{said}; take fewer atoms or frames, or make room in memory and {how}", problem)
    if isinstance(problem, OSError):
        file = f"{problem.filename}: " if problem.filename else "a file could not be read or written: "
        _fail(f"{file}{why(problem)}; then {how}", problem)
    raise problem


def _fail(line: str, problem: Exception) -> NoReturn:
    raise click.ClickException(" ".join(line.split())) from problem


def _way_on(context: click.Context) -> WayOn:
    return context.meta.get(KEY, WayOn())


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # which cannot catch any
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _silence() -> None:
    """Lets Python flush its streams at the end without a word."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
