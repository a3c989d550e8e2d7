"""Equations of state of several crystal structures, and the elastic constants of hcp.

Run `python md_examples/eos_elastic.py`; it prints the results and saves a plot.
"""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from ru_calc import RuSchNet
from ru_calc.properties import equation_of_state, hcp_elastic_constants, reference, relaxed_hcp


def beside(symbol, value, unit):
    """Prints a line with the values of the model, our own DFT, PBE and experiment, as far as known."""
    known = [reference(symbol, level) for level in ("GPAW", "PBE", "experiment")]
    columns = "".join(f"{row.value:12.1f}" if row else f"{'':12}" for row in known)
    print(f"{symbol:12}{value:10.1f}{columns}  {unit}")


def main(output="eos_elastic.png", phases=("hcp", "dhcp", "fcc", "a15", "bcc", "sc"), points=9, calculator=None):
    """Returns moduli in GPa and energies above hcp in meV per atom."""
    calculator = calculator or RuSchNet()
    hcp = relaxed_hcp(calculator)
    constants = hcp_elastic_constants(hcp, calculator)
    fits = {name: equation_of_state(name, calculator, hcp, span=0.10, points=points) for name in phases}
    numbers = {"B": fits["hcp"].B_GPa, "B_from_constants": constants.bulk_modulus_GPa}

    print(f"a = {hcp.a_A:.4f} Å, c = {hcp.c_A:.4f} Å, V = {hcp.volume_A3:.3f} Å³/atom")
    print(f"{'':12}{'model':>10}{'GPAW':>12}{'PBE':>12}{'experiment':>12}")
    for name in ("C11", "C12", "C13", "C33", "C44"):
        numbers[name] = getattr(constants, f"{name}_GPa")
        beside(name, numbers[name], "GPa")
    beside("B", numbers["B"], f"GPa (from the elastic constants: {constants.bulk_modulus_GPa:.1f})")
    for name in phases:
        if name != "hcp":
            numbers[f"{name}-hcp"] = 1000 * (fits[name].E0_eV - fits["hcp"].E0_eV)
            beside(f"{name}-hcp", numbers[f"{name}-hcp"], f"meV/atom, at {fits[name].V0_A3:.2f} Å³/atom")

    figure, panel = plt.subplots(figsize=(6, 4.2), layout="constrained")
    for name, fit in fits.items():
        volumes = np.linspace(fit.volumes_A3[0], fit.volumes_A3[-1], 100)
        (line,) = panel.plot(volumes, fit.energy_eV(volumes), label=name)
        panel.plot(fit.volumes_A3, fit.energies_eV, ".", color=line.get_color())
    panel.set(xlabel="volume (Å³/atom)", ylabel="energy (eV/atom)", title="Birch–Murnaghan equations of state")
    panel.legend()
    figure.savefig(output, dpi=130)
    plt.close(figure)
    print(f"saved {output}")
    return numbers


if __name__ == "__main__":
    main()
