"""Thermal expansion of hcp ruthenium along a and c, from runs with a flexible cell at zero pressure.

Run `python md_examples/npt_thermal_expansion.py`; it prints the results and saves a plot.
"""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from ru_calc import RuSchNet
from ru_calc.md import MDSettings, run_md
from ru_calc.properties import reference_value, relaxed_hcp


def lattice_parameters(hcp, temperature_K, steps, repeats, calculator):
    """Mean a and c in Å at a temperature, averaged over the last two thirds of the run."""
    atoms = hcp.atoms() * repeats
    settings = MDSettings(
        ensemble="npt-cell",
        temperature_K=temperature_K,
        timestep_fs=3.0,
        steps=steps,
        barostat_time_fs=300.0,
        log_every=5,
        seed=int(temperature_K),
    )
    thermo = run_md(atoms, calculator, settings).thermo
    kept = slice(len(thermo["step"]) // 3, None)
    a = (thermo["cell_a_A"][kept] / repeats[0] + thermo["cell_b_A"][kept] / repeats[1]).mean() / 2
    return a, thermo["cell_c_A"][kept].mean() / repeats[2]


def main(
    output="npt_thermal_expansion.png",
    temperatures_K=(400.0, 900.0, 1400.0),
    steps=1200,
    repeats=(4, 4, 3),
    calculator=None,
):
    """Returns α_a and α_c in 1/K, and the lattice parameters in Å."""
    calculator = calculator or RuSchNet()
    hcp = relaxed_hcp(calculator)
    print(f"at rest: a = {hcp.a_A:.4f} Å, c = {hcp.c_A:.4f} Å")

    a, c = [], []
    for temperature_K in temperatures_K:
        mean_a, mean_c = lattice_parameters(hcp, temperature_K, steps, repeats, calculator)
        a.append(mean_a)
        c.append(mean_c)
        print(f"{temperature_K:6.0f} K: a = {mean_a:.4f} Å, c = {mean_c:.4f} Å")

    # Mean slope from 0 K to the highest temperature, relative to the values at rest.  Classical nuclei expand from 0 K
    # on, so the slope at 300 K is not smaller than at 1000 K, as it is in experiment.
    numbers = {"a_A": a, "c_A": c}
    for axis, values, rest in (("a", a, hcp.a_A), ("c", c, hcp.c_A)):
        T = np.array([0.0, *temperatures_K])
        strain = np.array([rest, *values]) / rest - 1
        numbers[f"alpha_{axis}_per_K"] = float((T * strain).sum() / (T**2).sum())
        print(
            f"alpha_{axis} = {numbers[f'alpha_{axis}_per_K'] * 1e6:5.2f} · 10⁻⁶/K   "
            f"(experiment at 293 K: {reference_value(f'alpha_{axis}') * 1e6:.2f}, rising with T)"
        )

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for panel, name, values, rest in zip(axes, "ac", (a, c), (hcp.a_A, hcp.c_A), strict=True):
        panel.plot([0, *temperatures_K], [rest, *values], "o", label="MD")
        panel.plot(293, reference_value(name), "k*", label="experiment, 293 K")
        panel.set(xlabel="T (K)", ylabel=f"{name} (Å)")
        panel.legend()
    figure.savefig(output, dpi=130)
    plt.close(figure)
    print(f"saved {output}")
    return numbers


if __name__ == "__main__":
    main()
