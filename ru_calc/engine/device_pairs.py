"""What the passes over pairs read and write: rows of directed pairs, and those that are within the cutoff now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

ALIGNED = 16  # numbers of pairs are multiples of it, so that one kernel serves lists of any length


@dataclass
class Rows:
    """Directed pairs within the cutoff and a skin, row after row (CSR): i sees j at x_j − x_i + translation.

    Attributes:
        begin, length: (n,) int32: where the row of each atom starts and how long it is.
        atom: (p,) int32 neighbours.
        image: (p,) int32 index of the translation.
        mirror: (p,) int32 where the same pair stands as seen from its other end.
        shifts: (m, 3) float64 lattice vectors of each translation; frames: (m,) int64 whose cell they mean.
        longest: no row is longer.
    """

    begin: Tensor
    length: Tensor
    atom: Tensor
    image: Tensor
    mirror: Tensor
    shifts: Tensor
    frames: Tensor
    longest: int

    def translations(self, cells: Tensor) -> Tensor:
        """(m, 3) from cells (f, 3, 3); opposite shifts give opposite translations to the last bit."""
        return (self.shifts[:, :, None] * cells.index_select(0, self.frames)).sum(dim=1)


class Geometry:
    """The pairs within the cutoff at one step, at the front of each row; memory for all that may come.

    Attributes:
        begin, count: (n,) int32: where the row of each atom starts, and how many pairs it has now.
        atom, interval, slot: (m,) int32 neighbour, interval of the tables, and place in `Rows`.
        place: (m,) fraction of the interval.
        direction: (3, m) unit vector to the neighbour.  Here and above the last pair is a dummy.
        slope, pull: (m,) and (m, 3), by place in `Rows`: what the reverse passes leave for `forces`.
    """

    def __init__(self, rows: Rows, dtype: torch.dtype, angular: bool) -> None:
        pairs, device = (len(rows.atom) // ALIGNED + 1) * ALIGNED, rows.begin.device
        self.begin, self.longest = rows.begin, rows.longest
        self.count = torch.zeros_like(rows.length)
        self.atom, self.interval, self.slot = (torch.zeros(pairs, dtype=torch.int32, device=device) for _ in range(3))
        self.place = torch.zeros(pairs, dtype=dtype, device=device)
        self.direction = torch.zeros(3, pairs, dtype=dtype, device=device)
        self.slope = torch.zeros(pairs, dtype=dtype, device=device)
        self.pull = torch.zeros(pairs, 3, dtype=dtype, device=device) if angular else None


class CoreTerms(NamedTuple):
    """By atom, float64: energies (n,), and the core's part of forces (n, 3) and virial (n, 6)."""

    energies: Tensor
    forces: Tensor
    virial: Tensor
