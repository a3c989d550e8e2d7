"""How fast a calculator is: CPU time of steps, and how often its neighbour list was found anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ru_calc.devices import Times

if TYPE_CHECKING:
    from ase import Atoms
    from ase.md.verlet import VelocityVerlet

TEMPERATURE_K, TIMESTEP_FS = 300.0, 2.0


@dataclass(frozen=True)
class Throughput:
    """Speed of molecular dynamics with a calculator, all of it included.

    With several threads their CPU time counts together; on a CUDA device it is the time of the host.

    Attributes:
        atom_steps_per_second: atoms times steps per second of CPU time.
        microseconds_per_atom_step: CPU time in µs of one step, per atom.
        n_atoms: atoms in the measured system.
        engine: what evaluated the network, `compiled` or `reference`.
    """

    atom_steps_per_second: float
    microseconds_per_atom_step: float
    n_atoms: int
    engine: str

    @classmethod
    def of(cls, times: Times, n_atoms: int, steps: int, engine: str) -> Throughput:
        """From the times of `steps` steps."""
        microseconds = 1e6 * times.cpu_s / (n_atoms * steps)
        return cls(1e6 / microseconds, microseconds, n_atoms, engine)


@dataclass(frozen=True)
class NeighborStatistics:
    """What a neighbour list with a skin has done.

    Attributes:
        calls: evaluations that it served.
        rebuilds: how often it had to be found again after it was first made.
    """

    calls: int
    rebuilds: int


def dynamics(atoms: Atoms) -> VelocityVerlet:
    """ASE's `VelocityVerlet` of 2 fs over the atoms, one step done: lists are made and the workspace is there.

    The atoms move in place; if they are at rest they first get velocities of 300 K, always the same.
    """
    import numpy as np
    from ase import units
    from ase.md.velocitydistribution import thermalize_momenta
    from ase.md.verlet import VelocityVerlet

    if not atoms.get_momenta().any():
        thermalize_momenta(atoms, TEMPERATURE_K, rng=np.random.default_rng(0))
    mover = VelocityVerlet(atoms, TIMESTEP_FS * units.fs)
    mover.run(1)
    return mover
