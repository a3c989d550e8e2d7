"""What the operators read of the pairs: spline weights and harmonics, found once for a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ru_calc.splines import DEGREE

ORDERS, SPLINES = 3, DEGREE + 1


@dataclass(frozen=True)
class RadialGrid:
    """Uniform quintic B-splines over 0 … cutoff, under the envelope.

    Attributes:
        cutoff_A, switch_A: range, and the width of its last part over which the envelope falls to zero.
        intervals: of the grid; a table has `rows` rows of coefficients.
    """

    cutoff_A: float
    switch_A: float
    intervals: int

    @property
    def rows(self) -> int:
        """Number of coefficients of one function."""
        return self.intervals + DEGREE


@dataclass(frozen=True)
class PairGeometry:
    """Pairs of one batch as the operators read them; no derivative flows through these arrays.

    Attributes:
        n_atoms: number of atoms.
        first, second: (p,) atoms of each pair; fastest where pairs with the same first atom stand together.
        vectors: (p, 3) in Å.
        grid: of the tables.
        interval: (p,) first row of a table that the pair reads.
        weights: (p, 3, 6) of those rows and the next five: envelope times B-spline, and its first and second derivative
            by the distance.
        units: (p, 3) directions.
        forms: the module that computes: `compiled`, `torch_forms` or `triton_forms`.
    """

    n_atoms: int
    first: Tensor
    second: Tensor
    vectors: Tensor
    grid: RadialGrid
    interval: Tensor
    weights: Tensor
    units: Tensor
    forms: Any
    _spheres: dict[int, Sphere] = field(default_factory=dict)

    @classmethod
    def of(
        cls, n_atoms: int, first: Tensor, second: Tensor, vectors: Tensor, grid: RadialGrid, forms: Any
    ) -> PairGeometry:
        """From atoms and vectors of the pairs."""
        vectors = vectors.detach().contiguous()
        interval, weights, units = forms.pair_weights(vectors, grid)
        return cls(n_atoms, first, second, vectors, grid, interval, weights, units, forms)

    @cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """`first`, `second`, `interval`, `weights`, on the CPU."""
        return tuple(tensor.numpy() for tensor in (self.first, self.second, self.interval, self.weights))

    def sphere(self, l_max: int) -> Sphere:
        """The spherical harmonics of the pairs up to `l_max`."""
        if l_max not in self._spheres:
            self._spheres[l_max] = Sphere.of(self.vectors, l_max, self.forms.pair_harmonics)
        return self._spheres[l_max]


@dataclass(frozen=True)
class Sphere:
    """Harmonics of the directions of pairs, Σ_m Y_lm² = 2l + 1.

    Attributes:
        l_max: highest degree.
        values: (p, (l_max + 1)²).
        slopes: (p, 3, (l_max + 1)²) derivatives by the vector, 1/Å.
        parity: ((l_max + 1)²,) of each harmonic: (−1)^l.
    """

    l_max: int
    values: Tensor
    slopes: Tensor
    parity: Tensor

    @cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """`values` and `slopes`, on the CPU."""
        return self.values.numpy(), self.slopes.numpy()

    @classmethod
    def of(cls, vectors: Tensor, l_max: int, harmonics: Callable[[Tensor, int], tuple[Tensor, Tensor]]) -> Sphere:
        """From vectors (p, 3)."""
        degree = np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)
        parity = torch.from_numpy((-1.0) ** degree).to(vectors)
        return cls(l_max, *harmonics(vectors, l_max), parity)
