"""Relaxation of atoms and, optionally, of the cell with ASE's optimisers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, CalculatorError
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS

from ru_calc.errors import DataError, SettingsError, UnphysicalError, require
from ru_calc.structures import Structures, has_volume
from ru_calc.structures.neighbors import closest_of, find_pairs
from ru_calc.units import EV_PER_A3_IN_GPA

OPTIMIZERS = {"lbfgs": LBFGS, "bfgs": BFGS, "fire": FIRE}
CELLS = ("none", "hydrostatic", "full")
OVERLAP_A = 1.0


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
    """

    atoms: Atoms
    converged: bool
    first: RelaxState
    last: RelaxState


def relax_structure(
    atoms: Atoms,
    calculator: BaseCalculator,
    settings: RelaxSettings | None = None,
    report: Callable[[RelaxState], None] | None = None,
) -> RelaxResult:
    """Moves `atoms` in place to the nearest minimum of the energy (with a pressure, of the enthalpy).

    Args:
        atoms: their constraints are obeyed.
        calculator: any ASE calculator with energy and forces, and stress if the cell relaxes.
        settings: limits and optimiser.
        report: called with each state.

    Raises:
        DataError: there are no atoms.
        SettingsError: the cell is to relax, but is not periodic in three directions.
        UnphysicalError: energy or forces are not finite, or two atoms start or end less than 1 Å apart.
    """
    settings = settings or RelaxSettings()
    if len(atoms) == 0:
        raise DataError("there are no atoms to relax")
    if settings.cell != "none" and not has_volume(atoms):
        raise SettingsError(
            f"cell is {settings.cell!r}, but pbc is {atoms.pbc.tolist()}: only a cell that is periodic in three "
            "directions can relax"
        )
    _refuse_overlap(atoms, 0)
    atoms.calc = calculator
    states: list[RelaxState] = []
    try:
        with OPTIMIZERS[settings.optimizer](_movable(atoms, settings), logfile=None) as optimizer:
            # ASE's own criterion, which mixes forces with stress times volume, is switched off.
            for _ in optimizer.irun(fmax=0.0, steps=settings.steps):
                states.append(_state(atoms, optimizer.nsteps, settings))
                if report is not None:
                    report(states[-1])
                if _converged(states[-1], settings):
                    break
    except CalculatorError as problem:
        raise UnphysicalError(f"step {len(states)}: the forces cannot be evaluated: {problem}") from problem
    _refuse_overlap(atoms, states[-1].step)
    return RelaxResult(atoms, _converged(states[-1], settings), states[0], states[-1])


def _movable(atoms: Atoms, settings: RelaxSettings) -> Atoms | FrechetCellFilter:
    if settings.cell == "none":
        return atoms
    pressure = (settings.pressure_GPa or 0.0) / EV_PER_A3_IN_GPA
    return FrechetCellFilter(atoms, hydrostatic_strain=settings.cell == "hydrostatic", scalar_pressure=pressure)


def _state(atoms: Atoms, step: int, settings: RelaxSettings) -> RelaxState:
    energy, forces, off = atoms.get_potential_energy(), atoms.get_forces(), float("nan")
    if not (np.isfinite(energy) and np.isfinite(forces).all()):
        raise UnphysicalError(f"step {step}: energy or forces are not finite; start from another structure")
    if settings.cell != "none":
        stress = atoms.get_stress() * EV_PER_A3_IN_GPA + (settings.pressure_GPa or 0.0) * np.array([1, 1, 1, 0, 0, 0])
        off = float(abs(stress[:3].mean()) if settings.cell == "hydrostatic" else np.abs(stress).max())
    work = settings.pressure_GPa / EV_PER_A3_IN_GPA * atoms.get_volume() if settings.pressure_GPa else 0.0
    return RelaxState(step, float(energy), float(np.linalg.norm(forces, axis=1).max()), off, float(energy + work))


def _converged(state: RelaxState, settings: RelaxSettings) -> bool:
    at_rest = state.largest_force_eV_per_A <= settings.fmax_eV_per_A
    return at_rest and (settings.cell == "none" or state.stress_off_GPa <= settings.smax_GPa)


def _refuse_overlap(atoms: Atoms, step: int) -> None:
    structures = Structures.from_atoms(atoms, check=False)
    pair = closest_of(structures, find_pairs(structures, OVERLAP_A))
    if pair:
        raise UnphysicalError(
            f"step {step}: {pair} (limit {OVERLAP_A} Å), where no potential can be trusted; start from "
            "another structure"
        )
