"""Bulk ruthenium at constant volume and temperature: pair distribution, energy, pressure and heat capacity.

Run `python md_examples/bulk_nvt.py`; it prints the results and saves a plot.
"""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from ru_calc import RuSchNet
from ru_calc.md import MDSettings, run_md
from ru_calc.properties import reference_value, relaxed_hcp
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import find_pairs

GAS_CONSTANT_J_PER_MOL_K = 8.314462618
J_PER_MOL_IN_EV = 96485.33212


def pair_distribution(frames, r_max_A=8.0, bins=160):
    """g(r): pairs at distance r relative to an ideal gas of the same density."""
    structures = Structures.from_atoms(frames)
    distances = np.linalg.norm(find_pairs(structures, r_max_A).vectors(structures), axis=1)
    counts, edges = np.histogram(distances, bins=bins, range=(0, r_max_A))
    counts = 2 * counts  # each pair counts for both of its atoms
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    density = len(frames[0]) / frames[0].get_volume()
    return (edges[1:] + edges[:-1]) / 2, counts / (len(frames) * len(frames[0]) * density * shells)


def main(output="bulk_nvt.png", temperature_K=300.0, steps=2500, repeats=(4, 4, 3), calculator=None):
    """Equilibrates for a fifth of the steps, then samples every tenth step.  Returns the printed numbers."""
    calculator = calculator or RuSchNet()
    hcp = relaxed_hcp(calculator)
    atoms = hcp.atoms() * repeats

    settings = MDSettings(ensemble="nvt-bussi", temperature_K=temperature_K, timestep_fs=2.0, log_every=10)
    # Starting from lattice sites, half of the kinetic energy becomes potential energy; the thermostat replaces it.
    run_md(atoms, calculator, MDSettings(**{**vars(settings), "steps": steps // 5}))
    frames = []
    result = run_md(
        atoms,
        calculator,
        MDSettings(**{**vars(settings), "steps": steps - steps // 5, "seed": 1}),
        report=lambda row, speed: frames.append(atoms.copy()),
    )

    thermo = result.thermo
    r, g = pair_distribution(frames)
    potential = thermo["potential_eV_per_atom"].mean()
    # Mean heat capacity between 0 K and T at constant volume: (⟨E_pot⟩ − E_0)/T plus the kinetic 3/2 R.
    heat_capacity = (potential - hcp.energy_eV) / temperature_K * J_PER_MOL_IN_EV + 1.5 * GAS_CONSTANT_J_PER_MOL_K
    numbers = {
        "temperature_K": thermo["temperature_K"].mean(),
        "pressure_GPa": thermo["pressure_GPa"].mean(),
        "potential_eV_per_atom": potential,
        "heat_capacity_J_per_mol_K": heat_capacity,
        "first_peak_A": r[np.argmax(g)],
        "atom_steps_per_s": result.atom_steps_per_s,
    }

    print(f"{len(atoms)} atoms, {steps} steps, {numbers['atom_steps_per_s']:.0f} atom-steps/s")
    print(f"temperature      {numbers['temperature_K']:8.1f} K          (target: {temperature_K:.0f})")
    print(f"potential energy {potential:8.4f} eV/atom    (at rest: {hcp.energy_eV:.4f})")
    print(f"pressure         {numbers['pressure_GPa']:8.2f} GPa        (thermal pressure at the 0 K cell)")
    print(f"heat capacity    {heat_capacity:8.2f} J/mol/K    (3R: {3 * GAS_CONSTANT_J_PER_MOL_K:.2f}; ", end="")
    print(f"experiment, Cp at 298 K: {reference_value('Cp_298K'):.2f})")
    print(f"first peak       {numbers['first_peak_A']:8.2f} Å          (bond lengths at rest: ", end="")
    print(f"{hcp.a_A:.3f}, {np.sqrt(hcp.a_A**2 / 3 + hcp.c_A**2 / 4):.3f})")

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    left.plot(r, g)
    left.set(xlabel="r (Å)", ylabel="g(r)", title=f"Ru at {temperature_K:.0f} K")
    right.plot(thermo["time_ps"], thermo["temperature_K"])
    right.set(xlabel="time (ps)", ylabel="temperature (K)")
    figure.savefig(output, dpi=130)
    plt.close(figure)
    print(f"saved {output}")
    return numbers


if __name__ == "__main__":
    main()
