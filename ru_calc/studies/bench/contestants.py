"""What is timed of this package: the compiled engine, molecular dynamics with it, and the reference.

All are float32 on the CPU.  A contestant is prepared for one system and then asked for a number of calls at a time;
between calls the atoms move a little: no call is answered from a cache, and neighbour lists stay valid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ru_calc.calculator import RuCalculator
from ru_calc.calculator.speed import dynamics
from ru_calc.modelfiles import open_model
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs, VerletList

SKIN_A = 1.0
SWING_A = 0.01
FORCE_CALL, MD_STEP = "force call", "MD step"
MEMORY = ("workspace_bytes", "plan_bytes", "list_bytes")
WANTED = ("energy", "energies", "forces")


@dataclass(frozen=True)
class Facts:
    """What is known of force calls beside their time; None where it is not.

    Attributes:
        workspace_bytes, plan_bytes: memory of the engine's passes, and of its plan of the neighbour list.
        list_bytes: memory of the neighbour list itself.
        steps, rebuilds: steps of dynamics so far, and rebuilds of the neighbour list among them.
    """

    workspace_bytes: int | None = None
    plan_bytes: int | None = None
    list_bytes: int | None = None
    steps: int | None = None
    rebuilds: int | None = None

    def record(self, n_atoms: float, cpu_us: float) -> dict[str, Any]:
        """As plain values, memory per atom."""
        memory = {name: getattr(self, name) for name in MEMORY}
        per_atom = {name: None if size is None else size / n_atoms for name, size in memory.items()}
        return {**per_atom, "steps": self.steps, "rebuilds": self.rebuilds}


@dataclass(frozen=True)
class StepFacts:
    """What is known of training beside its time.

    Attributes:
        network: that is trained.
        epoch_batches: steps of an epoch.
        peak_bytes: memory of the process, data and libraries included; None where the system does not tell.
    """

    network: str
    epoch_batches: int
    peak_bytes: float | None = None

    def record(self, n_atoms: float, cpu_us: float) -> dict[str, Any]:
        """As plain values, with the CPU time of a batch and of all steps of an epoch."""
        batch_ms = cpu_us * n_atoms / 1e3
        return {
            "network": self.network, "batch_ms": batch_ms, "epoch_s": batch_ms * self.epoch_batches / 1e3,
            "peak_bytes": self.peak_bytes,
        }  # fmt: skip


class Contestant:
    """One way to the forces on atoms.

    Attributes:
        name: in the table.
        per: what one call is, a force call or a step of dynamics.
        threaded: it can use more than one thread.
    """

    name: str
    per = FORCE_CALL
    threaded = True

    def prepare(self, atoms: Atoms) -> None:
        """Makes everything ready for copies of these atoms, neighbour lists included."""
        raise NotImplementedError

    def run(self, calls: int) -> None:
        """That many calls."""
        raise NotImplementedError

    def facts(self) -> Facts | StepFacts:
        """After the last call."""
        return Facts()

    def clear(self) -> None:
        """Releases what `prepare` made."""


class Swing:
    """Atoms that move to and fro between two places at most 0.01 Å apart."""

    def __init__(self, positions: np.ndarray) -> None:
        self.places = (positions, positions + np.random.default_rng(1).uniform(-SWING_A, SWING_A, positions.shape))
        self._next = 0

    def move(self) -> np.ndarray:
        """The next positions."""
        self._next = 1 - self._next
        return self.places[self._next]


class PredictorCalls(Contestant):
    """Energies and forces from a predictor of this package, with a valid Verlet list of 1 Å skin."""

    def __init__(self, model: str, engine: str, threads: int) -> None:
        self.name = f"{'engine' if engine == 'compiled' else 'reference'} {label(model)}"
        self._predictor: Any = open_model(model, "float32", "cpu", threads, engine).predictor
        self._pairs: NeighborPairs | None = None

    def prepare(self, atoms: Atoms) -> None:
        finder = VerletList(self._predictor.cutoff_A, SKIN_A)
        structures, self._pairs = finder.update(Structures.from_atoms(atoms))
        self._frames = [replace(structures, positions=place) for place in Swing(structures.positions).places]

    def run(self, calls: int) -> None:
        for call in range(calls):
            self._predictor.predict(self._frames[call % 2], self._pairs, WANTED)

    def facts(self) -> Facts:
        assert self._pairs is not None
        memory = self._predictor.memory_bytes() if hasattr(self._predictor, "memory_bytes") else {}
        pairs = self._pairs
        size = sum(array.nbytes for array in (pairs.first, pairs.second, pairs.shifts, pairs.frames))
        return Facts(memory.get("workspace"), memory.get("neighbors"), size)

    def clear(self) -> None:
        self._pairs, self._frames = None, []


class Dynamics(Contestant):
    """ASE's `VelocityVerlet` with `RuCalculator`: whole steps, from 300 K at 2 fs."""

    per = MD_STEP

    def __init__(self, model: str, threads: int) -> None:
        self.name = f"ASE MD, engine {label(model)}"
        self._settings: dict[str, Any] = {"model": model, "device": "cpu", "threads": threads, "engine": "compiled"}

    def prepare(self, atoms: Atoms) -> None:
        moved = atoms.copy()
        moved.calc = self._calculator = RuCalculator(**self._settings)
        self._mover, self._steps = dynamics(moved), 1

    def run(self, calls: int) -> None:
        self._mover.run(calls)
        self._steps += calls

    def facts(self) -> Facts:
        return Facts(steps=self._steps, rebuilds=self._calculator.neighbor_statistics.rebuilds)

    def clear(self) -> None:
        del self._mover, self._calculator


class CalculatorCalls(Contestant):
    """Forces from any ASE calculator, through `Atoms.get_forces`.

    Args:
        name: in the table.
        make: makes the calculator; called at each size.
        threaded: it can use more than one thread.
        adapt: turns the ruthenium atoms into those that the calculator takes.
    """

    def __init__(
        self, name: str, make: Callable[[], Any], threaded: bool, adapt: Callable[[Atoms], Atoms] = Atoms.copy
    ) -> None:
        self.name, self.threaded, self._make, self._adapt = name, threaded, make, adapt

    def prepare(self, atoms: Atoms) -> None:
        self._atoms = self._adapt(atoms)
        self._atoms.calc, self._swing = self._make(), Swing(self._atoms.get_positions())
        self.run(1)

    def run(self, calls: int) -> None:
        for _ in range(calls):
            self._atoms.set_positions(self._swing.move())
            self._atoms.get_forces()

    def clear(self) -> None:
        del self._atoms


def label(model: str) -> str:
    """A model's name; of a file, without its folder and suffix."""
    return Path(model).stem if model.endswith(".safetensors") else model
