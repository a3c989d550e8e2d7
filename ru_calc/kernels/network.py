"""A whole SchNet as one autograd function on the CPU, with compiled passes; see src/training/tape.hpp.

One function for each sum would cost a few µs of Python each time; this way a batch pays for two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from ru_calc import kernels
from ru_calc.errors import RuCalcError
from ru_calc.kernels.geometry import PairGeometry
from ru_calc.tables.harmonics import InvariantPlan


@dataclass(frozen=True)
class NetworkPlan:
    """The shape of a SchNet.

    Attributes:
        channels, blocks, readout, norm_eps: as in its settings; `norm_eps` is None without layer normalisation.
        invariants: of the angular embedding; None without one.
    """

    channels: int
    blocks: int
    readout: tuple[int, ...]
    norm_eps: float | None
    invariants: InvariantPlan | None

    @property
    def l_max(self) -> int:
        """Highest degree of the harmonics."""
        return self.invariants.l_max if self.invariants else 0


def network_energies(plan: NetworkPlan, geometry: PairGeometry, vectors: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """(n,) outputs of the network in eV.

    They have gradients by `vectors` and `weights`, and the gradient by `vectors` has one by `weights` again.

    Args:
        plan: the shape of the network.
        geometry: the pairs, with the grid of the tables in `weights`.
        vectors: (p, 3) in Å, through which gradients flow.
        weights: table of the radial functions (rows, k), mixing (k, k + 2 triple), dense layers of the embedding, or
            the one starting vector (c,) without angles; for each block table (rows, c), `incoming` (c, c), first dense
            layer, scale and offset of the norm, second dense layer; then the readout.  A dense layer is a matrix and a
            bias.
    """
    return NetworkEnergies.apply(Tape(plan, geometry), vectors, *weights)[0]


class Tape:
    """A forward pass and the backward passes that follow it; keeps what they share."""

    def __init__(self, plan: NetworkPlan, geometry: PairGeometry) -> None:
        module = kernels.fastest()
        assert module is not None  # callers have checked
        self._module, self.plan, self.geometry = module, plan, geometry
        self.weights: list[np.ndarray] = []
        self._tape: Any = None
        self._reversed: Tensor | None = None
        self._gradients: list[Tensor] = []

    @cached_property
    def _around(self) -> tuple[Any, ...]:
        g, on = self.geometry, self.geometry.sphere(self.plan.l_max)
        return g.n_atoms, *g.arrays, *on.arrays, g.units.numpy(), on.parity.numpy()

    def forward(self, weights: Sequence[Tensor]) -> Tensor:
        """(n,) outputs."""
        self.weights = [weight.detach().contiguous().numpy() for weight in weights]
        plan, it, rows = self.plan, self.plan.invariants or InvariantPlan(0, 0, 0), self.geometry.grid.rows
        self._tape = self._module.tape(
            self._bits, plan.channels, plan.blocks, rows, plan.invariants is not None, plan.norm_eps is not None,
            plan.norm_eps or 0.0, np.array(plan.readout, dtype=np.int64), it.radial, it.l_max, it.triple, it.couplings,
            it.terms,
        )  # fmt: skip
        out = weights[0].new_empty(self.geometry.n_atoms)
        self._run("forward", out.numpy())
        return out

    def reverse(self, bar: Tensor) -> Tensor:
        """Slopes ∂(Σ bar E)/∂r_ij (p, 3) for weights `bar` (n,) of the energies."""
        out = bar.new_zeros(len(self.geometry.first), 3)
        self._run("reverse", bar.contiguous().numpy(), out.numpy())
        self._reversed = bar
        return out

    def second(self, bar: Tensor, u: Tensor) -> Tensor:
        """Adjoint of `bar` (n,) from that of the slopes, u (p, 3); keeps the gradients by the weights for `finish`."""
        if self._gradients:  # from other slopes of the same forward pass
            self._finish(self._gradients, torch.zeros_like(bar))
        self._gradients = self._gradients or self._zeros()
        if self._reversed is not bar:
            self.reverse(bar)
        out = u.new_empty(self.geometry.n_atoms)
        self._run("second", *map(_array, self._gradients), u.contiguous().numpy(), out.numpy())
        return out

    def finish(self, bar: Tensor) -> list[Tensor]:
        """Gradients by all weights from the adjoint of the outputs (n,), added to those that `second` kept."""
        gradients, self._gradients = self._gradients or self._zeros(), []
        self._finish(gradients, bar)
        return gradients

    def _finish(self, gradients: list[Tensor], bar: Tensor) -> None:
        self._run("finish", *map(_array, gradients), bar.detach().contiguous().numpy())

    @property
    def _bits(self) -> int:
        return 8 * self.weights[0].itemsize

    def _zeros(self) -> list[Tensor]:
        sizes = [weight.size for weight in self.weights]
        parts = torch.zeros(sum(sizes), dtype=self.geometry.vectors.dtype).split(sizes)
        return [part.view(weight.shape) for part, weight in zip(parts, self.weights, strict=True)]

    def _run(self, name: str, *arrays: np.ndarray) -> None:
        getattr(self._module, f"tape_{name}")(self._bits, self._tape, *self._around, *self.weights, *arrays)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.numpy()


def executes(ctx: Any, place: int) -> bool:
    """Whether this backward pass continues to where input number `place` came from."""
    following = ctx.next_functions[place][0]
    try:
        return following is not None and torch._C._will_engine_execute_node(following)
    except RuntimeError:  # a leaf listed in `inputs`
        return True


class NetworkEnergies(Function):
    """Outputs (n,) of a network, and a token that `NetworkSlopes` takes, so that its backward pass comes first."""

    @staticmethod
    def forward(ctx, tape: Tape, vectors, *weights):
        ctx.tape, token = tape, vectors.new_zeros(())
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(vectors, token, *weights)
        return tape.forward(weights), token

    @staticmethod
    def backward(ctx, bar, token):
        tape, (vectors, own_token, *weights) = ctx.tape, ctx.saved_tensors
        nothing = [None] * len(weights)
        by_weights = any(executes(ctx, 1 + k) for k in range(len(weights)))
        if torch.is_grad_enabled():
            if by_weights:
                raise RuCalcError(
                    "compiled passes cannot differentiate gradients by the weights again; use compiled=False"
                )
            return None, None if bar is None else NetworkSlopes.apply(tape, bar, vectors, own_token), *nothing
        slopes = tape.reverse(bar) if bar is not None and token is None and executes(ctx, 0) else None
        if not by_weights or (bar is None and token is None):
            return None, slopes, *nothing
        return None, slopes, *tape.finish(vectors.new_zeros(tape.geometry.n_atoms) if bar is None else bar)


class NetworkSlopes(Function):
    """Slopes ∂(Σ bar E)/∂r_ij (p, 3), with gradients by all but the vectors."""

    @staticmethod
    def forward(ctx, tape: Tape, bar, vectors, token):
        ctx.tape, ctx.bar = tape, bar
        return tape.reverse(bar)

    @staticmethod
    @once_differentiable
    def backward(ctx, u):
        if executes(ctx, 1):
            raise RuCalcError("compiled passes have no second derivatives by positions; use compiled=False")
        tape, by_bar = ctx.tape, ctx.tape.second(ctx.bar, u)
        if not executes(ctx, 2):  # gradients by the weights are not asked for
            tape.finish(torch.zeros_like(by_bar))
        return None, by_bar, None, u.new_zeros(())
