"""The (0001) surface: its energy and the relaxation of its interlayer spacings, at rest and at 456 K.

Run `python md_examples/slab_0001_relaxation.py`; it prints the results and saves a plot.
"""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from ru_calc import RuSchNet
from ru_calc.md import MDSettings, run_md
from ru_calc.properties import basal_surface, layer_spacings_percent, reference, reference_value, relaxed_hcp

MEASURED_AT_K = 456.0


def hot_spacings_percent(surface, calculator, steps, repeats):
    """Changes of d12, d23, … in % at the temperature of the experiment, relative to the middle of the slab."""
    atoms = surface.atoms.repeat((*repeats, 1))
    layer = np.tile(np.arange(surface.layers), len(atoms) // surface.layers)
    heights = []
    settings = MDSettings(ensemble="nvt-bussi", temperature_K=MEASURED_AT_K, timestep_fs=3.0, steps=steps, log_every=5)
    run_md(
        atoms,
        calculator,
        settings,
        report=lambda row, speed: heights.append(np.bincount(layer, atoms.positions[:, 2]) / np.bincount(layer)),
    )
    mean = np.mean(heights[len(heights) // 3 :], axis=0)
    middle = np.diff(mean)[surface.layers // 2 - 2 : surface.layers // 2 + 1].mean()
    both_sides = layer_spacings_percent(mean, middle)
    return ((both_sides + both_sides[::-1]) / 2)[: surface.layers // 2]


def main(output="slab_0001_relaxation.png", layers=10, repeats=(3, 3), steps=3000, calculator=None):
    """Returns γ in J/m² and the changes of the spacings in %."""
    calculator = calculator or RuSchNet()
    hcp = relaxed_hcp(calculator)
    surface = basal_surface(hcp, calculator, layers)
    hot = hot_spacings_percent(surface, calculator, steps, repeats)
    numbers = {
        "gamma_J_per_m2": surface.gamma_J_per_m2,
        "gamma_unrelaxed_J_per_m2": surface.gamma_unrelaxed_J_per_m2,
        "d12_percent": surface.d12_percent,
        "d23_percent": surface.d23_percent,
        "d12_hot_percent": float(hot[0]),
    }

    measured = reference("d12", "experiment")
    print(f"                       model       GPAW      PBE   experiment      ({layers} layers)")
    print(
        f"γ relaxed   (J/m²)  {numbers['gamma_J_per_m2']:8.2f}   {reference_value('gamma_0001', 'GPAW'):8.2f} "
        f"{reference_value('gamma_0001', 'PBE'):8.2f}     {reference_value('gamma_0001'):8.2f}"
    )
    print(
        f"γ unrelaxed (J/m²)  {numbers['gamma_unrelaxed_J_per_m2']:8.2f}   "
        f"{reference_value('gamma_0001_unrelaxed', 'GPAW'):8.2f} "
        f"{reference_value('gamma_0001_unrelaxed', 'PBE'):8.2f}"
    )
    print(
        f"d12 at rest    (%)  {surface.d12_percent:8.2f}   {reference_value('d12', 'GPAW'):8.2f} "
        f"{reference_value('d12', 'PBE'):8.2f}"
    )
    print(f"d23 at rest    (%)  {surface.d23_percent:8.2f}            {reference_value('d23', 'PBE'):8.2f}")
    print(f"d12 at {MEASURED_AT_K:.0f} K   (%)  {hot[0]:8.2f}                         {measured.value:8.2f}")

    figure, panel = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
    spacing = np.arange(1, len(surface.spacings_percent) + 1)
    panel.plot(spacing, surface.spacings_percent, "o-", label="at rest")
    panel.plot(np.arange(1, len(hot) + 1), hot, "s-", label=f"MD at {MEASURED_AT_K:.0f} K")
    panel.errorbar([1], [measured.value], yerr=0.9, fmt="k*", capsize=3, label="experiment, 456 K")
    panel.axhline(0, color="grey", linewidth=0.8)
    panel.set(xlabel="interlayer spacing, from the surface", ylabel="change relative to bulk (%)", title="Ru(0001)")
    panel.legend()
    figure.savefig(output, dpi=130)
    plt.close(figure)
    print(f"saved {output}")
    return numbers


if __name__ == "__main__":
    main()
