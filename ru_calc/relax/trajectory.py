"""Trajectories of relaxations: ASE's own, with all that a restart needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.jsonio import decode, encode
from ase.io.trajectory import Trajectory

from ru_calc.errors import DataError
from ru_calc.files import whole_file
from ru_calc.relax.settings import RelaxSettings

SCHEMA = "ru-calc relaxation 1"
RESET_EVERY = 10
KEPT = ("energy", "free_energy", "forces", "stress")
# Arrays that ASE's trajectories hold by themselves.
OWN_ARRAYS = ("numbers", "positions", "tags", "momenta", "masses", "initial_magmoms", "initial_charges")
SAME_A = 1e-6  # an optimiser on another machine may differ in the last digits


class Recorded(Calculator):
    """Stands before a calculator: gives first what a trajectory holds, and then what the calculator finds.

    The calculator is reset every `RESET_EVERY` geometries, as in a run that was restarted there.
    """

    def __init__(self, calculator: BaseCalculator, frames: Sequence[Atoms] = ()) -> None:
        super().__init__()
        self.calculator, self.frames, self.count = calculator, frames, 0
        self.implemented_properties = list(calculator.implemented_properties)

    @property
    def replaying(self) -> bool:
        """Whether the present geometry is one of the trajectory."""
        return self.count <= len(self.frames)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Called by ASE.

        Raises:
            DataError: the optimiser does not come through the geometries of the trajectory.
        """
        super().calculate(atoms, properties, system_changes)
        if system_changes:
            self.count += 1
        if self.replaying:
            self.results = self._stored(self.frames[self.count - 1])
            return
        if system_changes and (self.count - 1) % RESET_EVERY == 0 and hasattr(self.calculator, "reset"):
            self.calculator.reset()
        found = {name: self.calculator.get_property(name, self.atoms) for name in properties}
        more = getattr(self.calculator, "results", {})
        self.results |= {name: more[name] for name in KEPT if name in more} | found

    def _stored(self, frame: Atoms) -> dict[str, Any]:
        for mine, its in ((self.atoms.positions, frame.positions), (self.atoms.cell.array, frame.cell.array)):
            if not np.allclose(mine, its, rtol=0, atol=SAME_A):
                raise DataError(
                    f"step {self.count - 1} of the trajectory is not what the optimiser of this version of ASE does; "
                    "start a new relaxation from the last geometry"
                )
        return dict(frame.calc.results)


class RelaxTrajectory:
    """An ASE trajectory that grows by a geometry at a time; `frames` are its first ones."""

    def __init__(
        self,
        path: Path,
        atoms: Atoms,
        settings: RelaxSettings,
        origin: Mapping[str, str],
        frames: Sequence[Atoms] = (),
    ) -> None:
        arrays = {name: array for name, array in atoms.arrays.items() if name not in OWN_ARRAYS}
        self.about = {
            "schema": SCHEMA, "settings": dataclasses.asdict(settings), "origin": dict(origin),
            "arrays": encode(arrays),
        }  # fmt: skip
        self.path = path
        self._file: Any = None
        if frames:
            self._begin(frames)

    def _begin(self, frames: Sequence[Atoms]) -> None:
        with whole_file(self.path) as temporary, Trajectory(str(temporary), "w") as new:
            new.set_description(self.about)
            for frame in frames:
                new.write(frame)
        self._file = Trajectory(str(self.path), "a")

    def append(self, atoms: Atoms, results: Mapping[str, Any]) -> None:
        """Adds a geometry with its raw energy, forces and stress."""
        frame = _frame(atoms, results)
        if self._file is None:
            self._begin([frame])
        else:
            self._file.write(frame)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()


def _frame(atoms: Atoms, results: Mapping[str, Any]) -> Atoms:
    frame = atoms.copy()
    frame.info = {}
    frame.calc = SinglePointCalculator(frame, **{name: results[name] for name in KEPT if name in results})
    return frame


@dataclass(frozen=True)
class SavedRelaxation:
    """What a trajectory tells of its relaxation: `frames` with raw labels, settings, and the caller's `origin`."""

    frames: list[Atoms]
    settings: RelaxSettings
    origin: dict[str, str]
    arrays: dict[str, np.ndarray]

    @property
    def kept(self) -> int:
        """Number of geometries up to the last reset of the calculator."""
        return len(self.frames) // RESET_EVERY * RESET_EVERY

    def start(self) -> Atoms:
        """The atoms before the first step."""
        atoms = self.frames[0].copy()
        for name, array in self.arrays.items():
            atoms.set_array(name, array)
        return atoms


def read_relaxation(path: Path) -> SavedRelaxation:
    """The relaxation of a trajectory.

    Raises:
        DataError: the file is missing, damaged or of another program.
    """
    if not path.is_file():
        raise DataError(f"there is no trajectory {path}: give that of an earlier relaxation")
    try:
        with Trajectory(str(path)) as file:
            about = file.description
            if about.get("schema") != SCHEMA:
                raise ValueError(f"its schema is {about.get('schema')!r}")
            settings = RelaxSettings(**about["settings"])
            return SavedRelaxation(list(file), settings, dict(about["origin"]), decode(about["arrays"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError) as problem:
        raise DataError(f"{path} is damaged or from another program ({problem}); start a new relaxation") from problem


def steps_done(path: Path) -> int | None:
    """Steps in a trajectory of a relaxation; None if there is no usable one."""
    try:
        return len(read_relaxation(path).frames) - 1
    except DataError:
        return None
