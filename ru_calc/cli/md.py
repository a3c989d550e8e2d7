"""`ru-calc md`: molecular dynamics."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.ending import AGAIN, can_go_on
from ru_calc.cli.shared import (
    MODEL_OPTIONS,
    keep,
    make_calculator,
    model_in_words,
    model_of_run,
    model_to_remember,
    option,
    refuse_changes,
    settings_among,
    with_options,
)
from ru_calc.cli.structure import BUILD_OPTIONS, StructureCommand, read_structure, row_printer, warn_of_vacuum
from ru_calc.errors import SettingsError

if TYPE_CHECKING:
    from ru_calc.calculator import RuCalculator
    from ru_calc.md import MDOutput, MDResult, MDSettings

DEFAULT_ATOMS, DEFAULT_STEPS = 144, 500
COLUMNS = {
    "step": ("step", 9, 0),
    "time_ps": ("time (ps)", 10, 3),
    "temperature_K": ("T (K)", 9, 1),
    "potential_eV_per_atom": ("E (eV/atom)", 13, 5),
    "conserved_eV_per_atom": ("conserved", 13, 6),
    "pressure_GPa": ("P (GPa)", 9, 3),
    "speed": ("atom-steps/s", 13, 0),
}
OWN = "own"  # threshold of the model
UNCERTAINTY = {"uncertainty_eV_per_A": ("u (eV/Å)", 10, 3)}
WITH_RESTART = {"restart", "steps", "time_ps", "device", "threads", "model"}
OF_CALCULATOR = ("model", "device", "dtype", "engine")
PHYSICS_OPTIONS = (
    option("ensemble", type=click.Choice(["nve", "nvt-langevin", "nvt-bussi", "nvt-nhc", "npt-iso", "npt-cell"]),
           default="nvt-bussi", show_default=True, help="Ensemble and thermostat."),
    option("temperature_K", type=float, default=300.0, show_default=True,
           help="Temperature of the initial velocities and of the thermostat."),
    option("temperature_end_K", type=float, help="Final temperature of a linear ramp over the run."),
    option("pressure_GPa", type=float, help="External pressure (npt).  [default: 0]"),
    option("timestep_fs", type=float, default=2.0, show_default=True),
    option("steps", type=int, help="Number of steps.  [default: 500]"),
    option("time_ps", type=float, help="Length of the run, instead of --steps."),
    option("friction_per_ps", type=float, help="Friction of the Langevin thermostat.  [default: 2]"),
    option("thermostat_time_fs", type=float, help="Time constant of every other thermostat.  [default: 100]"),
    option("barostat_time_fs", type=float, help="Time constant of the barostat (npt).  [default: 1000]"),
    option("seed", type=int, default=0, show_default=True, help="Seed of velocities, random forces and vacancies."),
    option("new_velocities", is_flag=True, help="Draw new velocities even if the file has some."),
)  # fmt: skip
STOP_OPTIONS = (
    option("min_distance_A", type=float, default=1.0, show_default=True,
           help="Stop if two atoms are closer than this."),
    option("max_temperature_K", type=float,
           help="Stop above this temperature.  [default: 10 × target, at least 20000]"),
    option("max_drift_eV_per_atom", type=float, default=0.2, show_default=True,
           help="Stop if the conserved quantity changes by more than this."),
    option("stop_when_uncertain", is_flag=False, flag_value=OWN, metavar="[EV_PER_A]",
           help="Stop at the first frame with an atom whose uncertainty is above this, and save the frame.  "
           "[default: the model's own threshold]"),
)  # fmt: skip
OUTPUT_OPTIONS = (
    click.option("-o", "--output", type=click.Path(path_type=Path),
                 help="Output folder.  [default: ru-md, or the first free name of ru-md-2, ru-md-3, …]"),
    option("trajectory", default="md.extxyz", show_default=True,
           help="Trajectory file in that folder: .extxyz, .traj or .h5 (H5MD); none for no trajectory."),
    option("every", type=int, default=50, show_default=True, help="Steps between frames of the trajectory."),
    option("log_every", type=int, default=50, show_default=True, help="Steps between rows of the log."),
    option("checkpoint_every", type=int, default=500, show_default=True, help="Steps between checkpoints."),
    option("overwrite", is_flag=True, help="Replace an earlier run in the output folder."),
    option("restart", type=click.Path(path_type=Path), metavar="FOLDER",
           help="Continue the run in FOLDER; --steps and --time-ps then count from its very first step, and "
           "--model names its model if that has moved."),
)  # fmt: skip


@click.command("md", cls=StructureCommand)
@click.argument("structure", required=False)
@with_options(PHYSICS_OPTIONS)
@with_options(STOP_OPTIONS)
@with_options(OUTPUT_OPTIONS)
@with_options(BUILD_OPTIONS)
@with_options(MODEL_OPTIONS)
def command(structure: str | None, restart: Path | None, **options: Any) -> None:
    """Run molecular dynamics of STRUCTURE: a file that ASE reads, or one of the structures below.

    Without STRUCTURE: 144 atoms of bulk hcp.  E is the potential energy; "conserved" is the total energy less what the
    thermostat and barostat supplied, which exact integration would keep constant; both are in eV/atom.  P includes the
    kinetic part.  u is the largest uncertainty of all atoms: the expected error of their force components against the
    labels that the model was fitted to, if the model knows it.  "–" means that there is no value, as for the pressure
    of a slab.
    """
    if restart is not None:
        refuse_changes(WITH_RESTART)
        _can_restart(restart)
        result, first, folder = *_resume(restart, options), restart
    else:
        result, folder, first = *_start(structure or "hcp", options), 0
    _summary(result, folder, result.steps - first)
    if result.interrupted:
        raise KeyboardInterrupt


def _start(structure: str, options: dict[str, Any]) -> tuple[MDResult, Path]:
    from ru_calc.files import free_folder
    from ru_calc.md import MDOutput, run_md
    from ru_calc.md.run import check_free

    settings = md_settings(options, **_stop(options["stop_when_uncertain"]))
    output = MDOutput(
        folder=options["output"] or keep(free_folder("ru-md")),
        trajectory=None if options["trajectory"] == "none" else options["trajectory"],
        trajectory_every=options["every"],
        checkpoint_every=options["checkpoint_every"],
        overwrite=options["overwrite"],
        origin={
            **{name: options[name] for name in OF_CALCULATOR},
            **model_to_remember(options["model"]),
        },
    )
    check_free(output)
    _can_restart(output.folder)
    atoms = read_structure(structure, options, DEFAULT_ATOMS)
    calculator = _calculator(output.origin, options["threads"])
    if settings.constant_pressure:
        warn_of_vacuum(atoms, calculator.cutoff_A)
    title = f"{len(atoms)} atoms ({structure}), {_describe(settings, output, calculator.engine)}"
    report = _report(calculator.has_uncertainty, title)
    return run_md(atoms, calculator, settings, output, report, _warn), output.folder


def _resume(folder: Path, options: dict[str, Any]) -> tuple[MDResult, int]:
    from ru_calc.md import resume_md
    from ru_calc.md.checkpoint import load_checkpoint
    from ru_calc.md.run import settings_to_resume

    saved = load_checkpoint(folder)
    origin = dict(saved.output.origin)
    if not {"model", "device", "dtype"} <= origin.keys():
        raise SettingsError(f"the run in {folder} was started from Python: resume it with ru_calc.md.resume_md")
    if options["device"] != "auto":
        origin["device"] = options["device"]
    origin["model"] = model_of_run(origin, folder, options["model"])
    steps = steps_of(options, saved.settings.timestep_fs)
    settings = settings_to_resume(saved, steps)
    calculator = _calculator(origin, options["threads"])
    described = _describe(settings, saved.output, calculator.engine)
    click.echo(f"{len(saved.atoms)} atoms, {described}, from step {saved.step}")
    return resume_md(folder, calculator, steps, _report(calculator.has_uncertainty), _warn), saved.step


def _can_restart(folder: Path) -> None:
    from ru_calc.md.checkpoint import steps_done

    def how() -> str:
        begun = steps_done(folder) is not None
        return f"resume with: {shlex.join(['ru-calc', 'md', '--restart', str(folder)])}" if begun else AGAIN

    can_go_on(how, lambda: f" after step {steps_done(folder) or 0}")


def _calculator(origin: Mapping[str, str], threads: int) -> RuCalculator:
    return make_calculator(**{name: origin[name] for name in OF_CALCULATOR if name in origin}, threads=threads)


def md_settings(options: Mapping[str, Any], **more: Any) -> MDSettings:
    """The settings among `PHYSICS_OPTIONS`, and further ones."""
    from ru_calc.md import MDSettings

    steps = steps_of(options, options["timestep_fs"])
    given = {**settings_among(options, MDSettings), "steps": DEFAULT_STEPS if steps is None else steps, **more}
    return MDSettings(**given, keep_momenta=not options["new_velocities"])


def steps_of(options: Mapping[str, Any], timestep_fs: float) -> int | None:
    """The length of a run by --steps or --time-ps; None for neither."""
    time_ps = options["time_ps"]
    if time_ps is None:
        return options["steps"]
    if options["steps"] is not None:
        raise click.UsageError("--steps and --time-ps both set the length of the run: give one of them")
    if not 0 <= time_ps < float("inf"):
        raise SettingsError(f"--time-ps is {time_ps}; it must be 0 or more")
    return round(1000 * time_ps / timestep_fs) if timestep_fs > 0 else 0


def _describe(settings: MDSettings, output: MDOutput, engine: str) -> str:
    conditions = f"{settings.temperature_K:g} K"
    if settings.temperature_end_K is not None:
        conditions += f" to {settings.temperature_end_K:g} K"
    if settings.constant_pressure:
        conditions += f", {settings.pressure_GPa or 0:g} GPa"
    length = f"{settings.steps} steps of {settings.timestep_fs:g} fs"
    model = model_in_words(output.origin["model"], output.origin["dtype"], engine)
    return f"{settings.ensemble} at {conditions}, {length}, {model}"


def _report(uncertainty: bool, *title: str) -> Callable[[Mapping[str, float], float | None], None]:
    columns = COLUMNS | UNCERTAINTY if uncertainty else COLUMNS
    print_row = row_printer(columns.values(), *title)
    return lambda row, speed: print_row({**row, "speed": speed}[name] for name in columns)


def _stop(threshold: str | None) -> dict[str, Any]:
    """Settings of a run from the value of --stop-when-uncertain."""
    if threshold is None or threshold == OWN:
        return {"stop_when_uncertain": threshold is not None}
    try:
        return {"stop_when_uncertain": True, "uncertain_above_eV_per_A": float(threshold)}
    except ValueError:
        raise click.UsageError(
            f"--stop-when-uncertain is {threshold!r}; it takes a number in eV/Å or nothing: put STRUCTURE before it"
        ) from None


def _warn(text: str) -> None:
    click.echo(f"warning: {text}", err=True)


def _summary(result: MDResult, folder: Path, steps: int) -> None:
    import numpy as np

    thermo = result.thermo
    later = slice(len(thermo["step"]) // 2, None)
    parts = []
    if len(thermo["step"]) > 3:
        parts.append(f"second half: T = {thermo['temperature_K'][later].mean():.1f} K")
        if np.isfinite(thermo["pressure_GPa"]).all():
            parts.append(f"P = {thermo['pressure_GPa'][later].mean():.3f} GPa")
        drift = np.polyfit(thermo["time_ps"], thermo["conserved_eV_per_atom"], 1)[0]
        spread = np.ptp(thermo["conserved_eV_per_atom"])
        parts.append(f"conserved quantity within {spread:.1e} eV/atom, drift {drift:+.1e} eV/atom/ps")
    if np.isfinite(result.atom_steps_per_s):
        parts.append(f"{result.atom_steps_per_s:.0f} atom-steps/s")
    if parts:
        click.echo(", ".join(parts))
    neighbors = getattr(result.atoms.calc, "neighbor_statistics", None)
    if neighbors is not None:
        times = "1 rebuild" if neighbors.rebuilds == 1 else f"{neighbors.rebuilds} rebuilds"
        click.echo(f"neighbour list: {times} in {steps} steps")
    click.echo(f"written to {folder}")
