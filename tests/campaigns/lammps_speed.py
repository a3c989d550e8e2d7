"""What a step in LAMMPS costs beside the engine's force call, and how it scales over MPI processes.

    python tests/campaigns/lammps_speed.py --atoms 4000 100000 --eam-file Ru.eam.fs
    python tests/campaigns/lammps_speed.py --atoms 1000000 --steps 3 --repeats 1 --ranks 1 2 --no-race

The race is in CPU time of one core, all taking turns in one process.  Scaling is wall time of LAMMPS's own clock, so it
says something on an idle machine only; ghosts and bytes tell what a cluster would see.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ase import Atoms

from ru_calc.lammps.build import built_plugin
from ru_calc.lammps.cells import box_of, write_data
from ru_calc.lammps.launch import run_quietly
from ru_calc.lammps.tables_file import write_tables
from ru_calc.reports.tables import Table
from ru_calc.studies.bench.contestants import Dynamics, PredictorCalls
from ru_calc.studies.bench.lammps_eam import LammpsSteps
from ru_calc.studies.bench.race import Race
from ru_calc.studies.bench.run import system

BUDGET_S = 60.0
SCRIPT = (
    """\
units metal
boundary p p p
read_data data.ru
pair_style ruschnet
pair_coeff * * {tables} Ru
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
velocity all create 300 1 loop all
fix move all nve
timestep 0.002
thermo 0
run 1 post no
"""
    + "{runs}"
)
LOOP = re.compile(r"Loop time of (\S+) on \d+ procs for \d+ steps with (\d+) atoms")
GHOSTS = re.compile(r"Nghost: +(\S+) ave")
MEMORY = re.compile(r"memory allocation \(min/avg/max\) = \S+ \| (\S+)")


def race(sizes: Sequence[int], model: str, eam_file: Path | None, repeats: int, tables: Path) -> Table:
    """CPU time per atom of the engine's force call, of steps in ASE and LAMMPS, and the lowest over the first's."""
    os.environ["LAMMPS_PLUGIN_PATH"] = str(built_plugin().parent)
    contestants = [PredictorCalls(model, "compiled", 1), Dynamics(model, 1), LammpsSteps("ruschnet", tables, 1)]
    if eam_file is not None:
        contestants.append(LammpsSteps("eam/fs/opt", eam_file, 1))
    track = Race(contestants, threads=1, repeats=repeats, budget_s=BUDGET_S)
    made = []
    for n_atoms in sizes:
        rows = track.run(system(n_atoms))
        for row in rows:
            costs = [f"{row[name]:.2f}" for name in ("cpu_us", "cpu_us_min", "cpu_us_max")]
            ratio = f"{row['cpu_us_min'] / rows[0]['cpu_us_min']:.2f}"
            made.append([row["contestant"], row["per"], str(row["atoms"]), *costs, ratio])
    return Table(["", "per", "atoms", "CPU µs per atom", "lowest", "highest", "over the engine"], made)


def loops(atoms: Atoms, ranks: int, steps: int, repeats: int, tables: Path) -> tuple[float, float, float]:
    """Shortest wall time per step in s, ghosts per process, and MB per process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder / "data.ru", atoms, box_of(atoms))
        runs = f"run {steps} pre no\n" * repeats
        (folder / "in.ru").write_text(SCRIPT.format(tables=tables, runs=runs))
        said = run_quietly(folder / "in.ru", ranks)
    shortest = min(float(seconds) for seconds, _ in LOOP.findall(said)[-repeats:])
    return shortest / steps, float(GHOSTS.findall(said)[-1]), float(MEMORY.findall(said)[-1])


def scaling(sizes: Sequence[int], ranks: Sequence[int], steps: int, repeats: int, tables: Path) -> Iterator[list[str]]:
    """Rows of the table: the same system on more processes, and a system that grows with them."""
    for n_atoms in sizes:
        alone = None
        for kind, count in [("strong", count) for count in ranks] + [("weak", count) for count in ranks if count > 1]:
            atoms = system(n_atoms if kind == "strong" else n_atoms * count)
            seconds, ghosts, megabytes = loops(atoms, count, steps, repeats, tables)
            alone = alone or seconds
            efficiency = alone / (seconds * (count if kind == "strong" else 1))
            yield [kind, str(len(atoms)), str(count), f"{1e6 * seconds / len(atoms):.2f}", f"{100 * efficiency:.0f} %",
                   f"{ghosts:.0f}", f"{megabytes:.0f}"]  # fmt: skip


def main() -> None:
    """Prints both tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--atoms", type=int, nargs="+", default=[4000, 100_000])
    options.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    options.add_argument("--model", default="default")
    options.add_argument("--eam-file", type=Path)
    options.add_argument("--steps", type=int, default=20)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--no-race", action="store_true")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tables = Path(folder) / "ru.tables"
        write_tables(tables, given.model)
        if not given.no_race:
            print(race(given.atoms, given.model, given.eam_file, given.repeats, tables).text(), flush=True)
        head = ["", "atoms", "processes", "wall µs per atom and step", "efficiency", "ghosts each", "MB each"]
        print(Table(head, list(scaling(given.atoms, given.ranks, given.steps, given.repeats, tables))).text())


if __name__ == "__main__":
    main()
