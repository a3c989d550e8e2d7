"""A folder that LAMMPS runs: an input script for an ensemble of `ru-calc md`, the atoms, and the tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

import ru_calc
from ru_calc.errors import OutputError, SettingsError
from ru_calc.files import owned, write_text
from ru_calc.lammps.cells import box_of, write_data
from ru_calc.lammps.tables_file import TablesFile, write_tables
from ru_calc.md.settings import BAROSTAT_TIME_FS, FRICTION_PER_PS, THERMOSTAT_TIME_FS, MDSettings
from ru_calc.md.velocities import degrees_of_freedom, draw_momenta, remove_drift
from ru_calc.structures import has_volume

SCRIPT, DATA, STEM = "in.ru", "ru.data", "ru"
RESTARTS = (f"{STEM}.a.restart", f"{STEM}.b.restart")
BAR_PER_GPA = 1e4
TEMPLATE = """\
# {title}
variable begin index "read_data {data}"  # `ru-calc lammps run --restart` sets it to read_restart FILE
variable steps index {steps}
units metal
atom_style atomic
boundary {boundary}
atom_modify sort {restart_every} 0.0  # when a restart is written, so that one goes on with the same order of atoms
${{begin}}
pair_style ruschnet
pair_coeff * * {tables} Ru model {hash}
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
timestep {timestep_ps:.12g}
compute_modify thermo_temp extra/dof {dof}
{fixes}
thermo_style custom step time temp pe etotal {conserved} press vol
thermo {log_every}
thermo_modify flush yes
log {stem}.$(step).log
dump frames all custom {every} {stem}.$(step).dump id type xu yu zu vx vy vz
dump_modify frames sort id flush yes format float %.9g
restart {restart_every} {restarts}
run ${{steps}} upto start 0 stop ${{steps}}
write_data {stem}.final.data nocoeff
"""


@dataclass(frozen=True)
class ScriptOutput:
    """What the script writes, and how often.

    Attributes:
        folder: gets `in.ru`, `ru.data` and the tables, and then what LAMMPS writes.
        every, restart_every: steps between two frames, and between two restart files, which take turns.
        overwrite: replace an earlier script in the folder.
    """

    folder: Path
    every: int = 50
    restart_every: int = 500
    overwrite: bool = False


def write_script(
    atoms: Atoms, settings: MDSettings, output: ScriptOutput, model: str | Path = "default", dtype: str = "float32"
) -> TablesFile:
    """Writes the folder.

    Args:
        atoms: with momenta, unless new ones are to be drawn, as `ru-calc md` does.
        settings: ensemble, temperature, pressure, time step, thermostat, barostat, seed, `log_every`.

    Raises:
        SettingsError: fixed atoms, or a pressure without a volume.
        OutputError: the folder holds a script already, or cannot be written.
        DataError, ModelError: see `box_of` and `write_tables`.
    """
    atoms = _ready(atoms, settings)
    box = box_of(atoms)
    with owned(output.folder) as folder:
        if (folder / SCRIPT).exists() and not output.overwrite:
            raise OutputError(f"{folder} holds {SCRIPT} already; choose another folder, or use --overwrite")
        earlier, name = list(folder.glob(f"{STEM}.*")), f"{STEM}.tables"
        tables = write_tables(folder / name, model, dtype)
        for old in earlier:  # which a restart would take for its own
            if old.name != name:
                old.unlink()
        write_data(folder / DATA, atoms, box, tilted=settings.ensemble == "npt-cell")
        write_text(folder / SCRIPT, TEMPLATE.format(
            title=f"{len(atoms)} atoms, {settings.ensemble}; written by ru-calc {ru_calc.__version__}",
            steps=settings.steps, boundary=box.boundary, restart_every=output.restart_every, data=DATA, tables=name,
            hash=tables.sha256[:16], timestep_ps=settings.timestep_fs / 1000,
            dof=3 * len(atoms) - degrees_of_freedom(atoms, settings.ensemble), fixes="\n".join(_fixes(settings)),
            conserved="etotal" if settings.ensemble == "nve" else "econserve", log_every=settings.log_every,
            every=output.every, stem=STEM, restarts=" ".join(RESTARTS),
        ))  # fmt: skip
    return tables


def _ready(atoms: Atoms, settings: MDSettings) -> Atoms:
    """The atoms with momenta, as a run of `ru-calc md` would start."""
    if atoms.constraints:
        raise SettingsError("some atoms are fixed; free them, and hold them in the script by fix setforce")
    if settings.constant_pressure and not has_volume(atoms):
        raise SettingsError(f"{settings.ensemble} needs a cell that is periodic in three directions; choose nvt-bussi")
    atoms = atoms.copy()
    if settings.keep_momenta:
        remove_drift(atoms)
    if not settings.keep_momenta or not atoms.get_momenta().any():
        draw_momenta(atoms, settings.temperature_K, np.random.default_rng(settings.seed), settings.ensemble)
    return atoms


def _fixes(settings: MDSettings) -> list[str]:
    """The integrator and what acts beside it, in LAMMPS's words."""
    start, end = settings.temperature_K, settings.temperature_end_K or settings.temperature_K
    kelvin, seed = f"{start:.12g} {end:.12g}", settings.seed + 1
    tau = f"{(settings.thermostat_time_fs or THERMOSTAT_TIME_FS) / 1000:.12g}"
    if settings.ensemble == "nve":
        return ["fix move all nve"]
    if settings.ensemble == "nvt-langevin":
        time_ps = 1 / (settings.friction_per_ps or FRICTION_PER_PS)
        # Its random numbers do not go into a restart: other ones, then, than those of the first steps.
        return ["fix move all nve", f"fix heat all langevin {kelvin} {time_ps:.12g} $({seed}+step) tally yes"]
    if settings.ensemble == "nvt-bussi":
        return ["fix move all nve", f"fix heat all temp/csvr {kelvin} {tau} {seed}", "fix_modify heat temp thermo_temp"]
    if settings.ensemble == "nvt-nhc":
        return [f"fix move all nvt temp {kelvin} {tau}", "fix_modify move temp thermo_temp"]
    bar = f"{(settings.pressure_GPa or 0.0) * BAR_PER_GPA:.12g}"
    barostat_ps = (settings.barostat_time_fs or BAROSTAT_TIME_FS) / 1000
    pressure = f"{'iso' if settings.ensemble == 'npt-iso' else 'tri'} {bar} {bar} {barostat_ps:.12g}"
    return [f"fix move all npt temp {kelvin} {tau} {pressure}", "fix_modify move temp thermo_temp"]
