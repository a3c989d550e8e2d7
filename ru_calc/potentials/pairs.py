"""Pairs of atoms as tensors: the input of every family of potentials."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """Pairs of atoms within the cutoff, each unordered pair once.

    Attributes:
        n_atoms: number of atoms in all frames together.
        first, second: (p,) int64 indices of the two atoms.
        vectors: (p, 3) r_second − r_first in Å; derivatives flow through them.
        compiled: evaluate networks by compiled passes if they have them, instead of plain torch.
    """

    n_atoms: int
    first: Tensor
    second: Tensor
    vectors: Tensor
    compiled: bool = False

    @cached_property
    def distances(self) -> Tensor:
        """(p,) |r_ij| in Å."""
        return self.vectors.square().sum(dim=1).sqrt()

    @cached_property
    def directions(self) -> Tensor:
        """(p, 3) unit vectors from first to second."""
        return self.vectors / self.distances[:, None]

    @cached_property
    def slots(self) -> Tensor:
        """Neighbours of each atom as a padded table of *directed* pairs.

        Returns:
            (n_atoms, k): q < p is pair q seen from `first`, p + q is pair q seen from `second`, and 2p fills up atoms
            that have fewer than k neighbours.
        """
        center = torch.cat([self.first, self.second])
        order = torch.argsort(center, stable=True)
        counts = torch.bincount(center, minlength=self.n_atoms)
        width = int(counts.max()) if len(center) else 0
        start = torch.cumsum(counts, 0) - counts
        sorted_center = center[order]
        place = sorted_center * width + torch.arange(len(center), device=center.device) - start[sorted_center]
        table = torch.full((self.n_atoms * width,), len(center), dtype=torch.int64, device=center.device)
        table[place] = order
        return table.view(self.n_atoms, width)

    def by_slot(self, to_first: Tensor, to_second: Tensor) -> Tensor:
        """(n_atoms, k, c) what each pair gives to its two atoms, each (p, c), in the order of `slots`."""
        given = torch.cat([to_first, to_second, to_first.new_zeros(1, to_first.shape[1])])
        return given.index_select(0, self.slots.flatten()).view(*self.slots.shape, given.shape[1])

    def sum_over_neighbors(self, to_first: Tensor, to_second: Tensor) -> Tensor:
        """(n_atoms, c) sums of the contributions of each pair to its two atoms, each (p, c)."""
        total = to_first.new_zeros((self.n_atoms, *to_first.shape[1:]))
        return total.index_add(0, self.first, to_first).index_add(0, self.second, to_second)
