"""Lets Ctrl-C and SIGTERM end a run between two steps instead of within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Whether a stop was requested; a second request is obeyed at once."""

    asked = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def listen() -> Iterator[Interruption]:
    """Catches both signals while it is open; does nothing outside the main thread, which cannot catch any."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, interruption.ask)
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
