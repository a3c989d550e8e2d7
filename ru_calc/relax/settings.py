"""Settings of a relaxation, its states and its end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ase import Atoms
from ase.optimize import BFGS, FIRE, LBFGS

from ru_calc.errors import SettingsError, require

OPTIMIZERS = {"lbfgs": LBFGS, "bfgs": BFGS, "fire": FIRE}
CELLS = ("none", "hydrostatic", "full")


@dataclass(frozen=True)
class RelaxSettings:
    """What to relax, and how far.

    Attributes:
        cell: `none` keeps it, `hydrostatic` scales it, `full` also changes its shape.
        pressure_GPa: external pressure on a relaxing cell (0 if None).
        fmax_eV_per_A: limit on the longest force.
        smax_GPa: limit on the largest component of stress + pressure (on its mean, if hydrostatic) of a relaxing cell.
        steps: largest number of steps.
        optimizer: `lbfgs`, `bfgs` or `fire`.

    Raises:
        SettingsError: a value is out of range, or a pressure is given for a fixed cell.
    """

    cell: str = "none"
    pressure_GPa: float | None = None
    fmax_eV_per_A: float = 0.01
    smax_GPa: float = 0.05
    steps: int = 500
    optimizer: str = "lbfgs"

    def __post_init__(self) -> None:
        for name, known in (("cell", CELLS), ("optimizer", tuple(OPTIMIZERS))):
            require(getattr(self, name) in known, name, repr(getattr(self, name)), f"one of {', '.join(known)}")
        for name in ("fmax_eV_per_A", "smax_GPa"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, name, value, "positive and finite")
        require(self.steps >= 0, "steps", self.steps, "0 or more")
        if self.pressure_GPa is not None:
            require(math.isfinite(self.pressure_GPa), "pressure_GPa", self.pressure_GPa, "finite")
            if self.cell == "none":
                raise SettingsError(f"pressure_GPa is {self.pressure_GPa}, but cell is 'none': let the cell relax")


@dataclass(frozen=True)
class RelaxState:
    """A geometry along the way.

    Attributes:
        step: of the optimiser.
        energy_eV: of all atoms.
        largest_force_eV_per_A: length of the longest force.
        stress_off_GPa: largest component of stress + pressure that the cell can still relax; NaN for a fixed cell.
        enthalpy_eV: energy + pressure × volume of all atoms, which is minimised; the energy without a pressure.
    """

    step: int
    energy_eV: float
    largest_force_eV_per_A: float
    stress_off_GPa: float
    enthalpy_eV: float


@dataclass(frozen=True)
class RelaxResult:
    """The end of a relaxation.

    Attributes:
        atoms: the last geometry, with calculator.
        converged: whether both limits are met.
        first, last: states before and after.
        interrupted: stopped by Ctrl-C or SIGTERM, or as nobody reads its reports any more.
    """

    atoms: Atoms
    converged: bool
    first: RelaxState
    last: RelaxState
    interrupted: bool = False


@dataclass(frozen=True)
class RelaxOutput:
    """What a relaxation writes, so that it can be restarted.

    Attributes:
        trajectory: ASE trajectory of all geometries; None writes none, and the relaxation cannot be restarted.
        origin: strings that the caller needs at a restart, such as the model's name.
    """

    trajectory: Path | None
    origin: Mapping[str, str] = field(default_factory=dict)
