"""Melting and crystallisation of a ruthenium nanoparticle: caloric curve, mobility and bond order.

The particle is heated above its melting point, which is lower than that of the bulk, and cooled again.  At rates of
about 10¹³ K/s both transitions are delayed, so the plot shows a hysteresis.  With the default length (160 ps, a minute
on one core) the particle melts and crystallises; with a tenth of the steps it stays a glass.

Run `python md_examples/nanoparticle_melting.py`; it prints the results and saves a plot.
"""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from ru_calc import RuSchNet
from ru_calc.md import MDSettings, run_md
from ru_calc.properties import bond_fractions, lindemann_index, reference_value
from ru_calc.structures.build import build_structure


def ramp(atoms, calculator, start_K, end_K, steps, windows=12):
    """Heats or cools `atoms` in place.  Returns rows of T, potential energy, Lindemann index and bonds per window."""
    frames, rows = [], []
    settings = MDSettings(
        ensemble="nvt-bussi",
        temperature_K=start_K,
        temperature_end_K=end_K,
        timestep_fs=4.0,
        steps=steps,
        log_every=max(steps // (10 * windows), 1),
    )
    result = run_md(atoms, calculator, settings, report=lambda row, speed: frames.append(atoms.copy()))
    for chunk in np.array_split(np.arange(len(frames)), windows):
        fractions = bond_fractions(frames[chunk[-1]])
        rows.append(
            (
                result.thermo["temperature_K"][chunk].mean(),
                result.thermo["potential_eV_per_atom"][chunk].mean(),
                lindemann_index([frames[k].positions for k in chunk]),
                fractions["close_packed"],
                fractions["fivefold"],
            )
        )
    return np.array(rows)


def main(output="nanoparticle_melting.png", n_atoms=57, hottest_K=2400.0, steps=40000, calculator=None):
    """Heats for a third of the steps, then cools fast to 1300 K and slowly to 700 K, where the particle crystallises.

    Returns the order before heating, at the highest temperature and after cooling.
    """
    calculator = calculator or RuSchNet()
    atoms = build_structure("sphere", n_atoms=n_atoms)
    atoms.center(vacuum=12.0)
    before = bond_fractions(atoms)

    heating = ramp(atoms, calculator, 300.0, hottest_K, steps // 3)
    liquid = bond_fractions(atoms)
    quench = ramp(atoms, calculator, hottest_K, 1300.0, steps // 6, windows=4)
    cooling = np.concatenate([quench, ramp(atoms, calculator, 1300.0, 700.0, steps // 2)])
    run_md(atoms, calculator, MDSettings(temperature_K=300.0, steps=steps // 60))
    after = bond_fractions(atoms)

    numbers = {
        "atoms": len(atoms),
        "close_packed_before": before["close_packed"],
        "close_packed_liquid": liquid["close_packed"],
        "close_packed_after": after["close_packed"],
        "lindemann_cold": heating[0, 2],
        "lindemann_hot": heating[-1, 2],
        "melting_K": steepest_K(heating),
    }
    print(f"{len(atoms)} atoms            before   liquid   after")
    for name in ("close_packed", "fivefold"):
        print(f"{name:14s} bonds  {before[name]:6.2f}   {liquid[name]:6.2f}  {after[name]:6.2f}")
    print(
        f"Lindemann index: {heating[0, 2]:.3f} at {heating[0, 0]:.0f} K, {heating[-1, 2]:.3f} at {heating[-1, 0]:.0f} K"
    )
    print(
        f"steepest rise of energy: {numbers['melting_K']:.0f} K on heating (the bulk melts at "
        f"{reference_value('T_melt'):.0f} K)"
    )

    figure, panels = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    labels = ("potential energy (eV/atom)", "Lindemann index", "fraction of close-packed bonds")
    for panel, column, label in zip(panels, (1, 2, 3), labels, strict=True):
        panel.plot(heating[:, 0], heating[:, column], "r.-", label="heating")
        panel.plot(cooling[:, 0], cooling[:, column], "b.-", label="cooling")
        panel.set(xlabel="T (K)", ylabel=label)
        panel.legend()
    figure.savefig(output, dpi=130)
    plt.close(figure)
    print(f"saved {output}")
    return numbers


def steepest_K(rows):
    """Temperature at which the potential energy rises fastest."""
    order = np.argsort(rows[:, 0])
    T, energy = rows[order, 0], rows[order, 1]
    width = max(len(T) // 5, 1)
    slopes = (energy[width:] - energy[:-width]) / np.maximum(T[width:] - T[:-width], 1.0)
    k = int(np.argmax(slopes))
    return float((T[k] + T[k + width]) / 2)


if __name__ == "__main__":
    main()
