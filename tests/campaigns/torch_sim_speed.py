"""CPU time of a step of many small systems: at once in torch-sim, and one by one with the ASE calculator.

python tests/campaigns/torch_sim_speed.py --systems 64 --steps 20
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import torch
import torch_sim
from ase import Atoms
from ase.md.verlet import VelocityVerlet
from ase.units import fs

from ru_calc import RuSchNet
from ru_calc.calculator.torch_sim import TorchSimModel
from ru_calc.structures.build import build_structure


def systems(count: int) -> list[Atoms]:
    """hcp of 8 to 32 atoms, rattled."""
    found = [build_structure("hcp", n_atoms=8 * (1 + k % 4)) for k in range(count)]
    for k, atoms in enumerate(found):
        atoms.rattle(0.05, seed=k)
    return found


def at_once(several: list[Atoms], steps: int, dtype: str) -> float:
    """Seconds of CPU time of a step of all systems."""
    model = TorchSimModel(device="cpu", dtype=dtype)
    state = torch_sim.io.atoms_to_state(several, model.device, model.dtype)
    dt, kT = torch.tensor(2 * fs, dtype=model.dtype), torch.tensor(0.02, dtype=model.dtype)
    if hasattr(torch_sim, "nve_init"):
        state, step = torch_sim.nve_init(state, model, kT=kT), partial(torch_sim.nve_step, model=model, dt=dt)
    else:  # torch-sim 0.3, which Python 3.11 gets
        begin, step = torch_sim.integrators.nve(model, dt=dt, kT=kT)
        state = begin(state)
    state = step(state)
    start = time.process_time()
    for _ in range(steps):
        state = step(state)
    return (time.process_time() - start) / steps


def one_by_one(several: list[Atoms], steps: int, dtype: str) -> float:
    """The same with ASE."""
    movers = []
    for atoms in several:
        atoms.calc = RuSchNet(device="cpu", dtype=dtype)
        movers.append(VelocityVerlet(atoms, 2 * fs))
        movers[-1].run(1)
    start = time.process_time()
    for mover in movers:
        mover.run(steps)
    return (time.process_time() - start) / steps


def main() -> None:
    """Prints the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--systems", type=int, default=64)
    options.add_argument("--steps", type=int, default=20)
    given = options.parse_args()
    torch.set_num_threads(1)
    for dtype in ("float32", "float64"):
        several = systems(given.systems)
        atoms = sum(map(len, several))
        many, single = (timed(several, given.steps, dtype) for timed in (at_once, one_by_one))
        print(
            f"{dtype}: {given.systems} systems, {atoms} atoms: a step takes {1e3 * many:.1f} ms at once, "
            f"{1e3 * single:.1f} ms one by one (ratio {single / many:.2f})"
        )


if __name__ == "__main__":
    main()
