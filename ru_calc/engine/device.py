"""`DeviceEngine`: the tables of `Engine` in plain torch, on a CUDA device or any other.

Tables, folded matrices and the order of the passes (device_passes.py) are those of `Engine`.  Tests compare it on the
CPU with `Engine` and the reference, and check with fake tensors that every operation stays on the device.  It has not
yet been run on a GPU.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from ru_calc.engine.device_model import DeviceModel
from ru_calc.engine.device_passes import Passes, Totals
from ru_calc.engine.device_rows import Piece, rows_of
from ru_calc.engine.engine import BOUNDS, distinct_images
from ru_calc.errors import SettingsError
from ru_calc.predictor import WANTED, Prediction, frames_and_pairs
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs
from ru_calc.tables.packing import Packing


class _Plan(NamedTuple):
    """What one neighbour list amounts to on the device.

    Attributes:
        pairs: weak reference to the list.
        frames, shifts: (m,) and (m, 3) the distinct images in it.
        pieces: its rows.
    """

    pairs: Callable[[], NeighborPairs | None]
    frames: np.ndarray
    shifts: np.ndarray
    pieces: list[Piece]


class DeviceEngine:
    """Predictions from the same tables as `Engine`, in plain torch on any device.

    A neighbour list is sent to the device once, as long as the same `NeighborPairs` object is passed.  For a model like
    `default` it takes some 13 kB of memory for each atom, and up to 2 GB (70 MB on the CPU) for the atoms in work.

    Args:
        settings: hyper-parameters of a SchNet.
        weights: its arrays by name.
        dtype: of the network, `float32` or `float64`; positions, differences, energies and sums of forces are float64.
        device: `cuda`, `cuda:N` or `cpu`.
        intervals: of the tables; None refines them until they are as good as `dtype` can use.  A network that was
            trained with tables keeps its own.

    Raises:
        SettingsError: an unknown dtype.
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
        self._plan: _Plan | None = None
        self._zero = torch.zeros((), dtype=torch.float64, device=self.device)
        alone = self._run(*frames_and_pairs([Atoms("Ru")], None, self.cutoff_A), ("energies",))
        self._zero = float(settings["atom_energy_eV"]) - alone.energies[0]

    @property
    def cutoff_A(self) -> float:
        """Interaction range in Å."""
        return self._model.grid.cutoff_A

    def predict(
        self,
        structures: Structures | Sequence[Atoms],
        pairs: NeighborPairs | None = None,
        want: Collection[str] = WANTED,
    ) -> Prediction:
        """See `Predictor.predict`."""
        structures, pairs = frames_and_pairs(structures, pairs, self.cutoff_A)
        energies, forces, virial = (
            None if part is None else part.cpu().numpy() for part in self._run(structures, pairs, want)
        )
        frame, frames = structures.frame_of_atom, len(structures)
        stress = None
        if virial is not None:
            sums = [np.bincount(frame, column, frames) for column in virial.T]
            stress = np.stack(sums, axis=1) / structures.volumes[:, None]
        return Prediction(
            energy=np.bincount(frame, energies, frames).astype(float) if "energy" in want else None,
            energies=energies if "energies" in want else None,
            forces=forces if "forces" in want else None,
            stress=stress,
        )

    def _run(self, structures: Structures, pairs: NeighborPairs, want: Collection[str]) -> Totals:
        plan = self._plan  # another Python thread may replace it meanwhile
        if plan is None or plan.pairs() is not pairs:
            plan = self._plan = self._make_plan(structures, pairs)
        images = np.einsum("mi,mij->mj", plan.shifts, structures.cells[plan.frames])
        translations = np.concatenate([images, -images, [[2.0 * self.cutoff_A, 0.0, 0.0]]])
        x = self._send(structures.positions)
        totals = Passes(self._model).run(plan.pieces, x, self._send(translations), "forces" in want, "stress" in want)
        return totals._replace(energies=totals.energies + self._zero)

    def _make_plan(self, structures: Structures, pairs: NeighborPairs) -> _Plan:
        frames, shifts, index = distinct_images(pairs)
        pieces = rows_of(pairs, index, len(frames), structures.n_atoms, self.device)
        return _Plan(weakref.ref(pairs), frames, shifts.astype(float), pieces)

    def _send(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array)).to(self.device)
