"""Starting and resuming a run."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from ru_calc.errors import DataError, OutputError, SettingsError
from ru_calc.files import check_folder, owned
from ru_calc.md.checkpoint import Checkpoint, load_checkpoint
from ru_calc.md.settings import MDOutput, MDSettings
from ru_calc.md.simulation import FINAL, MDResult, Report, Simulation, earlier_files
from ru_calc.md.uncertain import UncertaintyWatch, Warn
from ru_calc.md.velocities import degrees_of_freedom, draw_momenta, remove_drift

# A restart refuses a calculator whose energy differs by more than this from the checkpoint's.
SAME_ENERGY_EV_PER_ATOM = 1e-5


def run_md(
    atoms: Atoms,
    calculator: BaseCalculator,
    settings: MDSettings | None = None,
    output: MDOutput | None = None,
    report: Report | None = None,
    warn: Warn = warnings.warn,
) -> MDResult:
    """Molecular dynamics of `atoms`, which are moved in place.

    Args:
        atoms: any that the calculator takes; existing momenta are kept (see `MDSettings.keep_momenta`), but for a
            drift of the centre of mass and the rotation of a cluster.
        calculator: any ASE calculator with energy and forces (and stress for `npt-*`).
        settings: ensemble, temperature, steps and limits.
        output: where to write; None writes nothing, and the run cannot be resumed.
        report: called with each row of the log and the atom-steps per second since the previous row.
        warn: called if a drift is removed, and once if the model is uncertain of a logged frame.

    Raises:
        UnphysicalError: a frame is unphysical; `atoms` and `last_good.extxyz` hold the last good one.
        UncertainError: the model is uncertain of a frame and the run is to stop there; `uncertain.extxyz` holds it.
        SettingsError: the ensemble cannot handle these atoms or this calculator.
        DataError: there are no atoms.
        OutputError: the folder holds an earlier run, another run works in it, or it cannot be written.
    """
    settings = settings or MDSettings()
    if len(atoms) == 0:
        raise DataError("there are no atoms to move")
    if output is None:
        return _run(atoms, calculator, settings, None, report, warn)
    with owned(output.folder):
        check_free(output)
        return _run(atoms, calculator, settings, output, report, warn)


def _run(
    atoms: Atoms,
    calculator: BaseCalculator,
    settings: MDSettings,
    output: MDOutput | None,
    report: Report | None,
    warn: Warn,
) -> MDResult:
    rng = np.random.default_rng(settings.seed)
    atoms.calc = calculator
    drift = remove_drift(atoms) if settings.keep_momenta else None
    if drift:
        warn(drift if atoms.get_momenta().any() else f"{drift}; nothing else moved, so new ones are drawn")
    if not settings.keep_momenta or not atoms.get_momenta().any():
        draw_momenta(atoms, settings.temperature_K, rng, settings.ensemble)
    watch = UncertaintyWatch(calculator, settings, warn)
    run = Simulation(atoms, settings, output, rng, degrees_of_freedom(atoms, settings.ensemble), watch)
    with run.writing():
        run.begin(report)
        return run.go(report)


def resume_md(
    folder: Path,
    calculator: BaseCalculator,
    steps: int | None = None,
    report: Report | None = None,
    warn: Warn = warnings.warn,
) -> MDResult:
    """Continues the run in `folder` from its last checkpoint, as if it had never stopped.

    Log and trajectory are cut back to the checkpoint.  The result is bitwise that of an uninterrupted run if the
    calculator gives the same bits for the same atoms.  One with a memory (a neighbour list with a skin) does so if the
    checkpoint falls on a multiple of `checkpoint_every`, where an uninterrupted run resets it too.

    Args:
        folder: of the run.
        calculator: the same as in the first part.
        steps: total number, counted from the run's first start; None keeps the original number.
        report, warn: see `run_md`.

    Raises:
        DataError: there is no usable checkpoint, or the calculator is not that of the run.
        SettingsError: `steps` have already been done, or would change the ramp.
        OutputError: log or trajectory do not match the checkpoint or cannot be written, or another run works there.
        UnphysicalError, UncertainError: see `run_md`.
    """
    with owned(folder):
        return _resume(folder, calculator, steps, report, warn)


def _resume(folder: Path, calculator: BaseCalculator, steps: int | None, report: Report | None, warn: Warn) -> MDResult:
    saved = load_checkpoint(folder)
    settings = settings_to_resume(saved, steps)
    atoms = saved.atoms
    atoms.calc = calculator
    difference = abs(atoms.get_potential_energy() - saved.energy_eV) / len(atoms)
    if not difference <= SAME_ENERGY_EV_PER_ATOM:
        raise DataError(
            f"the calculator's energy differs by {difference:.2g} eV/atom from the checkpoint's: "
            f"use the model of the run in {folder}"
        )
    rng = np.random.default_rng()
    rng.bit_generator.state = saved.rng
    run = Simulation(atoms, settings, saved.output, rng, saved.dof, UncertaintyWatch(calculator, settings, warn))
    run.step = saved.step
    run.ensemble.load(saved.ensemble)
    with run.writing():
        run.continue_from(saved)
        return run.go(report)


def check_free(output: MDOutput) -> None:
    """Checks that a run can write to its folder; changes nothing.

    Raises:
        OutputError: the folder holds an earlier run (without `output.overwrite`), or cannot be written.
    """
    present = earlier_files(output)
    if present and not output.overwrite:
        raise OutputError(f"{present[0]} already exists: give another output folder, restart that run, or overwrite it")
    check_folder(output.folder)


def settings_to_resume(saved: Checkpoint, steps: int | None) -> MDSettings:
    """The settings of a run that continues to a total of `steps`; None keeps the original number.

    Raises:
        SettingsError: `steps` have already been done, or would change the ramp.
    """
    if steps is not None and steps != saved.settings.steps and saved.settings.temperature_end_K is not None:
        raise SettingsError(
            f"steps is {steps}, but the temperature ramp was set over {saved.settings.steps} steps: leave steps out, "
            f"or start a new run from {FINAL}"
        )
    settings = saved.settings if steps is None else dataclasses.replace(saved.settings, steps=steps)
    ended = (saved.output.folder / FINAL).exists()  # else it was killed just before, and only has to end
    if settings.steps < saved.step + ended:
        raise SettingsError(
            f"the run in {saved.output.folder} has already done {saved.step} steps: ask for a larger total"
        )
    return settings
