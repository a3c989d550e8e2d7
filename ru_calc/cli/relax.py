"""`ru-calc relax`: relaxation of atoms and cell."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ru_calc.cli.shared import (
    MODEL_OPTIONS,
    make_calculator,
    model_in_words,
    new_file,
    option,
    settings_among,
    with_options,
)
from ru_calc.cli.structure import BUILD_OPTIONS, StructureCommand, read_structure, row_printer, stem_of, warn_of_vacuum
from ru_calc.errors import OutputError

if TYPE_CHECKING:
    from ase import Atoms

    from ru_calc.relax import RelaxResult, RelaxState

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


@click.command("relax", cls=StructureCommand)
@click.argument("structure")
@with_options(RELAX_OPTIONS)
@click.option("-o", "--output", type=click.Path(path_type=Path),
              help="File of the relaxed structure, in any format of ASE.  [default: NAME-relaxed.extxyz]")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the output file.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of --vacancy-fraction.")
@with_options(BUILD_OPTIONS)
@with_options(MODEL_OPTIONS)
def command(structure: str, output: Path | None, overwrite: bool, **options: Any) -> None:
    """Relax STRUCTURE: a file that ASE reads, or one of the structures below.

    The last geometry is written even if it has not converged; the exit status is then 1.
    """
    from ru_calc.relax import RelaxSettings, relax_structure

    settings = RelaxSettings(**settings_among(options, RelaxSettings))
    output = output or Path(f"{stem_of(structure)}-relaxed.extxyz")
    form = _format(output, overwrite)
    atoms = read_structure(structure, options)
    before = atoms.copy()
    calculator = make_calculator(**{name: options[name] for name in ("model", "device", "dtype", "threads", "engine")})
    if settings.cell != "none":
        warn_of_vacuum(atoms, calculator.cutoff_A)
    title = f"{len(atoms)} atoms ({structure}), cell {settings.cell}, {settings.optimizer}, "
    title += model_in_words(options["model"], options["dtype"], calculator.engine)
    energies = {"energy_eV": ENERGY, "enthalpy_eV": ENTHALPY} if settings.pressure_GPa else {"energy_eV": ENERGY}
    print_row = row_printer((STEP, *energies.values(), *CONVERGENCE), title)

    def report(state: RelaxState) -> None:
        per_atom = (getattr(state, name) / len(atoms) for name in energies)
        print_row([state.step, *per_atom, state.largest_force_eV_per_A, state.stress_off_GPa])

    result = relax_structure(atoms, calculator, settings, report)
    _write(result.atoms, output, form)
    _summary(before, result, bool(settings.pressure_GPa))
    click.echo(f"written to {output}")
    if not result.converged:
        click.echo(
            f"Error: not converged after {result.last.step} steps: {_residuals(result.last)}; continue from {output} "
            "with more --steps, or loosen the limits",
            err=True,
        )
        sys.exit(1)


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


def _summary(before: Atoms, result: RelaxResult, pressed: bool) -> None:
    parts = []
    for name in ("energy", "enthalpy") if pressed else ("energy",):
        first, last = (getattr(state, f"{name}_eV") / len(before) for state in (result.first, result.last))
        parts.append(f"{name} {last:.6f} eV/atom ({last - first:+.6f})")
    click.echo(f"{', '.join(parts)}, {_residuals(result.last)}")
    for name, atoms in (("before", before), ("after", result.atoms)):
        if atoms.cell.rank == 3:
            a, b, c, alpha, beta, gamma = atoms.cell.cellpar()
            volume = f", {atoms.get_volume() / len(atoms):.4f} Å³/atom" if atoms.pbc.all() else ""
            angles = f"{alpha:.3f} {beta:.3f} {gamma:.3f}°"
            click.echo(f"{name:>7}: a b c = {a:.5f} {b:.5f} {c:.5f} Å, angles {angles}{volume}")
