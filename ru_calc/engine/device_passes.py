"""One evaluation on a device: the passes of src/inference/evaluate.hpp, atoms along the rows of matrices.

look         pairs within the cutoff; the ZBL core
embedding    angular only: A, invariants, s_0 -> h, z
blocks       m_i = Σ_j h_j ⊙ W(r_ij); s_k = silu(norm(D m_i)) -> h of later blocks, z
energy       E_i from z, and z̄
and the same backwards.  What has a row for each pair is done in pieces of atoms, so that memory stays bounded: no graph
is kept between the passes, and derivatives of what concerns a single pair or atom come from autograd on one piece.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from ru_calc.engine import device_steps as steps
from ru_calc.engine.device_model import Angular, DeviceModel
from ru_calc.engine.device_rows import Near, Piece, look


class Totals(NamedTuple):
    """By atom, float64: energies (n,); where wanted forces (n, 3), virial (n, 6) and |y|² (n,), see `_Kept`."""

    energies: Tensor
    forces: Tensor | None
    virial: Tensor | None
    squares: Tensor | None


@dataclass
class _Kept:
    """What the way back needs: by source the input of its activation, by block h, and z and A.

    And, where the uncertainty is wanted, the whitened features y (n, k) of `Uncertainty`.
    """

    z: Tensor
    h: dict[int, Tensor]
    pre: dict[int, Tensor] = field(default_factory=dict)
    density: Tensor | None = None
    whitened: Tensor | None = None


class Passes:
    """Energies of atoms, and their derivatives."""

    def __init__(self, model: DeviceModel) -> None:
        self.model = model

    def run(self, pieces: Sequence[Piece], x: Tensor, translations: Tensor, want: Collection[str]) -> Totals:
        """Energies of the atoms at x (n, 3), without the energy of a lone atom.

        Args:
            pieces: every pair within the cutoff.
            translations: that they refer to, Å.
            want: of `forces`, `stress` and `stresses` (which need virials) and `uncertainty`.
        """
        with torch.no_grad(), steps.full_precision():
            near = [look(piece, self.model.grid, x, translations, self.model.dtype) for piece in pieces]
            energies, pull = x.new_empty(len(x)), x.new_empty(sum(len(piece.neighbor) for piece in pieces), 3)
            for one in near:
                steps.repel(self.model.core, one, energies, pull)
            kept = self._forward(near, len(x), "uncertainty" in want)
            squares = None if kept.whitened is None else kept.whitened.double().square().sum(dim=1)
            if not {"forces", "stress", "stresses"} & {*want}:
                return Totals(energies + steps.energy_pathway(self.model, kept.z), None, None, squares)
            network, z_bar = steps.derivative(partial(steps.energy_pathway, self.model), kept.z)
            self._reverse(near, kept, z_bar, pull)
            return Totals(
                energies + network, *steps.forces(near, pull, len(x), bool({"stress", "stresses"} & {*want})), squares
            )

    def _forward(self, near: Sequence[Near], atoms: int, whiten: bool) -> _Kept:
        model = self.model
        gathered = range(model.first_gathered, model.blocks)
        kept = _Kept(model.head_bias.repeat(atoms, 1), {b: model.start[b].repeat(atoms, 1) for b in gathered})
        if whiten:
            assert model.whitened_bias is not None
            kept.whitened = model.whitened_bias.repeat(atoms, 1)
        if model.angular:
            self._send(kept, 0, self._embed(model.angular, near, kept))
        for block in range(model.blocks):
            k = model.source_of(block)
            m, source = steps.gather(model.filters[block], near, kept.h.get(block), atoms), model.sources[k]
            self._send(kept, k, m + source.bias if source.into is None else linear(m, source.into, source.bias))
        return kept

    def _embed(self, angular: Angular, near: Sequence[Near], kept: _Kept) -> Tensor:
        source, atoms = self.model.sources[0], len(kept.z)
        kept.density = kept.z.new_empty(atoms, (angular.plan.l_max + 1) ** 2, angular.plan.radial)
        pre = kept.z.new_empty(atoms, self.model.channels)
        assert source.into is not None
        for one in near:
            a = kept.density[one.piece.atoms] = steps.density(angular, one)
            f, _ = steps.invariants(angular, a, a @ angular.mix.T)
            f = torch.asinh(f)
            pre[one.piece.atoms] = linear(f, source.into, source.bias)
            if kept.whitened is not None and angular.to_whitened is not None:
                kept.whitened[one.piece.atoms] += f @ angular.to_whitened.T
        return pre

    def _send(self, kept: _Kept, k: int, pre: Tensor) -> None:
        source, kept.pre[k] = self.model.sources[k], pre
        s = steps.activate(source, pre)
        for block, matrix in source.to_block.items():
            kept.h[block].addmm_(s, matrix.T)
        kept.z.addmm_(s, source.to_head.T)
        if kept.whitened is not None and source.to_whitened is not None:
            kept.whitened.addmm_(s, source.to_whitened.T)

    def _reverse(self, near: Sequence[Near], kept: _Kept, z_bar: Tensor, pull: Tensor) -> None:
        model, h_bar = self.model, dict[int, Tensor]()
        for block in range(model.blocks - 1, -1, -1):
            source = model.sources[model.source_of(block)]
            m_bar = self._collect(kept, model.source_of(block), z_bar, h_bar)
            m_bar = m_bar if source.into is None else m_bar @ source.into
            steps.gather_pull(model.filters[block], near, kept.h.get(block), m_bar, pull)
            if block in kept.h:  # h̄_i = Σ_j W(r_ij) ⊙ m̄_j, a sum over rows too, as every pair has its mirror image
                del kept.h[block]
                h_bar[block] = steps.gather(model.filters[block], near, m_bar, len(m_bar))
        if model.angular:
            self._reverse_embedding(model.angular, near, kept, self._collect(kept, 0, z_bar, h_bar), pull)

    def _collect(self, kept: _Kept, k: int, z_bar: Tensor, h_bar: dict[int, Tensor]) -> Tensor:
        """ā of source k."""
        source = self.model.sources[k]
        s_bar = z_bar @ source.to_head
        for block, matrix in source.to_block.items():
            s_bar.addmm_(h_bar[block], matrix)
        return steps.derivative(partial(steps.activate, source), kept.pre.pop(k), s_bar)[1]

    def _reverse_embedding(
        self, angular: Angular, near: Sequence[Near], kept: _Kept, pre_bar: Tensor, pull: Tensor
    ) -> None:
        into = self.model.sources[0].into
        assert into is not None and kept.density is not None
        for one in near:
            a = kept.density[one.piece.atoms]
            mixed = a @ angular.mix.T
            f, sums = steps.invariants(angular, a, mixed)
            f_bar = pre_bar[one.piece.atoms] @ into / torch.sqrt(1 + f * f)
            a_bar, mixed_bar = steps.invariants_reverse(angular, a, mixed, sums, f_bar)
            steps.density_pull(angular, one, a_bar + mixed_bar @ angular.mix, pull)
