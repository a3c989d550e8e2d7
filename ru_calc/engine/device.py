"""`DeviceEngine`: the tables of `Engine` in plain torch, on a CUDA device or any other.

Tables, folded matrices and passes are those of `Engine`; device_passes.py has their order.  A directed list lets an
atom sum over its own row only: no atomic additions, and the same sums in the same order each time.  What an atom does
to its neighbour is left at the pair and fetched from the pair's mirror image by the last pass.

It has not run on a GPU yet.  It is checked on the CPU against `Engine` and the reference.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from ru_calc.engine.device_model import DeviceModel
from ru_calc.engine.device_neighbors import HalfPairs, rows_of
from ru_calc.engine.device_pairs import Geometry, Rows
from ru_calc.engine.device_passes import Passes, Totals
from ru_calc.engine.engine import BOUNDS
from ru_calc.errors import SettingsError
from ru_calc.predictor import WANTED, Prediction, frames_and_pairs
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs
from ru_calc.tables.packing import Packing


class _Plan(NamedTuple):
    """Rows of one list, which `pairs` gives while it exists, and memory for them."""

    pairs: Callable[[], NeighborPairs | None]
    rows: Rows
    near: Geometry


class DeviceEngine:
    """Predictions from the same tables as `Engine`, in plain torch on any device.

    A list of pairs is sent to the device once, while the same `NeighborPairs` object comes back.

    Args:
        settings: hyper-parameters of a SchNet.
        weights: its arrays by name.
        dtype: of the network, `float32` or `float64`; positions, differences, energies and sums of forces are float64.
        device: `cuda`, `cuda:N` or `cpu`.
        intervals: of the tables; None refines them until they are as good as `dtype` can use.  A network that was
            trained with tables keeps its own.

    Raises:
        SettingsError: a dtype that does not exist.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        weights: Mapping[str, np.ndarray],
        dtype: str = "float32",
        device: str = "cuda",
        intervals: int | None = None,
    ) -> None:
        if dtype not in BOUNDS:
            raise SettingsError(f"dtype is {dtype!r}; choose one of {', '.join(BOUNDS)}")
        self.dtype, self.device = dtype, torch.device(device)
        packing = Packing(settings, weights)
        self.intervals = packing.choose_intervals(intervals, BOUNDS[dtype])
        self._model = DeviceModel(packing.arrays(self.intervals), getattr(torch, dtype), self.device)
        self._passes = Passes(self._model)
        self._plan: _Plan | None = None
        self._busy = Lock()
        self._zero = 0.0
        alone = self.predict(Structures.from_atoms(Atoms("Ru")), None, ("energies",))
        self._zero = float(settings["atom_energy_eV"]) - float(alone.energies[0])

    @property
    def cutoff_A(self) -> float:
        """Interaction range in Å."""
        return self._model.grid.cutoff

    def predict(
        self,
        structures: Structures | Sequence[Atoms],
        pairs: NeighborPairs | None = None,
        want: Collection[str] = WANTED,
    ) -> Prediction:
        """See `Predictor.predict`."""
        structures, pairs = frames_and_pairs(structures, pairs, self.cutoff_A)
        if structures.n_atoms == 0:
            return _nothing(structures, want)
        with self._busy:
            plan = self._planned(structures, pairs)
            cells, x = self._send(structures.cells), self._send(structures.positions)
            totals = self._run(plan.rows, plan.near, x, plan.rows.translations(cells), want)
            return _prediction(totals, structures, want)

    def _run(self, rows: Rows, near: Geometry, x: Tensor, translations: Tensor, want: Collection[str]) -> Totals:
        totals = self._passes.run(rows, near, x, translations, "forces" in want, "stress" in want)
        return totals._replace(energies=totals.energies + self._zero)

    def _planned(self, structures: Structures, pairs: NeighborPairs) -> _Plan:
        if self._plan is None or self._plan.pairs() is not pairs:
            found, frames = self._sent(pairs)
            rows = rows_of(found, frames, structures.n_atoms)
            near = Geometry(rows, self._model.dtype, self._model.angular is not None)
            self._plan = _Plan(weakref.ref(pairs), rows, near)
        return self._plan

    def _sent(self, pairs: NeighborPairs) -> tuple[HalfPairs, Tensor]:
        first, second, shifts, frames = (
            self._send(part).long() for part in (pairs.first, pairs.second, pairs.shifts, pairs.frames)
        )
        return HalfPairs(first, second, shifts), frames

    def _send(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array)).to(self.device)


def _prediction(totals: Totals, structures: Structures, want: Collection[str]) -> Prediction:
    def by_frame(values: Tensor) -> np.ndarray:
        parts = values.split(structures.counts.tolist())
        return torch.stack([part.sum(dim=0) for part in parts]).cpu().numpy()

    stress = None if totals.virial is None else by_frame(totals.virial) / structures.volumes[:, None]
    return Prediction(
        energy=by_frame(totals.energies) if "energy" in want else None,
        energies=totals.energies.cpu().numpy() if "energies" in want else None,
        forces=None if totals.forces is None or "forces" not in want else totals.forces.cpu().numpy(),
        stress=stress,
    )


def _nothing(structures: Structures, want: Collection[str]) -> Prediction:
    frames = len(structures)
    shapes = {"energy": (frames,), "energies": (0,), "forces": (0, 3), "stress": (frames, 6)}
    return Prediction(**{name: np.zeros(shape) for name, shape in shapes.items() if name in want})
