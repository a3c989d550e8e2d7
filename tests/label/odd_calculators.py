"""Calculators that go wrong, each in its own way; workers import them by path."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
from ase.calculators.calculator import all_changes
from ase.calculators.lj import LennardJones


class Odd(LennardJones):
    """Lennard-Jones that does what `fault` says, in frames of at least `from_atoms`.

    With `once`, a file, it does so only as long as the file does not exist, and makes it.
    """

    def __init__(self, fault: str = "", from_atoms: int = 1, once: str = "", sleep_s: float = 0.0) -> None:
        super().__init__(sigma=2.35, epsilon=0.7, rc=6.0, smooth=True)
        self.fault, self.from_atoms, self.once, self.sleep_s = fault, from_atoms, once, sleep_s

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        time.sleep(self.sleep_s)
        if len(self.atoms) >= self.from_atoms and not (self.once and Path(self.once).exists()):
            if self.once:
                Path(self.once).touch()
            self.go_wrong()

    def go_wrong(self) -> None:
        if self.fault == "raise":
            raise RuntimeError("the SCF\ndid not converge")
        if self.fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "nan":
            self.results["forces"] = self.results["forces"] * np.nan
        if self.fault == "unconverged":
            self.converged = False
        while self.fault == "hang":
            pass
