"""The passes over pairs as Triton kernels: one program per atom, no atomics, the same sums in the same order each time.

Each public function has a namesake in torch_kernels.py with the same arguments, which says what it computes.  A program
takes PAIRS pairs of its row at a time, as the rows of a tile with the channels along its columns; splines are evaluated
in registers from the tables, which stay in the caches.  Numbers of the model are compile-time constants: as arguments
they would be rounded to float32.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from ru_calc.engine.device_model import Angular, Core, Grid
from ru_calc.engine.device_pairs import CoreTerms, Geometry, Rows
from ru_calc.engine.torch_kernels import SCREENING
from ru_calc.engine.triton_angular import density_kernel, density_reverse_kernel
from ru_calc.engine.triton_geometry import find_geometry_kernel, forces_kernel
from ru_calc.engine.triton_layers import activate, activate_reverse, invariants, invariants_reverse, options
from ru_calc.engine.triton_messages import gather_kernel, reverse_kernel

__all__ = [
    "activate", "activate_reverse", "alike_reverse", "density", "density_reverse", "find_geometry", "forces", "gather",
    "gather_reverse", "invariants", "invariants_reverse",
]  # fmt: skip

# Pairs at a time and warps of a program, by pass.  Chosen from the assembler's count of registers: never timed.
TILES = {
    "geometry": (32, 1), "gather": (8, 4), "reverse": (8, 4), "density": (8, 1), "angular": (8, 1), "forces": (32, 1),
}  # fmt: skip
WIDEST = 128  # channels of a program of `gather`


def find_geometry(grid: Grid, core: Core, rows: Rows, x: Tensor, translations: Tensor, out: Geometry) -> CoreTerms:
    atoms = len(x)
    terms = CoreTerms(x.new_empty(atoms), torch.empty_like(x), x.new_empty(atoms, 6))
    lanes, warps = TILES["geometry"]
    find_geometry_kernel[(atoms,)](
        x.contiguous(), translations, rows.begin, rows.length, rows.atom, rows.image,
        out.count, out.atom, out.interval, out.slot, out.place, out.direction, *terms, len(out.atom),
        GRID=tuple(grid), CORE=tuple(core), SCREEN=SCREENING, LANES=lanes, **options(warps),
    )  # fmt: skip
    return terms


def gather(grid: Grid, table: Tensor, near: Geometry, h: Tensor | None) -> Tensor:
    atoms, channels = len(near.begin), table.shape[1]
    m, width = table.new_empty(atoms, channels), min(WIDEST, triton.next_power_of_2(channels))
    pairs, warps = TILES["gather"]
    gather_kernel[(atoms, triton.cdiv(channels, width))](
        m, table if h is None else h, table, *_row(near), near.place,
        GRID=tuple(grid), ALIKE=h is None, CHANNELS=channels, WIDTH=width, PAIRS=pairs, **options(warps),
    )  # fmt: skip
    return m


def gather_reverse(grid: Grid, table: Tensor, near: Geometry, h: Tensor, m_bar: Tensor, add: bool) -> Tensor:
    h_bar = torch.empty_like(h)
    _launch_reverse(grid, table, near, (h, m_bar, h_bar), add, False)
    return h_bar


def alike_reverse(grid: Grid, table: Tensor, near: Geometry, m_bar: Tensor, add: bool) -> None:
    _launch_reverse(grid, table, near, (m_bar, m_bar, m_bar), add, True)


def _launch_reverse(
    grid: Grid, table: Tensor, near: Geometry, features: tuple[Tensor, ...], add: bool, alike: bool
) -> None:
    channels, (pairs, warps) = table.shape[1], TILES["reverse"]
    reverse_kernel[(len(near.begin),)](
        *(part.contiguous() for part in features), near.slope, table, *_row(near), near.slot, near.place,
        GRID=tuple(grid), ALIKE=alike, ADD=add, CHANNELS=channels, WIDTH=triton.next_power_of_2(channels), PAIRS=pairs,
        **options(warps),
    )  # fmt: skip


def density(grid: Grid, angular: Angular, near: Geometry) -> Tensor:
    a = angular.table.new_empty(len(near.begin), angular.harmonics, angular.radial)
    pairs, warps = TILES["density"]
    density_kernel[(len(near.begin),)](
        a, angular.table, *_row(near), near.place, near.direction, len(near.atom),
        GRID=tuple(grid), RAISING=_raising_by_out(angular), HARMONICS=angular.harmonics, **_radial_width(angular),
        PAIRS=pairs, **options(warps),
    )  # fmt: skip
    return a


def density_reverse(grid: Grid, angular: Angular, near: Geometry, a_bar: Tensor) -> None:
    pairs, warps = TILES["angular"]
    density_reverse_kernel[(len(near.begin),)](
        a_bar.contiguous(), near.pull, near.slope, angular.table, *_row(near), near.slot, near.place, near.direction,
        len(near.atom), GRID=tuple(grid), RAISING=_raising_by_out(angular), LOWERING=_raising_by_into(angular),
        HARMONICS=angular.harmonics, **_radial_width(angular), PAIRS=pairs, **options(warps),
    )  # fmt: skip


def forces(grid: Grid, rows: Rows, near: Geometry, virial: bool) -> tuple[Tensor, Tensor | None]:
    atoms, (lanes, warps) = len(near.begin), TILES["forces"]
    total = torch.empty(atoms, 3, dtype=torch.float64, device=near.begin.device)
    virials = total.new_empty(atoms, 6) if virial else None
    forces_kernel[(atoms,)](
        total, total if virials is None else virials, near.slope if near.pull is None else near.pull, rows.mirror,
        near.begin, near.count, near.interval, near.slot, near.place, near.direction, len(near.atom),
        GRID=tuple(grid), PULL=near.pull is not None, VIRIAL=virial, LANES=lanes, **options(warps),
    )  # fmt: skip
    return total, virials


def _row(near: Geometry) -> tuple[Tensor, ...]:
    return near.begin, near.count, near.atom, near.interval


def _radial_width(angular: Angular) -> dict[str, int]:
    return {"RADIAL": angular.radial, "WIDTH": triton.next_power_of_2(angular.radial)}


def _raising_by_out(angular: Angular) -> tuple[Any, ...]:
    """For each harmonic of degree 2 and more the terms (axis, into, weight) that make it."""
    return tuple(
        tuple((t.axis, t.into, t.weight) for t in angular.raising if t.out == q) for q in range(angular.harmonics)
    )


def _raising_by_into(angular: Angular) -> tuple[Any, ...]:
    """For each harmonic the terms (axis, out, weight) that it enters."""
    return tuple(
        tuple((t.axis, t.out, t.weight) for t in angular.raising if t.into == q) for q in range(angular.harmonics)
    )
