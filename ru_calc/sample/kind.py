"""What a kind of structure is: a name, the cases it goes through, and how one frame is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from ase import Atoms

from ru_calc.structures.build import HCP_A_A, HCP_C_A

HCP_VOLUME_A3 = math.sqrt(3) / 4 * HCP_A_A**2 * HCP_C_A
COMPRESSED_A = 1.6
T = TypeVar("T")


@dataclass(frozen=True)
class Draw:
    """Which frame of its kind is to be made.

    Attributes:
        turn, turns: number of this frame among those of its case, and how many there are.
        rng: of this frame alone.
        vacuum_A: between a slab or cluster and its image.
    """

    turn: int
    turns: int
    rng: np.random.Generator
    vacuum_A: float

    def along(self, low: float, high: float) -> float:
        """This frame's point of an even scan that includes both ends."""
        return low + (high - low) * (self.turn / (self.turns - 1) if self.turns > 1 else 0.5)

    def between(self, low: float, high: float) -> float:
        """A random number."""
        return float(self.rng.uniform(low, high))

    def of(self, options: Sequence[T]) -> T:
        """The options one after the other."""
        return options[self.turn % len(options)]


@dataclass(frozen=True)
class Case:
    """One variant of a kind: the number of atoms, and what `Kind.make` needs to know."""

    atoms: int
    what: Any = None


@dataclass(frozen=True)
class Kind:
    """A kind of structure.

    Attributes:
        name: also the `config_type` of its frames.
        makes: what it makes, in words.
        count: frames by default.
        cases: frame k is of case k modulo their number.
        make: frame of a case's `what`; `info` may tell its parameters.
        boundary: `bulk`, `slab` (the normal is the third vector) or `cluster`, as labels need to know.
        nearest_A: its own limit of the nearest distance; None takes that of the settings.
        scan: its frames of one case are near each other, and a split keeps them together.
    """

    name: str
    makes: str
    count: int
    cases: tuple[Case, ...]
    make: Callable[[Any, Draw], Atoms]
    boundary: str = "bulk"
    nearest_A: float | None = None
    scan: bool = False

    def within(self, max_atoms: int) -> tuple[Case, ...]:
        """The cases of at most so many atoms."""
        return tuple(case for case in self.cases if case.atoms <= max_atoms)

    @property
    def fewest(self) -> int:
        return min(case.atoms for case in self.cases)

    @property
    def most(self) -> int:
        return max(case.atoms for case in self.cases)


def rattled(atoms: Atoms, amplitude_A: float, draw: Draw) -> Atoms:
    """Every coordinate displaced by a normal random number of this width in Å, which `info["amp"]` keeps."""
    atoms.positions += draw.rng.normal(scale=amplitude_A, size=atoms.positions.shape)
    atoms.info["amp"] = amplitude_A
    return atoms


def strained(atoms: Atoms, width: float, draw: Draw) -> Atoms:
    """The cell and its atoms under a random symmetric strain whose components have this width."""
    strain = draw.rng.normal(scale=width, size=(3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    return atoms


def scaled_to(atoms: Atoms, ratio: float) -> Atoms:
    """Cell and atoms scaled to `ratio` times the volume; `info["v"]` keeps it."""
    atoms.set_cell(atoms.cell.array * ratio ** (1 / 3), scale_atoms=True)
    atoms.info["v"] = round(ratio, 4)
    return atoms
