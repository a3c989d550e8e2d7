"""Starting a run and resuming one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from ru_calc.errors import DataError, OutputError, SettingsError
from ru_calc.files import check_folder
from ru_calc.md.checkpoint import Checkpoint, load_checkpoint
from ru_calc.md.settings import MDOutput, MDSettings
from ru_calc.md.simulation import FINAL, MDResult, Report, Simulation, earlier_files
from ru_calc.md.velocities import degrees_of_freedom, draw_momenta

# A restart refuses a calculator whose energy at the checkpoint differs by more than this.
SAME_ENERGY_EV_PER_ATOM = 1e-5


def run_md(
    atoms: Atoms,
    calculator: BaseCalculator,
    settings: MDSettings | None = None,
    output: MDOutput | None = None,
    report: Report | None = None,
) -> MDResult:
    """Molecular dynamics of `atoms`, which are moved in place.

    Args:
        atoms: any that the calculator takes; momenta are kept if there are some (see `MDSettings.keep_momenta`).
        calculator: any ASE calculator with energy and forces (and stress for `npt-*`).
        settings: ensemble, temperature, steps and limits.
        output: where to write; None writes nothing, and then the run cannot be resumed.
        report: called with each row of the log and the atom-steps per second since the one before.

    Raises:
        UnphysicalError: the run left the physical range; `atoms` and `last_good.extxyz` hold the last good frame.
        SettingsError, DataError, OutputError: settings, atoms or folder do not allow the run.
    """
    settings = settings or MDSettings()
    if len(atoms) == 0:
        raise DataError("there are no atoms to move")
    if output is not None:
        check_free(output)
    rng = np.random.default_rng(settings.seed)
    atoms.calc = calculator
    if not settings.keep_momenta or not atoms.get_momenta().any():
        draw_momenta(atoms, settings.temperature_K, rng, settings.ensemble)
    run = Simulation(atoms, settings, output, rng, degrees_of_freedom(atoms, settings.ensemble))
    run.begin(report)
    return run.go(report)


def resume_md(
    folder: Path, calculator: BaseCalculator, steps: int | None = None, report: Report | None = None
) -> MDResult:
    """Continues the run in `folder` from its last checkpoint, as if it had never stopped.

    Log and trajectory are cut back to the checkpoint.  Positions are the same to the last bit as those of an unbroken
    run if the calculator gives the same bits for the same atoms; a calculator with a memory (a neighbour list with a
    skin) does so if the checkpoint falls on a multiple of `checkpoint_every`, where the unbroken run resets it too.

    Args:
        steps: steps in all, counted from the run's first start; None keeps the number that it was started with.

    Raises:
        DataError: there is no usable checkpoint, or the calculator is not the one that the run was made with.
        SettingsError: `steps` have been done already, or would change the ramp.
        OutputError, UnphysicalError: as for `run_md`.
    """
    saved = load_checkpoint(folder)
    settings = settings_to_resume(saved, steps)
    atoms = saved.atoms
    atoms.calc = calculator
    difference = abs(atoms.get_potential_energy() - saved.energy_eV) / len(atoms)
    if not difference <= SAME_ENERGY_EV_PER_ATOM:
        raise DataError(
            f"the calculator gives an energy that is {difference:.2g} eV/atom off the checkpoint's: "
            f"use the model that the run in {folder} was made with"
        )
    rng = np.random.default_rng()
    rng.bit_generator.state = saved.rng
    run = Simulation(atoms, settings, saved.output, rng, saved.dof)
    run.step = saved.step
    run.ensemble.load(saved.ensemble)
    run.continue_from(saved)
    return run.go(report)


def check_free(output: MDOutput) -> None:
    """Refuses a folder that holds an earlier run (unless `output.overwrite`) or cannot be written; changes nothing.

    Raises:
        OutputError: as said.
    """
    present = earlier_files(output)
    if present and not output.overwrite:
        raise OutputError(
            f"{present[0]} exists already: give another output folder, restart that run, or ask to overwrite it"
        )
    check_folder(output.folder)


def settings_to_resume(saved: Checkpoint, steps: int | None) -> MDSettings:
    """The settings with which a run goes on to `steps` in all; None keeps the number that it was started with.

    Raises:
        SettingsError: `steps` have been done already, or would change the ramp.
    """
    if steps is not None and steps != saved.settings.steps and saved.settings.temperature_end_K is not None:
        raise SettingsError(
            f"steps is {steps}, but the temperature ramp was laid over {saved.settings.steps}: leave steps out, "
            f"or start a new run from {FINAL}"
        )
    settings = saved.settings if steps is None else dataclasses.replace(saved.settings, steps=steps)
    if settings.steps <= saved.step:
        raise SettingsError(
            f"the run in {saved.output.folder} has done {saved.step} steps already: ask for more than that in all"
        )
    return settings
