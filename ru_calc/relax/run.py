"""Relaxation of atoms and, optionally, of the cell with ASE's optimisers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, CalculatorError
from ase.filters import FrechetCellFilter

from ru_calc.errors import DataError, OutputError, SettingsError, UnphysicalError
from ru_calc.files import owned_file, why
from ru_calc.md.interrupt import Interruption, listen
from ru_calc.relax.settings import OPTIMIZERS, RelaxOutput, RelaxResult, RelaxSettings, RelaxState
from ru_calc.relax.trajectory import Recorded, RelaxTrajectory, read_relaxation
from ru_calc.structures import Structures, has_volume
from ru_calc.structures.neighbors import closest_of, find_pairs
from ru_calc.units import EV_PER_A3_IN_GPA

Report = Callable[[RelaxState], None]
OVERLAP_A = 1.0
# A restart refuses a calculator whose energy differs by more than this from the trajectory's.
SAME_ENERGY_EV_PER_ATOM = 1e-5


def relax_structure(
    atoms: Atoms,
    calculator: BaseCalculator,
    settings: RelaxSettings | None = None,
    report: Report | None = None,
    output: RelaxOutput | None = None,
) -> RelaxResult:
    """Moves `atoms` in place to the nearest minimum of the energy (with a pressure, of the enthalpy).

    Args:
        atoms: their constraints are obeyed.
        calculator: any ASE calculator with energy and forces, and stress if the cell relaxes.
        settings: limits and optimiser.
        report: called with each state.
        output: writes each geometry, and lets Ctrl-C and SIGTERM end it between two steps; None does neither.

    Raises:
        DataError: there are no atoms.
        SettingsError: the cell is to relax, but is not periodic in three directions.
        UnphysicalError: energy or forces are not finite, or two atoms start or end less than 1 Å apart.
        OutputError: the trajectory cannot be written, or another run is writing it.
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
    if output is None or output.trajectory is None:
        return _relax(atoms, Recorded(calculator), settings, report, output, None)
    with owned_file(output.trajectory):
        trajectory = RelaxTrajectory(output.trajectory, atoms, settings, output.origin)
        return _relax(atoms, Recorded(calculator), settings, report, output, trajectory)


def resume_relaxation(
    trajectory: Path, calculator: BaseCalculator, steps: int | None = None, report: Report | None = None
) -> RelaxResult:
    """Continues the relaxation of a trajectory; the end is, to the last bit, that of one that was never interrupted.

    The optimiser is led through the stored geometries, forces and stresses, so that it knows what it knew then.  A
    calculator with a memory (a neighbour list with a skin) is reset every `RESET_EVERY` steps; the geometries since
    the last reset are computed again.

    Args:
        calculator: the same as in the first part.
        steps: largest number, counted from the first start; None keeps the original number.
        report: called with each new state.

    Raises:
        DataError: there is no such trajectory, or the calculator is not that of the relaxation.
        UnphysicalError, OutputError: see `relax_structure`.
    """
    with owned_file(trajectory):
        saved = read_relaxation(trajectory)
        settings = saved.settings if steps is None else replace(saved.settings, steps=steps)
        atoms = saved.start()
        _check_same(atoms, calculator, saved.frames[0].calc.results["energy"], trajectory)
        output = RelaxOutput(trajectory, saved.origin)
        kept = saved.frames[: saved.kept]
        file = RelaxTrajectory(trajectory, atoms, settings, saved.origin, kept)
        return _relax(atoms, Recorded(calculator, kept), settings, report, output, file)


def _check_same(atoms: Atoms, calculator: BaseCalculator, energy_eV: float, trajectory: Path) -> None:
    difference = abs(calculator.get_property("energy", atoms.copy()) - energy_eV) / len(atoms)
    if not difference <= SAME_ENERGY_EV_PER_ATOM:
        raise DataError(
            f"the calculator's energy differs by {difference:.2g} eV/atom from that in {trajectory}: use the model of "
            "that relaxation"
        )


def _relax(
    atoms: Atoms,
    recorded: Recorded,
    settings: RelaxSettings,
    report: Report | None,
    output: RelaxOutput | None,
    trajectory: RelaxTrajectory | None,
) -> RelaxResult:
    """Steps until the limits are met, all steps are done, or it is interrupted."""
    atoms.calc = recorded
    states: list[RelaxState] = []
    try:
        with ExitStack() as stack:
            if trajectory is not None:
                stack.callback(trajectory.close)
            asked = stack.enter_context(listen() if output is not None else nullcontext(Interruption()))
            optimizer = stack.enter_context(OPTIMIZERS[settings.optimizer](_movable(atoms, settings), logfile=None))
            # ASE's own criterion, which mixes forces with stress times volume, is switched off.
            for _ in optimizer.irun(fmax=0.0, steps=settings.steps):
                states.append(_state(atoms, optimizer.nsteps, settings))
                if trajectory is not None and not recorded.replaying:
                    trajectory.append(atoms, recorded.results)
                if report is not None and not recorded.replaying:
                    _tell(report, states[-1], asked)
                if _converged(states[-1], settings) or asked.asked:
                    break
    except CalculatorError as problem:
        raise UnphysicalError(f"step {len(states)}: the forces cannot be evaluated: {problem}") from problem
    except OSError as problem:
        raise OutputError(f"step {len(states)}: writing failed: {why(problem)}") from problem
    finally:
        atoms.calc = recorded.calculator
    converged = _converged(states[-1], settings)
    if not asked.asked:
        _refuse_overlap(atoms, states[-1].step)
    return RelaxResult(atoms, converged, states[0], states[-1], asked.asked and not converged)


def _tell(report: Report, state: RelaxState, interruption: Interruption) -> None:
    try:
        report(state)
    except BrokenPipeError:
        interruption.asked = True


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
