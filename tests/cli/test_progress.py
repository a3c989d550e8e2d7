"""The progress bar: on a terminal it says what is running and how far it is, elsewhere nothing."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from ru_calc.cli.progress import progress_bar, say


def console(terminal: bool) -> Console:
    return Console(file=StringIO(), force_terminal=terminal, width=100, color_system=None)


@pytest.mark.parametrize("by_itself", [True, False])
def test_a_terminal_shows_what_is_running_and_how_much_is_done(by_itself: bool) -> None:
    shown = console(terminal=True)
    with progress_bar("fit", by_itself=by_itself, console=shown) as bar:
        bar.reset(total=40)
        bar.update(7)
        bar.tell("epoch 1 [x]")
        text = shown.file.getvalue()
    assert "epoch 1 [x]" in text and ("7/40" in text) == by_itself


def test_elsewhere_nothing_is_shown_and_lines_are_printed(capsys) -> None:
    hidden = console(terminal=False)
    with progress_bar("fit", console=hidden) as bar:
        bar.reset(total=40)
        bar.update()
        bar.tell("epoch 1")
        say("a line")
    assert hidden.file.getvalue() == "" and capsys.readouterr().out == "a line\n"
