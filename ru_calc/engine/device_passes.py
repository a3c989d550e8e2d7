"""One evaluation on a device: the passes of src/network.hpp, atoms along the rows of matrices.

geometry     pairs within the cutoff; the ZBL core
embedding    angular only: A, invariants, s_0 -> h, z
blocks       m_i = Σ_j h_j ⊙ W(r_ij); s_k = silu(norm(D m_i)) -> h of later blocks, z
energy       E_i from z, and z̄
and the same backwards, by hand: no graph is kept, and no shape depends on data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ru_calc.engine import torch_kernels
from ru_calc.engine.device_model import Angular, DeviceModel
from ru_calc.engine.device_pairs import Geometry, Rows
from ru_calc.engine.torch_layers import silu_slope

ANGULAR_ATOMS = {"cpu": 256, "cuda": 4096}  # at once: some 50 kB each


class Totals(NamedTuple):
    """By atom, float64: energies (n,); forces (n, 3) and virial (n, 6) where wanted."""

    energies: Tensor
    forces: Tensor | None
    virial: Tensor | None


@dataclass
class _Kept:
    """What the way back needs: by source the input of its activation, by block h, and z and A."""

    z: Tensor
    h: dict[int, Tensor]
    pre: dict[int, Tensor] = field(default_factory=dict)
    density: Tensor | None = None


class Passes:
    """Energies of atoms, and their derivatives.

    Args:
        model: the network.
    """

    def __init__(self, model: DeviceModel) -> None:
        self.model = model

    def run(self, rows: Rows, near: Geometry, x: Tensor, translations: Tensor, slopes: bool, virial: bool) -> Totals:
        """Energies of the atoms at x (n, 3), without the energy of a lone atom.

        Args:
            rows: every pair within the cutoff.
            near: memory for them.
            translations: of `rows`, Å.
            slopes, virial: whether forces, and forces and virials, are wanted.
        """
        with full_precision():
            core = torch_kernels.find_geometry(self.model.grid, self.model.core, rows, x, translations, near)
            kept = self._forward(near)
            energies, z_bar = self._energy(kept.z, slopes or virial)
            energies += core.energies
            if z_bar is None:
                return Totals(energies, None, None)
            self._reverse(near, kept, z_bar)
            forces, virials = torch_kernels.forces(self.model.grid, rows, near, virial)
        return Totals(energies, forces + core.forces, None if virials is None else virials + core.virial)

    def _forward(self, near: Geometry) -> _Kept:
        model, atoms = self.model, len(near.begin)
        gathered = range(model.first_gathered, model.blocks)
        kept = _Kept(model.head_bias.repeat(atoms, 1), {b: model.start[b].repeat(atoms, 1) for b in gathered})
        if model.angular:
            kept.density = torch_kernels.density(model.grid, model.angular, near)
            self._send(kept, 0, self._embed(model.angular, kept.density))
        for block in range(model.blocks):
            k = model.source_of(block)
            m = torch_kernels.gather(model.grid, model.filters[block], near, kept.h.get(block))
            source = model.sources[k]
            self._send(kept, k, m + source.bias if source.into is None else _linear(m, source.into, source.bias))
        return kept

    def _embed(self, angular: Angular, density: Tensor) -> Tensor:
        source, parts = self.model.sources[0], []
        assert source.into is not None
        for a in self._angular_chunks(density):
            f, _ = torch_kernels.invariants(angular, a, a @ angular.mix.T)
            parts.append(_linear(torch.asinh(f), source.into, source.bias))
        return torch.cat(parts)

    def _send(self, kept: _Kept, k: int, pre: Tensor) -> None:
        source, kept.pre[k] = self.model.sources[k], pre
        s = torch_kernels.activate(source, pre, self.model.width, self.model.norm_eps)
        for block, matrix in source.to_block.items():
            kept.h[block].addmm_(s, matrix.T)
        kept.z.addmm_(s, source.to_head.T)

    def _energy(self, z: Tensor, slopes: bool) -> tuple[Tensor, Tensor | None]:
        model, inputs = self.model, [z]
        for weight, bias in model.head_dense:
            inputs.append(_linear(torch.nn.functional.silu(inputs[-1]), weight, bias))
        last = inputs[-1] if model.linear_head else torch.nn.functional.silu(inputs[-1])
        energies = last.double() @ model.energy_weight.double() + model.energy_bias
        if not slopes:
            return energies, None
        bar = model.energy_weight.expand_as(last)
        if model.linear_head:
            return energies, bar.contiguous()
        for k in range(len(inputs) - 1, -1, -1):
            bar = bar * silu_slope(inputs[k])
            bar = bar @ model.head_dense[k - 1][0] if k else bar
        return energies, bar

    def _reverse(self, near: Geometry, kept: _Kept, z_bar: Tensor) -> None:
        model = self.model
        h_bar: dict[int, Tensor] = {}
        for block in range(model.blocks - 1, -1, -1):
            source = model.sources[model.source_of(block)]
            m_bar = self._collect(kept, model.source_of(block), z_bar, h_bar)
            m_bar = m_bar if source.into is None else m_bar @ source.into
            again, table = block < model.blocks - 1, model.filters[block]
            if block < model.first_gathered:
                torch_kernels.alike_reverse(model.grid, table, near, m_bar, again)
            else:
                h_bar[block] = torch_kernels.gather_reverse(model.grid, table, near, kept.h.pop(block), m_bar, again)
        if not model.blocks:
            near.slope.zero_()
        if model.angular:
            self._reverse_embedding(model.angular, near, kept, self._collect(kept, 0, z_bar, h_bar))

    def _collect(self, kept: _Kept, k: int, z_bar: Tensor, h_bar: dict[int, Tensor]) -> Tensor:
        """ā of source k."""
        source = self.model.sources[k]
        s_bar = z_bar @ source.to_head
        for block, matrix in source.to_block.items():
            s_bar.addmm_(h_bar[block], matrix)
        return torch_kernels.activate_reverse(source, kept.pre.pop(k), s_bar, self.model.width, self.model.norm_eps)

    def _reverse_embedding(self, angular: Angular, near: Geometry, kept: _Kept, pre_bar: Tensor) -> None:
        into, parts = self.model.sources[0].into, []
        assert into is not None and kept.density is not None
        for a, bar in zip(*map(self._angular_chunks, (kept.density, pre_bar)), strict=True):
            mixed = a @ angular.mix.T
            f, sums = torch_kernels.invariants(angular, a, mixed)
            f_bar = bar @ into / torch.sqrt(1 + f * f)
            a_bar, mixed_bar = torch_kernels.invariants_reverse(angular, a, mixed, sums, f_bar)
            parts.append(a_bar + mixed_bar @ angular.mix)
        torch_kernels.density_reverse(self.model.grid, angular, near, torch.cat(parts))

    def _angular_chunks(self, array: Tensor) -> tuple[Tensor, ...]:
        return array.split(ANGULAR_ATOMS.get(array.device.type, 4096))


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(bias, x, weight.T)


@contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 matrices without TF32; what the user had set comes back."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
