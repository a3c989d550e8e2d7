"""The process in which frames are labelled, run as `python -m ru_calc.label.serve FOLDER`.

It takes pickled tasks from standard input, returns outcomes on standard output, and dies with the process that
started it.
"""

from __future__ import annotations

import os
import pickle
import select
import shutil
import signal
import sys
import threading
from contextlib import suppress

from ru_calc.label.attempt import Labeller


def _die_with_parent(folder: str) -> None:
    """Ends this process and its programs as soon as nobody holds the other end of standard input."""
    poll = select.poll()
    poll.register(0, 0)
    poll.poll()
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def serve(folder: str) -> None:
    """Serves tasks until standard input ends; calculators write their files to `folder`."""
    tasks, outcomes = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a calculator prints must not come among the outcomes
    threading.Thread(target=_die_with_parent, args=(folder,), daemon=True).start()

    labeller = Labeller(folder)
    with suppress(EOFError):
        while True:
            pickle.dump(labeller.attempt(pickle.load(tasks)), outcomes)
            outcomes.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
