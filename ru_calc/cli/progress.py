"""One progress bar for all commands, on standard error, and only where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


class Bar:
    """The bar: what is running, and how much of it is done."""

    def __init__(self, progress: Progress, what: str, total: int | None) -> None:
        self._progress, self._task = progress, progress.add_task(what, total=total)

    def reset(self, total: int) -> None:
        """Starts again at none of `total`."""
        self._progress.reset(self._task, total=total)

    def update(self, n: int = 1) -> None:
        """So many more are done."""
        self._progress.advance(self._task, n)

    def tell(self, what: str) -> None:
        """Shows what is running now, at once."""
        self._progress.update(self._task, description=what, refresh=True)


@contextmanager
def progress_bar(
    what: str, total: int | None = None, by_itself: bool = True, console: Console | None = None
) -> Iterator[Bar]:
    """A bar that vanishes at the end.

    Args:
        by_itself: draw from a thread, twice a second; its CPU time counts as the command's.
        console: standard error by default.
    """
    from rich.console import Console as RichConsole
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = console or RichConsole(stderr=True)
    counts = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()) if by_itself else ()
    progress = Progress(
        TextColumn("{task.description}", markup=False), *counts, console=console, transient=True, refresh_per_second=2,
        auto_refresh=by_itself, redirect_stdout=sys.stdout.isatty(), disable=not console.is_terminal,
    )  # fmt: skip
    # rich before 14.1 prints an empty line even where the bar is not shown.
    with progress if console.is_terminal else nullcontext():
        yield Bar(progress, what, total)


def say(line: str) -> None:
    """Prints a line, above the bar if there is one, at once: a pipe or a file would show nothing for many epochs."""
    print(line, flush=True)
