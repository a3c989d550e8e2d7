"""Spline weights and spherical harmonics of the pairs, computed once per batch for the compiled passes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ru_calc import kernels
from ru_calc.tables.harmonics import degrees, raising_terms
from ru_calc.tables.splines import DEGREE, RadialGrid

ORDERS, SPLINES = 3, DEGREE + 1


@dataclass(frozen=True)
class PairGeometry:
    """The pairs of one batch, as the compiled passes read them; gradients do not flow through these arrays.

    Attributes:
        n_atoms: number of atoms.
        first, second: (p,) atoms of each pair; fastest if pairs are grouped by their first atom.
        vectors: (p, 3) in Å.
        grid: that of the tables.
        interval: (p,) first table row that a pair reads.
        weights: (p, 3, 6) of that row and the next five: envelope times B-spline, and its first and second derivatives
            with respect to the distance.
        units: (p, 3) unit vectors.
    """

    n_atoms: int
    first: Tensor
    second: Tensor
    vectors: Tensor
    grid: RadialGrid
    interval: Tensor
    weights: Tensor
    units: Tensor
    _spheres: dict[int, Sphere] = field(default_factory=dict)

    @classmethod
    def of(cls, n_atoms: int, first: Tensor, second: Tensor, vectors: Tensor, grid: RadialGrid) -> PairGeometry:
        """From the atoms and vectors of the pairs."""
        vectors = vectors.detach().contiguous()
        interval, weights, units = pair_weights(vectors, grid)
        return cls(n_atoms, first, second, vectors, grid, interval, weights, units)

    @cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """`first`, `second`, `interval` and `weights` as NumPy arrays."""
        return tuple(tensor.numpy() for tensor in (self.first, self.second, self.interval, self.weights))

    def sphere(self, l_max: int) -> Sphere:
        """The spherical harmonics of the pairs up to degree `l_max`."""
        if l_max not in self._spheres:
            self._spheres[l_max] = Sphere.of(self.vectors, l_max)
        return self._spheres[l_max]


@dataclass(frozen=True)
class Sphere:
    """Spherical harmonics of the pairs' directions, normalised to Σ_m Y_lm² = 2l + 1.

    Attributes:
        l_max: highest degree.
        values: (p, (l_max + 1)²).
        slopes: (p, 3, (l_max + 1)²) derivatives with respect to the vector, 1/Å.
        parity: ((l_max + 1)²,) (−1)^l of each harmonic.
    """

    l_max: int
    values: Tensor
    slopes: Tensor
    parity: Tensor

    @cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """`values` and `slopes` as NumPy arrays."""
        return self.values.numpy(), self.slopes.numpy()

    @classmethod
    def of(cls, vectors: Tensor, l_max: int) -> Sphere:
        """Of vectors (p, 3)."""
        parity = torch.from_numpy((-1.0) ** degrees(l_max)).to(vectors)
        return cls(l_max, *pair_harmonics(vectors, l_max), parity)


def pair_weights(vectors: Tensor, grid: RadialGrid) -> tuple[Tensor, Tensor, Tensor]:
    """Interval (p,), weights (p, 3, 6) and directions (p, 3) of vectors (p, 3); see `PairGeometry`."""
    n = len(vectors)
    interval = torch.empty(n, dtype=torch.int64)
    weights, units = vectors.new_empty(n, ORDERS, SPLINES), vectors.new_empty(n, 3)
    _call("pair_weights", vectors, grid.cutoff_A, grid.switch_A, grid.intervals, vectors, interval, weights, units)
    return interval, weights, units


def pair_harmonics(vectors: Tensor, l_max: int) -> tuple[Tensor, Tensor]:
    """Harmonics (p, h) of the directions of vectors (p, 3) and their slopes (p, 3, h)."""
    count = (l_max + 1) ** 2
    y, dy = vectors.new_empty(len(vectors), count), vectors.new_empty(len(vectors), 3, count)
    _call("pair_harmonics", vectors, l_max, raising_terms(l_max), vectors, y, dy)
    return y, dy


def _call(name: str, like: Tensor, *arguments: Any) -> None:
    module = kernels.fastest()
    assert module is not None  # callers have checked
    plain = [value.detach().contiguous().numpy() if isinstance(value, Tensor) else value for value in arguments]
    getattr(module, name)(8 * like.element_size(), *plain)
