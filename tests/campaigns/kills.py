"""`kill -9` at random moments of every long command; it goes on, and its result is that of an unbroken run."""

from __future__ import annotations

import os
import random
import signal
import time

from campaign import Limits, main
from commands import COMMANDS, drop, new_folder, start, unbroken
from commands import finish as finished

NAMES = tuple(COMMANDS)
LIMITS = Limits(time_s=200.0)


def make(seed: int):
    name = NAMES[seed % len(NAMES)]
    return name, lambda: killed(name, random.Random(seed))


def killed(name: str, dice: random.Random) -> str:
    """Kills a command once, or up to three times as it goes on, and lets it finish."""
    from forked import ended

    _, took_s = unbroken(name)
    command, folder, kills = COMMANDS[name], new_folder(), 0
    words = command.words
    for _ in range(dice.choice((1, 1, 2, 3))):
        if not words:
            break
        process = start(words, folder / "log")
        time.sleep(dice.uniform(0, took_s))
        os.kill(process, signal.SIGKILL)
        if ended(process) != -signal.SIGKILL:
            break  # it was faster
        kills += 1
        words = command.on(command.words)
    finished(name, folder)
    drop(folder)
    return f"equal after {kills}"


if __name__ == "__main__":
    main(make, __doc__, LIMITS, count=600)
