"""Crystal phases of ruthenium, relaxed all at once by torch-sim: energies above hcp and volumes.

Run `python md_examples/torch_sim_phases.py` with the extra ru-calc[torch-sim]; it prints the results and saves a plot.
"""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch_sim

from ru_calc.calculator.torch_sim import TorchSimModel
from ru_calc.structures.build import build_structure


def main(output="torch_sim_phases.png", phases=("hcp", "dhcp", "fcc", "bcc"), steps=500, stress=1e-4):
    """Returns energies above hcp in meV per atom and volumes in Å³ per atom; the first phase must be hcp.

    `stress` in eV/Å³ is where the cells count as relaxed.
    """
    model = TorchSimModel()
    start = [build_structure(name, primitive=True) for name in phases]
    state = torch_sim.io.atoms_to_state(start, model.device, model.dtype)
    if hasattr(torch_sim, "CellFilter"):
        fire = {"optimizer": torch_sim.Optimizer.fire, "init_kwargs": {"cell_filter": torch_sim.CellFilter.frechet}}
    else:  # torch-sim 0.3, which Python 3.11 gets
        fire = {"optimizer": torch_sim.frechet_cell_fire}
    final = torch_sim.optimize(
        state,
        model,
        **fire,
        max_steps=steps,
        convergence_fn=torch_sim.generate_force_convergence_fn(force_tol=1e-3, include_cell_forces=True),
    )
    found = model(final)
    counts = torch.bincount(final.system_idx).numpy()
    energies = found["energy"].numpy() / counts
    volumes = torch.linalg.det(final.cell).abs().numpy() / counts
    left = found["stress"].abs().amax(dim=(1, 2)).numpy()
    above = 1000 * (energies - energies[0])
    for name, energy, volume, rest in zip(phases, above, volumes, left, strict=True):
        state = "" if rest < stress else f"  (stress of {rest:.2g} eV/Å³ left: more steps)"
        print(f"{name:>5}  {energy:8.1f} meV/atom  {volume:7.3f} Å³/atom{state}")

    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    axes.plot(volumes, above, "o")
    for name, volume, energy in zip(phases, volumes, above, strict=True):
        axes.annotate(name, (volume, energy), textcoords="offset points", xytext=(5, 4))
    axes.set(xlabel="volume (Å³/atom)", ylabel="energy above hcp (meV/atom)")
    figure.savefig(output, dpi=150)
    print(f"saved {output}")
    return {"energies_meV_per_atom": above, "volumes_A3_per_atom": volumes, "stress_left": np.asarray(left)}


if __name__ == "__main__":
    main()
