"""Speed of a calculator: CPU time per step, and rebuilds of its neighbour list."""

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
    """Speed of molecular dynamics with a calculator, everything included.

    CPU time is summed over threads; with a CUDA device it is that of the host.

    Attributes:
        atom_steps_per_second: atoms times steps per second of CPU time.
        microseconds_per_atom_step: CPU time in µs per atom and step.
        engine: `compiled` or `reference`.
    """

    atom_steps_per_second: float
    microseconds_per_atom_step: float
    n_atoms: int
    engine: str

    @classmethod
    def of(cls, times: Times, n_atoms: int, steps: int, engine: str) -> Throughput:
        """From the time of a number of steps."""
        microseconds = 1e6 * times.cpu_s / (n_atoms * steps)
        return cls(1e6 / microseconds, microseconds, n_atoms, engine)


@dataclass(frozen=True)
class NeighborStatistics:
    """Evaluations with a neighbour list, and its rebuilds after the first build."""

    calls: int
    rebuilds: int


def dynamics(atoms: Atoms) -> VelocityVerlet:
    """ASE's `VelocityVerlet` with a time step of 2 fs, one step done so that lists and workspace exist.

    The atoms move in place; atoms at rest first get velocities of 300 K, always the same.
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
