"""Starts LAMMPS with the plugin on some MPI processes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ru_calc.errors import RuCalcError
from ru_calc.lammps.build import built_plugin
from ru_calc.lammps.installed import environment, find_lammps


class LammpsError(RuCalcError):
    """A run of LAMMPS that ended early; the message is LAMMPS's own."""


def command_line(
    script: Path, ranks: int, variables: Mapping[str, str], *more: str
) -> tuple[list[str], dict[str, str]]:
    """The command that runs a script, and its environment; compiles the plugin where it is missing.

    Args:
        variables: of the script, by `-var`.
        more: words for LAMMPS.

    Raises:
        SettingsError: see `built_plugin`.
    """
    lammps, plugin = find_lammps(), built_plugin()
    given = [word for name, value in variables.items() for word in ("-var", name, value)]
    words = [str(lammps.mpiexec), "-n", str(ranks), str(lammps.program), "-nocite", *given, *more, "-in", str(script)]
    return words, environment(lammps.mpi, plugin.parent)


def run_quietly(script: Path, ranks: int, variables: Mapping[str, str] | None = None) -> str:
    """Runs a script in its folder to its end, and gives what it printed.

    Raises:
        LammpsError: it failed.
        SettingsError: see `built_plugin`.
    """
    words, variables_of_system = command_line(script.absolute(), ranks, variables or {}, "-log", "none")
    done = subprocess.run(
        words, cwd=script.parent, env=variables_of_system, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise LammpsError(f"LAMMPS failed on {ranks} processes: {complaint(done.stdout + done.stderr)}")
    return done.stdout


def complaint(text: str) -> str:
    """The first error in what LAMMPS printed, on one line, without the place in LAMMPS's source."""
    found = [re.sub(r" \(\S+:\d+\)$", "", line) for line in text.splitlines() if line.startswith("ERROR")]
    return " ".join((found or text.split("\n")[-5:])[0].split()) if text.strip() else "it said nothing"


def quoted(words: Sequence[str | Path]) -> str:
    """Words of LAMMPS's input, in quotes where they need them."""
    return " ".join(f'"{word}"' if re.search(r"[\s#$&\"']", str(word)) else str(word) for word in words)
