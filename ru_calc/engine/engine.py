"""`Engine`: a SchNet evaluated from tables by compiled code; see packing.py for the tables, src/ for the passes."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from ru_calc import kernels
from ru_calc.devices import chosen
from ru_calc.errors import SettingsError, require
from ru_calc.predictor import WANTED, Prediction, frames_and_pairs
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs
from ru_calc.tables.packing import Packing
from ru_calc.tables.splines import refine
from ru_calc.tables.uncertainty import Uncertainty, no_uncertainty

# Largest relative error of value and slope of a table: small beside rounding in float32, and beside what finite
# differences of forces need in float64.  Finer tables are slower, since fewer of their rows stay in the cache.
BOUNDS = {"float32": (1e-6, 2e-5), "float64": (2e-12, 2e-10)}
MOST_IMAGES = 10_000_000


class Plan(NamedTuple):
    """What one neighbour list amounts to, for the passes.

    Attributes:
        pairs: weak reference to the list, which is large and belongs to the caller.
        frames, shifts: (m,) and (m, 3) the distinct images in it.
        prepared: on the CPU atoms in a local order, pairs by thread, see src/inference/plan.hpp; on a device rows.
    """

    pairs: Callable[[], NeighborPairs | None]
    frames: np.ndarray
    shifts: np.ndarray
    prepared: Any


class Evaluated(NamedTuple):
    """Energies (n,) and, where wanted, forces (n, 3), virial (f, 6) and squares |P φ − o|² (n,) of `Uncertainty`.

    And, for stresses, `virials` (n, 6) of the atoms in eV: half of what each pair adds at either end.
    """

    energies: np.ndarray
    forces: np.ndarray | None
    virial: np.ndarray | None
    squares: np.ndarray | None
    virials: np.ndarray | None = None


class TableEngine:
    """What the engines on the CPU and on a device share: tables, plans of neighbour lists, sums over frames.

    The plan of a neighbour list is reused as long as the same `NeighborPairs` object is passed, so that a Verlet list
    costs nothing while it is valid.
    """

    _model: Any

    def __init__(
        self, settings: Mapping[str, Any], weights: Mapping[str, np.ndarray], dtype: str, intervals: int | None
    ) -> None:
        self.dtype = chosen("dtype", dtype, BOUNDS)
        packing = Packing(settings, weights)
        self.cutoff_A = packing.cutoff_A
        self.intervals = table_intervals(packing, dtype, intervals)
        self._plan: Plan | None = None
        self.uncertainty = Uncertainty.among(weights)
        self._load(packing.arrays(self.intervals))
        # A lone atom has exactly the energy of an isolated atom, in this precision.
        self._set_zero(0.0)
        alone = self.predict([Atoms("Ru")], None, ("energies",))
        self._set_zero(float(settings["atom_energy_eV"]) - float(alone.energies[0]))

    # Each engine loads the arrays of `Packing`, sets what is added to the energy of each atom, and prepares a list with
    # the index of each pair's image.  It evaluates with translations (m, 3) in Å what is wanted, beside energies (n,).
    _load: Callable[[dict[str, Any]], None]
    _set_zero: Callable[[float], None]
    _prepare: Callable[[Structures, NeighborPairs, np.ndarray, int], Any]
    _evaluate: Callable[[Any, Structures, np.ndarray, Collection[str]], Evaluated]

    def predict(
        self,
        structures: Structures | Sequence[Atoms],
        pairs: NeighborPairs | None = None,
        want: Collection[str] = WANTED,
    ) -> Prediction:
        """See `Predictor.predict`."""
        if "uncertainty" in want and self.uncertainty is None:
            raise no_uncertainty()
        structures, pairs = frames_and_pairs(structures, pairs, self.cutoff_A)
        plan = self._plan  # another Python thread may replace it meanwhile
        if plan is None or plan.pairs() is not pairs:
            frames, shifts, index = distinct_images(pairs)
            prepared = self._prepare(structures, pairs, index, len(frames))
            plan = self._plan = Plan(weakref.ref(pairs), frames, shifts.astype(float), prepared)
        images = np.einsum("mi,mij->mj", plan.shifts, structures.cells[plan.frames])
        energies, forces, virial, squares, virials = self._evaluate(plan.prepared, structures, images, want)
        energy = np.bincount(structures.frame_of_atom, energies, len(structures))
        return Prediction(
            energy=energy.astype(float) if "energy" in want else None,  # of no atoms it would be integers
            energies=energies if "energies" in want else None,
            forces=forces if "forces" in want else None,
            stress=None if virial is None else virial / structures.volumes[:, None],
            stresses=None if virials is None else virials / structures.volumes[structures.frame_of_atom, None],
            uncertainty=None if squares is None or self.uncertainty is None else self.uncertainty.of(squares),
        )


class Engine(TableEngine):
    """Predictions at a few µs per atom; equal to `Reference` within the rounding of `dtype`.

    For the same atoms and number of threads results are identical to the last bit, no matter when the neighbour list
    was made.  More than 8000 atoms in random order are sorted in space first, and their results then depend on when
    that was done.

    Args:
        settings: hyper-parameters of a SchNet.
        weights: its arrays by name.
        dtype: of the network, `float32` or `float64`; positions, energies and sums over pairs are float64.
        threads: CPU threads; fewer are used for less than 64 atoms each.
        intervals: of the tables; None refines them until they are as good as `dtype` can use.  A network that was
            trained with tables keeps its own.
        kernel: the compiled module; None takes the fastest that runs here.

    Raises:
        SettingsError: an unknown dtype, fewer than one thread, or no compiled module.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        weights: Mapping[str, np.ndarray],
        dtype: str = "float32",
        threads: int = 1,
        intervals: int | None = None,
        kernel: ModuleType | None = None,
    ) -> None:
        require(threads >= 1, "threads", threads, "1 or more")
        kernel = kernel or kernels.fastest()
        if kernel is None:
            raise SettingsError(
                "the compiled engine is missing, because it could not be built at installation; install a C++20 "
                "compiler and reinstall ru-calc, or use the reference path"
            )
        self._kernel, self.threads = kernel, int(threads)
        super().__init__(settings, weights, dtype, intervals)

    def _load(self, arrays: dict[str, Any]) -> None:
        self._bits, self._directed = 8 * np.dtype(self.dtype).itemsize, bool(arrays["angular"])
        self._model = self._kernel.model(arrays, self._bits)
        self._workspace = self._kernel.workspace(self._bits)

    def _set_zero(self, energy_eV: float) -> None:
        self._kernel.set_zero(self._bits, self._model, energy_eV)

    def _prepare(self, structures: Structures, pairs: NeighborPairs, image: np.ndarray, images: int) -> Any:
        return self._kernel.plan(
            np.ascontiguousarray(pairs.first), np.ascontiguousarray(pairs.second), image,
            np.ascontiguousarray(structures.positions), structures.frame_of_atom, len(structures), self.threads,
            self._directed, self.cutoff_A,
        )  # fmt: skip

    def _evaluate(self, prepared: Any, structures: Structures, images: np.ndarray, want: Collection[str]) -> Evaluated:
        positions = np.ascontiguousarray(structures.positions)
        found = Evaluated(
            np.empty(structures.n_atoms),
            np.empty((structures.n_atoms, 3)) if "forces" in want else None,
            np.empty((len(structures), 6)) if "stress" in want else None,
            np.empty(structures.n_atoms) if "uncertainty" in want else None,
            np.empty((structures.n_atoms, 6)) if "stresses" in want else None,
        )
        self._kernel.evaluate(self._bits, self._model, self._workspace, prepared, positions, images, *found)
        return found

    def memory_bytes(self) -> dict[str, int]:
        """Bytes held after the last evaluation: the `workspace` of the passes and the `neighbors` of the plan."""
        assert self._plan is not None  # since the lone atom of the constructor
        workspace, plan = self._kernel.memory(self._bits, self._workspace, self._plan.prepared)
        return {"workspace": workspace, "neighbors": plan}


def table_intervals(packing: Packing, dtype: str, wanted: int | None = None) -> int:
    """Intervals of the tables: those of the training, else those wanted, else as many as `dtype` can use."""
    functions = list(packing.functions.values())
    return packing.intervals or wanted or refine(functions, packing.cutoff_A, BOUNDS[dtype])


def distinct_images(pairs: NeighborPairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames (m,) and shifts (m, 3) of the images that occur, sorted, and for each pair the index of its image."""
    low, high = (f(pairs.shifts, axis=0, initial=0).astype(np.int64) for f in (np.min, np.max))
    spans = [int(pairs.frames.max(initial=0)) + 1, *(int(n) + 1 for n in high - low)]
    if math.prod(spans) > MOST_IMAGES:  # atoms many cells apart
        rows = np.column_stack([pairs.frames, pairs.shifts])
        distinct, index = np.unique(rows, axis=0, return_inverse=True)
        return distinct[:, 0], distinct[:, 1:], np.ascontiguousarray(index.ravel(), dtype=np.int64)
    key = pairs.frames.astype(np.int64)
    for axis in range(3):
        key *= spans[1 + axis]
        key += pairs.shifts[:, axis] - low[axis]
    there = np.bincount(key, minlength=1) > 0
    frames, *shifts = np.unravel_index(np.flatnonzero(there), spans)
    return frames, np.stack(shifts, axis=1) + low, (np.cumsum(there) - 1)[key]
