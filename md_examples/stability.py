"""Stability of the potential: energy drift in NVE, and NVT runs up to high temperatures.

    python md_examples/stability.py                      # 64 atoms, short
    python md_examples/stability.py --ps 20 --atoms 64 --atoms 500 --nvt-ps 5

The drift is the least-squares slope of the conserved quantity against time, in eV/atom/ps.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ase.build import bulk

from ru_calc import RuSchNet
from ru_calc.errors import UnphysicalError
from ru_calc.md import MDSettings, run_md

CELLS = {64: (4, 4, 2), 144: (6, 4, 3), 500: (10, 5, 5)}


def hcp(n_atoms: int):
    """A supercell of hcp with about `n_atoms` atoms; exact for the sizes in CELLS."""
    cell = bulk("Ru", "hcp", a=2.726, c=4.289)
    side = max(1, round((n_atoms / 2) ** (1 / 3)))
    return cell * CELLS.get(n_atoms, (side, side, side))


def run(n_atoms: int, ensemble: str, temperature_K: float, time_ps: float, calculator) -> dict[str, object]:
    """One run with steps of 2 fs, as a row of the table."""
    steps = round(time_ps * 500)
    # Starting from the perfect lattice, half of the kinetic energy becomes potential energy: NVE starts twice as hot.
    start_K = 2 * temperature_K if ensemble == "nve" else temperature_K
    settings = MDSettings(ensemble, temperature_K=start_K, timestep_fs=2.0, steps=steps, log_every=max(1, steps // 200))
    atoms = hcp(n_atoms)
    row: dict[str, object] = {"atoms": len(atoms), "ensemble": ensemble, "T_K": temperature_K, "ps": time_ps}
    try:
        result = run_md(atoms, calculator, settings)
    except UnphysicalError as error:
        return {**row, "result": f"stopped: {error}"}
    time, conserved = result.thermo["time_ps"], result.thermo["conserved_eV_per_atom"]
    mean = result.thermo["temperature_K"][len(time) // 2 :].mean()
    return {
        **row,
        "result": "completed",
        "drift_eV_per_atom_per_ps": result.drift_eV_per_atom_per_ps,
        "mean_T_K": mean,
        "time": time,
        "E": conserved,
    }


def main(
    atoms: Sequence[int] = (64,),
    time_ps: float = 1.0,
    nvt_ps: float = 0.5,
    nve_K: Sequence[float] = (300, 1500),
    nvt_K: Sequence[float] = (300, 1500, 2400, 3200),
    output: str | Path = "stability.png",
    calculator=None,
) -> list[dict[str, object]]:
    """Prints the table, plots the conserved energies, and returns the rows."""
    from matplotlib.figure import Figure

    calculator = calculator or RuSchNet()
    plan = [(n, "nve", t, time_ps) for n in atoms for t in nve_K] + [
        (min(atoms), "nvt-bussi", t, nvt_ps) for t in nvt_K
    ]
    rows = []
    print(f"{'atoms':>6} {'ensemble':>10} {'T (K)':>6} {'ps':>6} {'drift (eV/atom/ps)':>19} {'mean T (K)':>11}")
    for n, ensemble, temperature, length in plan:
        row = run(n, ensemble, temperature, length, calculator)
        rows.append(row)
        drift = f"{row['drift_eV_per_atom_per_ps']:+.1e}" if row["result"] == "completed" else "–"
        mean = f"{row['mean_T_K']:.0f}" if row["result"] == "completed" else row["result"]
        print(f"{row['atoms']:>6} {ensemble:>10} {temperature:>6.0f} {length:>6.2f} {drift:>19} {mean:>11}", flush=True)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        if row["ensemble"] == "nve" and row["result"] == "completed":
            axes.plot(row["time"], 1e6 * (row["E"] - row["E"][0]), label=f"{row['atoms']} atoms, {row['T_K']:.0f} K")
    axes.set(xlabel="time (ps)", ylabel="E − E(0) (µeV/atom)", title="NVE, 2 fs")
    axes.legend(frameon=False)
    figure.savefig(output, dpi=130)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--atoms", type=int, action="append", help="number of atoms (64, 144 and 500 are exact); may be repeated"
    )
    parser.add_argument("--ps", type=float, default=1.0, help="length of each NVE run")
    parser.add_argument("--nvt-ps", type=float, default=0.5, help="length of each NVT run")
    parser.add_argument("--model", default="default")
    parser.add_argument("--output", default="stability.png")
    options = parser.parse_args()
    main(options.atoms or (64,), options.ps, options.nvt_ps, output=options.output, calculator=RuSchNet(options.model))
