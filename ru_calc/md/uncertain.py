"""What a model knows of its own errors, watched during a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms

from ru_calc.errors import SettingsError
from ru_calc.md.settings import MDSettings

Warn = Callable[[str], Any]


class UncertaintyWatch:
    """The uncertainty of frames, beside a threshold; nothing where the calculator knows none, see `RuCalculator`.

    Args:
        warn: told once, of the first frame above the threshold.

    Raises:
        SettingsError: the run is to stop where it is uncertain, and the calculator has no uncertainty.
    """

    def __init__(self, calculator: Any, settings: MDSettings, warn: Warn) -> None:
        self._calculator, self._warn, self._warned = calculator, warn, False
        self.every_step = settings.stop_when_uncertain
        self.on = settings.log_uncertainty and getattr(calculator, "has_uncertainty", False)
        if self.every_step and not self.on:
            raise SettingsError(
                f"the run is to stop when it is uncertain, but {calculator} has no uncertainty; take a model that has "
                "one (`ru-calc fit` gives it to every new model), or leave the condition out"
            )
        limit = settings.uncertain_above_eV_per_A
        self.limit_eV_per_A = calculator.uncertainty_threshold_eV_per_A if self.on and limit is None else limit

    def of(self, atoms: Atoms) -> np.ndarray | None:
        """(n,) eV/Å, if the calculator has it."""
        return self._calculator.uncertainty(atoms) if self.on else None

    def exceeded(self, found: np.ndarray | None) -> str | None:
        """Which atom is above the threshold, if any."""
        if found is None or self.limit_eV_per_A is None or not found.max() > self.limit_eV_per_A:
            return None
        k = int(found.argmax())
        return f"the uncertainty of atom {k} is {found[k]:.3f} eV/Å, above {self.limit_eV_per_A:.3f} eV/Å"

    def tell(self, where: str, cause: str) -> None:
        """Warns, once."""
        if not self._warned:
            self._warn(
                f"{where}: {cause}: the model has not been trained on atoms like this; further ones are not reported "
                "(stop_when_uncertain ends a run there)"
            )
        self._warned = True
