"""`DeviceEngine`: the tables of `Engine` in plain torch, on a CUDA device or any other.

Tables, folded matrices and the order of the passes (device_passes.py) are those of `Engine`.  Tests compare it on the
CPU with `Engine` and the reference, and check with fake tensors that every operation stays on the device.  It has not
yet been run on a GPU.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch

from ru_calc.engine.device_model import DeviceModel
from ru_calc.engine.device_passes import Passes
from ru_calc.engine.device_rows import Piece, rows_of
from ru_calc.engine.engine import Evaluated, TableEngine
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs


class DeviceEngine(TableEngine):
    """Predictions from the same tables as `Engine`, in plain torch on any device.

    A neighbour list is sent to the device once.  For a model like `default` it takes some 13 kB of memory for each
    atom, and up to 2 GB (70 MB on the CPU) for the atoms in work.

    Args:
        settings, weights, intervals: see `Engine`.
        dtype: of the network, `float32` or `float64`; positions, differences, energies and sums of forces are float64.
        device: `cuda`, `cuda:N` or `cpu`.

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
        self.device = torch.device(device)
        super().__init__(settings, weights, dtype, intervals)

    def _load(self, arrays: dict[str, Any]) -> None:
        self._model = DeviceModel(arrays, getattr(torch, self.dtype), self.device)

    def _set_zero(self, energy_eV: float) -> None:
        self._zero = energy_eV

    def _prepare(self, structures: Structures, pairs: NeighborPairs, image: np.ndarray, images: int) -> list[Piece]:
        return rows_of(pairs, image, images, structures.n_atoms, self.device)

    def _evaluate(
        self, prepared: list[Piece], structures: Structures, images: np.ndarray, want: Collection[str]
    ) -> Evaluated:
        translations = np.concatenate([images, -images, [[2.0 * self.cutoff_A, 0.0, 0.0]]])
        x, shifts = (torch.from_numpy(np.array(part)).to(self.device) for part in (structures.positions, translations))
        totals = Passes(self._model).run(prepared, x, shifts, want)
        energies = totals.energies.cpu().numpy() + self._zero
        force, by_atom, squares = (None if part is None else part.cpu().numpy() for part in totals[1:])
        sums = None
        if by_atom is not None and "stress" in want:
            columns = [np.bincount(structures.frame_of_atom, column, len(structures)) for column in by_atom.T]
            sums = np.stack(columns, axis=1)
        return Evaluated(energies, force, sums, squares, by_atom if "stresses" in want else None)
