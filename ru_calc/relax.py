"""Relaxation of atoms and, if asked, of the cell, with ASE's optimisers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, CalculatorError
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS

from ru_calc.errors import DataError, SettingsError, UnphysicalError
from ru_calc.structures import Structures, has_volume
from ru_calc.structures.neighbors import closest_of, find_pairs
from ru_calc.units import EV_PER_A3_IN_GPA

OPTIMIZERS = {"lbfgs": LBFGS, "bfgs": BFGS, "fire": FIRE}
CELLS = ("none", "hydrostatic", "full")
OVERLAP_A = 1.0


@dataclass(frozen=True)
class RelaxSettings:
    """What is relaxed and when it is done.

    Attributes:
        cell: `none` keeps it, `hydrostatic` scales it, `full` also changes its shape.
        pressure_GPa: external pressure, only with a moving cell (0 if None).
        fmax_eV_per_A: done when no force is longer than this, and
        smax_GPa: with a moving cell, no component of stress + pressure (its mean, if hydrostatic) is larger than this.
        steps: at most.
        optimizer: `lbfgs`, `bfgs` or `fire`.
    """

    cell: str = "none"
    pressure_GPa: float | None = None
    fmax_eV_per_A: float = 0.01
    smax_GPa: float = 0.05
    steps: int = 500
    optimizer: str = "lbfgs"

    def __post_init__(self) -> None:
        for name, known in (("cell", CELLS), ("optimizer", tuple(OPTIMIZERS))):
            if getattr(self, name) not in known:
                raise SettingsError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}")
        for name in ("fmax_eV_per_A", "smax_GPa"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise SettingsError(f"{name} is {value}; it must be positive and finite")
        if self.steps < 0:
            raise SettingsError(f"steps is {self.steps}; it must be 0 or more")
        if self.pressure_GPa is not None and (self.cell == "none" or not math.isfinite(self.pressure_GPa)):
            raise SettingsError(f"pressure_GPa is {self.pressure_GPa}; it must be finite, and the cell must move")


@dataclass(frozen=True)
class RelaxState:
    """One geometry on the way.

    Attributes:
        step: of the optimiser.
        energy_eV: of all atoms.
        largest_force_eV_per_A: length of the longest.
        stress_off_GPa: largest component of stress + pressure that the cell can still relax; NaN if it does not move.
        enthalpy_eV: energy + pressure × volume, of all atoms; what falls. The energy where there is no pressure.
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
        converged: both limits are met.
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
    """Moves `atoms` in place to the nearest minimum of the energy (or enthalpy, with a pressure).

    Args:
        atoms: fixed atoms and other constraints are obeyed.
        calculator: any ASE calculator with energy and forces, and stress if the cell moves.
        settings: limits and optimiser.
        report: called with each state.

    Raises:
        DataError: there are no atoms.
        SettingsError: a moving cell is asked of atoms that do not fill space.
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
            # ASE's own criterion is switched off: it would mix forces with stress times volume.
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
            f"step {step}: {pair} (limit {OVERLAP_A} Å), where no potential is to be trusted; start from another "
            "structure"
        )
