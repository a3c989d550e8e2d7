"""`ru-calc relax`: relaxation of atoms and cell."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.ending import AGAIN, can_go_on
from ru_calc.cli.shared import (
    MODEL_OPTIONS,
    make_calculator,
    model_in_words,
    model_of_run,
    model_to_remember,
    new_file,
    option,
    options_given,
    output_file,
    refuse_changes,
    settings_among,
    with_options,
)
from ru_calc.cli.structure import BUILD_OPTIONS, StructureCommand, read_structure, row_printer, stem_of, warn_of_vacuum
from ru_calc.errors import OutputError, SettingsError

if TYPE_CHECKING:
    from ase import Atoms

    from ru_calc.relax import RelaxResult, RelaxSettings, RelaxState

RELAX_OPTIONS = (
    option("cell", type=click.Choice(["none", "hydrostatic", "full"]), default="none", show_default=True,
           help="Keep the cell fixed, scale it, or relax it fully."),
    option("pressure_GPa", type=float, help="External pressure, if the cell relaxes.  [default: 0]"),
    option("fmax_eV_per_A", type=float, default=0.01, show_default=True, help="Largest force at convergence."),
    option("smax_GPa", type=float, default=0.05, show_default=True,
           help="Largest residual stress at convergence, if the cell relaxes."),
    option("steps", type=int, default=500, show_default=True, help="Maximum number of steps."),
    option("optimizer", type=click.Choice(["lbfgs", "bfgs", "fire"]), default="lbfgs", show_default=True),
)  # fmt: skip
STEP, ENERGY, ENTHALPY = ("step", 6, 0), ("E (eV/atom)", 14, 6), ("E + pV (eV/atom)", 18, 6)
CONVERGENCE = (("max F (eV/Å)", 15, 5), ("residual stress (GPa)", 23, 3))


WITH_RESTART = {"restart", "steps", "device", "threads", "model"}


@click.command("relax", cls=StructureCommand)
@click.argument("structure", required=False)
@with_options(RELAX_OPTIONS)
@click.option("-o", "--output", type=click.Path(path_type=Path),
              help="File of the relaxed structure, in any format of ASE.  [default: NAME-relaxed.extxyz]")  # fmt: skip
@click.option(
    "--trajectory", metavar="FILE.traj",
    help="ASE trajectory of all steps, for --restart; none for no trajectory.  [default: OUTPUT as .traj]",
)  # fmt: skip
@click.option(
    "--restart", type=click.Path(path_type=Path), metavar="FILE.traj",
    help="Continue the relaxation of this trajectory; --steps then counts from its very first step, and --model names "
    "its model if that has moved.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the output file and the trajectory.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of --vacancy-fraction.")
@with_options(BUILD_OPTIONS)
@with_options(MODEL_OPTIONS)
def command(structure: str | None, restart: Path | None, **options: Any) -> None:
    """Relax STRUCTURE: a file that ASE reads, or one of the structures below.

    The last geometry is written even if it has not converged or is interrupted; the exit status is then 1 or 130.  A
    restart gives, to the last bit, what the relaxation would have given without an end in between.
    """
    if restart is not None:
        refuse_changes(WITH_RESTART)
    elif structure is None:
        raise click.UsageError("give a STRUCTURE to relax, or --restart FILE.traj")
    before, result, output = _again(restart, options) if restart is not None else _new(str(structure), options)
    _summary(before, result)
    click.echo(f"written to {output}")
    if result.interrupted:
        raise KeyboardInterrupt
    if not result.converged:
        click.echo(
            f"Error: not converged after {result.last.step} steps: {_residuals(result.last)}; continue from {output} "
            "with more --steps, or loosen the limits",
            err=True,
        )
        sys.exit(1)


def _new(structure: str, options: dict[str, Any]) -> tuple[Atoms, RelaxResult, Path]:
    from ru_calc.relax import RelaxOutput, RelaxSettings, relax_structure

    settings = RelaxSettings(**settings_among(options, RelaxSettings))
    output = options["output"] or Path(f"{stem_of(structure)}-relaxed.extxyz")
    form = _format(output, options["overwrite"])
    trajectory = _trajectory(output, options)
    atoms = read_structure(structure, options)
    before = atoms.copy()
    calculator = make_calculator(**{name: options[name] for name in ("model", "device", "dtype", "threads", "engine")})
    if settings.cell != "none":
        warn_of_vacuum(atoms, calculator.cutoff_A)
    origin = {name: options[name] for name in ("device", "dtype", "engine")}
    model = calculator.parameters.get("model", options["model"])  # with the whole path of a file
    origin |= {"model": model, "output": str(output.absolute()), "format": form, **model_to_remember(model)}
    title = f"{len(atoms)} atoms ({structure}), {_described(settings)}, "
    title += model_in_words(options["model"], options["dtype"], calculator.engine)
    if trajectory is not None:
        _can_restart(trajectory)
    to = RelaxOutput(trajectory, origin)
    result = relax_structure(atoms, calculator, settings, _report(settings, len(atoms), title), to)
    _write(result.atoms, output, form)
    return before, result, output


def _again(trajectory: Path, options: dict[str, Any]) -> tuple[Atoms, RelaxResult, Path]:
    from ru_calc.relax import read_relaxation, resume_relaxation

    saved = read_relaxation(trajectory)
    origin = saved.origin
    if not {"model", "device", "dtype", "output", "format"} <= origin.keys():
        raise SettingsError(f"{trajectory} was started from Python: resume it with ru_calc.relax.resume_relaxation")
    output_file(Path(origin["output"]))
    model = model_of_run(origin, trajectory, options["model"])
    device = origin["device"] if options["device"] == "auto" else options["device"]
    calculator = make_calculator(model, device, origin["dtype"], options["threads"], origin["engine"])
    before = saved.start()
    steps = options["steps"] if "steps" in options_given() else None
    title = f"{len(before)} atoms, {_described(saved.settings)}, from step {saved.kept}, "
    title += model_in_words(model, origin["dtype"], calculator.engine)
    _can_restart(trajectory)
    result = resume_relaxation(trajectory, calculator, steps, _report(saved.settings, len(before), title))
    _write(result.atoms, Path(origin["output"]), origin["format"])
    return before, result, Path(origin["output"])


def _trajectory(output: Path, options: dict[str, Any]) -> Path | None:
    """The file of the trajectory, kept for this command; a new relaxation does not replace one that can go on."""
    if options["trajectory"] == "none":
        return None
    if options["trajectory"] is None and output.suffix == ".traj":
        path = output.with_name(f"{output.stem}-steps.traj")
    else:
        path = Path(options["trajectory"] or output.with_suffix(".traj"))
    if path.suffix != ".traj" or path == output:
        raise OutputError(f"the trajectory is {path}; its name must end in .traj, and differ from that of the output")
    if path.exists() and not options["overwrite"]:
        raise OutputError(
            f"{path} exists already; --restart {path} continues that relaxation, --overwrite starts a new one"
        )
    output_file(path)
    path.unlink(missing_ok=True)
    return path


def _can_restart(trajectory: Path) -> None:
    from ru_calc.relax.trajectory import steps_done

    words = shlex.join(["ru-calc", "relax", "--restart", str(trajectory)])
    can_go_on(
        lambda: AGAIN if steps_done(trajectory) is None else f"resume with: {words}",
        lambda: f" after step {steps_done(trajectory) or 0}",
    )


def _described(settings: RelaxSettings) -> str:
    return f"cell {settings.cell}, {settings.optimizer}"


def _report(settings: RelaxSettings, n_atoms: int, title: str) -> Callable[[RelaxState], None]:
    energies = {"energy_eV": ENERGY, "enthalpy_eV": ENTHALPY} if settings.pressure_GPa else {"energy_eV": ENERGY}
    print_row = row_printer((STEP, *energies.values(), *CONVERGENCE), title)

    def report(state: RelaxState) -> None:
        per_atom = (getattr(state, name) / n_atoms for name in energies)
        print_row([state.step, *per_atom, state.largest_force_eV_per_A, state.stress_off_GPa])

    return report


def _format(path: Path, overwrite: bool) -> str:
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    new_file(path, overwrite)
    try:
        form = filetype(path.name, read=False)
    except UnknownFileTypeError:
        form = ""
    if form not in ioformats or not ioformats[form].can_write:
        raise OutputError(f"{path} has a suffix that ASE cannot write: use .extxyz, .cif, .vasp or .traj")
    return form


def _write(atoms: Atoms, path: Path, form: str) -> None:
    import ase.io
    from ase.calculators.singlepoint import SinglePointCalculator

    from ru_calc.files import whole_file

    frame = atoms.copy()
    frame.info = {}
    # Labels are the model's own: without what constraints take from the forces or add to the energy.
    results = {
        "energy": atoms.get_potential_energy(apply_constraint=False),
        "forces": atoms.get_forces(apply_constraint=False),
    }
    if atoms.pbc.all() and atoms.cell.rank == 3:
        results["stress"] = atoms.get_stress(apply_constraint=False)
    frame.calc = SinglePointCalculator(frame, **results)
    with whole_file(path) as temporary:
        ase.io.write(temporary, frame, format=form)


def _residuals(state: RelaxState) -> str:
    force = f"max force {state.largest_force_eV_per_A:.4f} eV/Å"
    fixed = state.stress_off_GPa != state.stress_off_GPa
    return force if fixed else f"{force}, residual stress {state.stress_off_GPa:.3f} GPa"


def _summary(before: Atoms, result: RelaxResult) -> None:
    parts = []
    for name in ("energy", "enthalpy") if result.last.enthalpy_eV != result.last.energy_eV else ("energy",):
        first, last = (getattr(state, f"{name}_eV") / len(before) for state in (result.first, result.last))
        parts.append(f"{name} {last:.6f} eV/atom ({last - first:+.6f})")
    click.echo(f"{', '.join(parts)}, {_residuals(result.last)}")
    for name, atoms in (("before", before), ("after", result.atoms)):
        if atoms.cell.rank == 3:
            a, b, c, alpha, beta, gamma = atoms.cell.cellpar()
            volume = f", {atoms.get_volume() / len(atoms):.4f} Å³/atom" if atoms.pbc.all() else ""
            angles = f"{alpha:.3f} {beta:.3f} {gamma:.3f}°"
            click.echo(f"{name:>7}: a b c = {a:.5f} {b:.5f} {c:.5f} Å, angles {angles}{volume}")
