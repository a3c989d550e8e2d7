"""Every long command twice at once in one place: one of them is refused in one line, the other is not disturbed."""

from __future__ import annotations

import random
import time
from pathlib import Path

from campaign import Limits, main
from commands import COMMANDS, STATUS, drop, finish, new_folder, start, unbroken

NAMES = tuple(COMMANDS)
LIMITS = Limits(time_s=200.0)
REFUSALS = ("in use by another run", "already", "exists")


def make(seed: int):
    name = NAMES[seed % len(NAMES)]
    return name, lambda: twice(name, random.Random(seed))


def twice(name: str, dice: random.Random) -> str:
    """Starts a command, and again after a random time."""
    from forked import ended

    _, took_s = unbroken(name)
    folder, words = new_folder(), COMMANDS[name].words
    logs = [folder / "log1", folder / "log2"]
    processes = []
    for log in logs:
        processes.append(start(words, log))
        time.sleep(dice.choice((0.0, dice.uniform(0, 1.2 * took_s))))
    status = [ended(process) for process in processes]
    texts = [log.read_text() for log in logs]
    refused = [k for k, text in enumerate(texts) if refusal(text)]
    expected = STATUS.get(name, 0)
    assert all(status[k] == (1 if k in refused else expected) for k in (0, 1)), f"{status}: {texts}"
    assert len(refused) == 1 or (name == "convert" and not refused), f"{len(refused)} were refused: {texts}"
    end = "one after the other" if not refused else "in use" if "in use" in texts[refused[0]] else "done before"
    finish(name, folder) if name in ("convert", "fit", "sweep", "compare") else same(name)
    drop(folder)
    return end


def refusal(text: str) -> str:
    """The line that refuses a command, if there is one."""
    lines = [line for line in text.splitlines() if line.startswith("Error: ")]
    return lines[0] if len(lines) == 1 and any(words in lines[0] for words in REFUSALS) else ""


def same(name: str) -> None:
    """The result here is that of an unbroken run."""
    assert COMMANDS[name].result() == unbroken(name)[0] and not list(Path().rglob(".*.tmp"))


if __name__ == "__main__":
    main(make, __doc__, LIMITS, count=120)
