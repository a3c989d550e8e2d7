"""A neighbour list that is kept while it holds every pair, and tells so without a wait for the device."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ru_calc.engine.device_neighbors import complete_cell, find_half_pairs, inverse, rows_of
from ru_calc.engine.device_pairs import Rows

SPARE = 0.15  # memory for longer lists to come


class DeviceVerletList:
    """Rows of one frame on the device, with the rule of `neighbors.VerletList`: see there.

    Whether the rows still hold every pair stays on the device, so that asking costs no wait; whoever reads it calls
    `build` where it says no.  The tensors of `rows` keep their place in memory as long as new pairs fit.

    Args:
        cutoff_A: interaction range in Å.
        skin_A: extra range in Å.
        pbc: (3,) periodic directions.
    """

    def __init__(self, cutoff_A: float, skin_A: float, pbc: np.ndarray) -> None:
        self.cutoff_A, self.skin_A, self.pbc = float(cutoff_A), float(skin_A), np.array(pbc, dtype=bool)
        self.rebuilds = 0
        self.rows: Rows | None = None
        self._positions = self._cell = self._full = self._inverse = torch.zeros(0, 3)

    def build(self, positions: Tensor, cell: Tensor) -> bool:
        """Finds all pairs within cutoff and skin; waits for the device.

        Args:
            positions: (n, 3) Å, float64; cell: (3, 3).

        Returns:
            Whether `rows` are new tensors, so that what was captured with the old ones is void.
        """
        pairs = find_half_pairs(positions, cell, self.pbc, self.cutoff_A + self.skin_A)
        frames = torch.zeros_like(pairs.first)
        self.rebuilds += 1
        if self.rows is not None and len(positions) == len(self._positions):
            self._positions.copy_(positions)
            self._cell.copy_(cell)
            self._full.copy_(complete_cell(cell, self.pbc))
            self._inverse.copy_(inverse(self._full))
            if _refilled(self.rows, rows_of(pairs, frames, len(positions))):
                return False
        else:
            self._positions, self._cell = positions.clone(), cell.clone()
            self._full = complete_cell(cell, self.pbc)
            self._inverse = inverse(self._full)
        self.rows = rows_of(pairs, frames, len(positions), SPARE)
        return True

    @property
    def positions(self) -> Tensor:
        """(n, 3) the atoms at the last rebuild."""
        return self._positions

    @property
    def cell(self) -> Tensor:
        """(3, 3) the cell at the last rebuild."""
        return self._cell

    def follow(self, positions: Tensor, cell: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The atoms without the wraps since the rebuild, and () bool whether the rows hold every pair; never waits.

        Args:
            cell: None where it has not changed, which saves some twenty small kernels.
        """
        if cell is None:
            full, back, stretch, moved = self._full, self._inverse, 1.0, positions - self._positions
        else:
            full = complete_cell(cell, self.pbc)
            deformation = self._inverse @ full
            stretch, back = _least_stretch(deformation), inverse(full)
            moved = positions - self._positions @ deformation
        wraps = (moved @ back).round()
        jumps = torch.stack([wraps[:, k] if self.pbc[k] else torch.zeros_like(wraps[:, k]) for k in range(3)], 1) @ full
        squares = torch.stack([(moved**2).sum(dim=1), ((moved - jumps) ** 2).sum(dim=1)])
        jumps = torch.where((squares[1] < squares[0])[:, None], jumps, 0.0)  # in a skewed cell it may lead away
        far = squares.amin(dim=0).sqrt()
        first = far.argmax()
        second = torch.where(torch.arange(len(far), device=far.device) == first, 0.0, far).max()
        return positions - jumps, far.max() + second < stretch * (self.cutoff_A + self.skin_A) - self.cutoff_A


def _least_stretch(deformation: Tensor) -> Tensor:
    """() smallest singular value of a 3 × 3 matrix, from the angles of its invariants: no solver, no wait."""
    c = deformation.T @ deformation
    mean = c.diagonal().sum() / 3.0
    rest = c - mean * torch.eye(3, dtype=c.dtype, device=c.device)
    size = ((rest * rest).sum() / 6.0).sqrt().clamp(min=1e-150)
    rest = rest / size
    half = 0.5 * (rest[0] * torch.linalg.cross(rest[1], rest[2])).sum()
    angle = half.clamp(-1.0, 1.0).acos() / 3.0
    return (mean + 2.0 * size * torch.cos(angle + 2.0 * math.pi / 3.0)).clamp(min=0.0).sqrt()


def _refilled(rows: Rows, new: Rows) -> bool:
    """Puts `new` where `rows` are, if they fit."""
    names = ("begin", "length", "atom", "image", "mirror", "shifts", "frames")
    if new.longest > rows.longest or any(len(getattr(new, name)) > len(getattr(rows, name)) for name in names):
        return False
    for name in names:
        getattr(rows, name)[: len(getattr(new, name))] = getattr(new, name)
    return True
