"""Runs an input script on some processes, in its folder, and goes on after a kill."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ru_calc.errors import DataError, OutputError, SettingsError, require
from ru_calc.files import owned
from ru_calc.lammps.launch import LammpsError, command_line

MAGIC = b"LammpS RestartT"  # at the beginning of a restart file, and at the end of a whole one
VARIABLE, BEGIN = "begin", "${begin}"
SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


def run_script(script: Path, ranks: int = 1, variables: Mapping[str, str] | None = None, restart: bool = False) -> None:
    """Runs a script to its end; LAMMPS prints what it prints.

    Args:
        ranks: MPI processes.
        variables: of the script, as by LAMMPS's `-var`.
        restart: go on from the newest whole restart file of the folder, or from the start if there is none; the script
            begins by the command in its variable `begin`, which is then `read_restart FILE`.

    Raises:
        LammpsError: LAMMPS failed.
        DataError: there is no such script.
        SettingsError: the script does not know `begin`, or see `built_plugin`.
        OutputError: another run works in the folder, or an earlier one would be overwritten.
    """
    require(ranks >= 1, "ranks", ranks, "1 or more")
    if not script.is_file():
        raise DataError(f"there is no input script {script}; `ru-calc lammps input` writes one")
    can_restart = BEGIN in script.read_text(errors="replace")
    if restart and not can_restart:
        raise SettingsError(
            f"{script} cannot be restarted, as it does not begin by {BEGIN}; write, as `ru-calc lammps input` does, "
            f'variable {VARIABLE} index "read_data FILE", and in place of read_data: {BEGIN}'
        )
    given = dict(variables or {})
    with owned(script.absolute().parent) as folder:
        newest = newest_restart(folder)
        if restart and newest is not None:
            given[VARIABLE] = f"read_restart {newest.name}"
        elif not restart and newest is not None and can_restart and VARIABLE not in given:
            raise OutputError(f"the run in {folder} has begun: go on by --restart, or remove its {newest.name}")
        words, environment = command_line(Path(script.name), ranks, given)
        status = _wait(subprocess.Popen(words, cwd=folder, env=environment, preexec_fn=_die_with_parent))
    if status:
        raise LammpsError(f"LAMMPS ended with status {status}; what it said is above, and in the log of {folder}")


def newest_restart(folder: Path) -> Path | None:
    """The last restart file that was written to its end."""
    files = [path for path in folder.glob("*.restart") if is_whole(path)]
    return max(files, key=lambda path: path.stat().st_mtime_ns, default=None)


def is_whole(path: Path) -> bool:
    """Whether a restart file ends as it begins: a kill while it was written leaves one that does not."""
    data = path.read_bytes()
    return data.startswith(MAGIC) and data.rstrip(b"\0").endswith(MAGIC)


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Until a process has ended; what interrupts this one is passed on, and LAMMPS ends first."""
    try:
        return process.wait()
    except BaseException:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise


def _die_with_parent() -> None:
    """In the new process: it ends, and its ranks with it, when this one is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGTERM)
