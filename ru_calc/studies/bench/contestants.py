"""What is timed of this package: the compiled engine, molecular dynamics with it, and the reference.

All are float32 on the CPU.  A contestant is prepared for one system and then asked for a number of calls at a time;
between calls the atoms move a little: no call is answered from a cache, and neighbour lists stay valid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
# Memory per atom of the engine's passes, of its plan of the neighbour list, and of that list; steps of dynamics so far,
# and rebuilds of the list among them.
FACTS = ("workspace_bytes", "plan_bytes", "list_bytes", "steps", "rebuilds")
WANTED = ("energy", "energies", "forces")


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

    def facts(self) -> dict[str, Any]:
        """After the last call, what is known beside the time, see `FACTS`."""
        return dict.fromkeys(FACTS)

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

    def facts(self) -> dict[str, Any]:
        pairs, n_atoms = self._pairs, len(self._frames[0].positions)
        assert pairs is not None
        memory = self._predictor.memory_bytes() if hasattr(self._predictor, "memory_bytes") else {}
        found = {"workspace_bytes": memory.get("workspace"), "plan_bytes": memory.get("neighbors")}
        found["list_bytes"] = sum(array.nbytes for array in (pairs.first, pairs.second, pairs.shifts, pairs.frames))
        per_atom = {name: None if size is None else size / n_atoms for name, size in found.items()}
        return super().facts() | per_atom

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

    def facts(self) -> dict[str, Any]:
        return super().facts() | {
            "steps": self._steps, "rebuilds": self._calculator.neighbor_statistics.rebuilds,
        }  # fmt: skip

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
