"""What a step on the device gives, and a step that was captured as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from torch import Tensor

from ru_calc.engine.device_verlet import DeviceVerletList
from ru_calc.errors import SettingsError


class DeviceStep(NamedTuple):
    """Results of `DeviceEngine.step`, tensors on the device, float64; what was not wanted is None.

    Attributes:
        valid: () bool: whether the neighbour list held every pair.  Where it does not, the rest is void.
        energy: () eV; energies: (n,) eV; forces: (n, 3) eV/Å; stress: (6,) eV/Å³, NaN without a volume.
    """

    valid: Tensor
    energy: Tensor | None = None
    energies: Tensor | None = None
    forces: Tensor | None = None
    stress: Tensor | None = None


class CapturedStep:
    """A step that is replayed; see `DeviceEngine.capture`.  Results are overwritten by the next call."""

    def __init__(
        self, step: Callable[..., DeviceStep], followed: DeviceVerletList, want: Collection[str], moving_cell: bool
    ) -> None:
        self._positions = followed.positions.clone()
        self._cell = followed.cell.clone() if moving_cell else None
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # compiles and warms up what a capture must not
            for _ in range(3):
                step(self._positions, self._cell, want)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._result = step(self._positions, self._cell, want)

    def __call__(self, positions: Tensor, cell: Tensor | None = None) -> DeviceStep:
        """Results at `positions` and `cell`, None for the one before.

        Raises:
            SettingsError: a cell, for a step that was captured without one.
        """
        if cell is not None:
            if self._cell is None:
                raise SettingsError("the step was captured with a cell at rest; use capture(moving_cell=True)")
            self._cell.copy_(cell)
        self._positions.copy_(positions)
        self._graph.replay()
        return self._result
