"""Layers in a row, and the invariants of the density, as single autograd functions that may be differentiated twice.

A loss on forces differentiates the gradient of a network.  By `reverse` a stage turns the adjoint g of its output into
that of its input; by `second` it turns the adjoint t of *that* into the adjoint of g, and into one of its own input.
The inputs of the stages that are not linear are outputs of the whole chain too, which only `ChainReverse` reads: so
what both passes send there is added up before it travels on, and every matrix is used six times and not eight.

Where gradients of weights are wanted with a graph, which no fit does, plain torch gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from ru_calc.operators.functions import executes
from ru_calc.operators.plain import plain_invariants
from ru_calc.operators.plans import InvariantPlan

Kept = tuple[Tensor, ...]


class Stage(Protocol):
    """One layer; x (n, c) its input, `kept` what `forward` left for the rest, g the adjoint of its output."""

    weights: int
    linear: bool

    def plain(self, x: Tensor, *weights: Tensor) -> Tensor:
        """Output, in torch."""

    def forward(self, forms: Any, x: Tensor, *weights: Tensor) -> tuple[Tensor, Kept]:
        """Output, and what is kept."""

    def reverse(self, forms: Any, x: Tensor, kept: Kept, g: Tensor, *weights: Tensor) -> Tensor:
        """Adjoint of x."""

    def by_weights(self, x: Tensor, kept: Kept, g: Tensor) -> Kept:
        """Adjoints of the weights."""

    def second(
        self, forms: Any, x: Tensor, kept: Kept, g: Tensor, t: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor | None, tuple[Tensor | None, ...]]:
        """Adjoints of g, of x and of the weights, where t is that of what `reverse` gave."""


@dataclass(frozen=True)
class Linear:
    """x Wᵀ + b"""

    weights: int = 2
    linear: bool = True

    def plain(self, x, weight, bias):
        return torch.nn.functional.linear(x, weight, bias)

    def forward(self, forms, x, weight, bias):
        return torch.addmm(bias, x, weight.T), ()

    def reverse(self, forms, x, kept, g, weight, bias):
        return g @ weight

    def by_weights(self, x, kept, g):
        return g.T @ x, g.sum(0)

    def second(self, forms, x, kept, g, t, weight, bias):
        return t @ weight.T, None, (g.T @ t, None)


@dataclass(frozen=True)
class Pointwise:
    """`silu` or `asinh` of each number."""

    kind: str
    weights: int = 0
    linear: bool = False

    def plain(self, x):
        return torch.nn.functional.silu(x) if self.kind == "silu" else torch.asinh(x)

    def forward(self, forms, x):
        return forms.activation(self.kind, x), ()

    def reverse(self, forms, x, kept, g):
        return forms.activation_reverse(self.kind, x, g)

    def by_weights(self, x, kept, g):
        return ()

    def second(self, forms, x, kept, g, t):
        return *forms.activation_second(self.kind, x, g, t), ()


@dataclass(frozen=True)
class Norm:
    """Each row brought to mean 0 and spread 1, times γ, plus β."""

    eps: float
    weights: int = 2
    linear: bool = False

    def plain(self, x, scale, offset):
        return torch.nn.functional.layer_norm(x, x.shape[1:], scale, offset, self.eps)

    def forward(self, forms, x, scale, offset):
        kept = forms.norm(x, self.eps)
        return torch.addcmul(offset, kept[0], scale), kept

    def reverse(self, forms, x, kept, g, scale, offset):
        return forms.norm_reverse(*kept, g * scale)

    def by_weights(self, x, kept, g):
        return (g * kept[0]).sum(0), g.sum(0)

    def second(self, forms, x, kept, g, t, scale, offset):
        by_g, by_x = forms.norm_second(*kept, g * scale, t)
        return by_g * scale, by_x, ((g * by_g).sum(0), None)


Stages = tuple[Stage, ...]


def run_chain(forms: Any, stages: Stages, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Output (n, c') of the stages for x (n, c); `weights` of all stages in order."""
    return Chain.apply(forms, stages, x, *weights)[0]


def _shares(stages: Sequence[Stage], weights: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    """The weights of each stage."""
    ends = [0]
    for stage in stages:
        ends.append(ends[-1] + stage.weights)
    return [weights[start:stop] for start, stop in pairwise(ends)]


def _open_places(stages: Sequence[Stage]) -> list[int]:
    """Stages whose input is an output of the chain: those that are not linear, but for the first."""
    return [k for k, stage in enumerate(stages) if k and not stage.linear]


@dataclass
class Trace:
    """What one run of a chain left behind: the input of each stage, and what each kept."""

    inputs: list[Tensor]
    kept: list[Kept]


class Chain(Function):
    """Output and open inputs of a row of stages, from x (n, c) and their weights."""

    @staticmethod
    def forward(ctx, forms: Any, stages: Stages, x, *weights):
        inputs, kept = [x], []
        for stage, share in zip(stages, _shares(stages, weights), strict=True):
            value, left = stage.forward(forms, inputs[-1], *share)
            inputs.append(value)
            kept.append(left)
        output = inputs.pop()
        ctx.forms, ctx.stages, ctx.sizes = forms, stages, [len(left) for left in kept]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*weights, *inputs, *(tensor for left in kept for tensor in left))
        return output, *(inputs[k] for k in _open_places(stages))

    @staticmethod
    def backward(ctx, g, *open_bars):
        stages, forms = ctx.stages, ctx.forms
        weights, trace = _unpack(ctx)
        any_weights = any(executes(ctx, 1 + k) for k in range(len(weights)))
        if torch.is_grad_enabled():
            x = trace.inputs[0]
            if any_weights or any(bar is not None for bar in open_bars):
                return None, None, *_plain_gradients(plain_chain(stages), (x, *weights), (g, *open_bars))
            opened = [x, *(trace.inputs[k] for k in _open_places(stages))]
            return None, None, ChainReverse.apply(forms, stages, trace, g, *opened, *weights), *[None] * len(weights)
        bars = dict(zip(_open_places(stages), open_bars, strict=True))
        gradients: list[Tensor | None] = []
        for k in reversed(range(len(stages))):
            stage, share = stages[k], _shares(stages, weights)[k]
            at = (trace.inputs[k], trace.kept[k])
            if g is not None:
                gradients = [*(stage.by_weights(*at, g) if any_weights else [None] * stage.weights), *gradients]
                g = stage.reverse(forms, *at, g, *share)
            else:
                gradients = [*[None] * stage.weights, *gradients]
            if bars.get(k) is not None:
                g = bars[k] if g is None else g + bars[k]
        return None, None, g, *gradients


class ChainReverse(Function):
    """Adjoint of x (n, c) from that of the output, the open inputs (x first) and the weights."""

    @staticmethod
    def forward(ctx, forms: Any, stages: Stages, trace: Trace, g, *rest):
        weights = rest[1 + len(_open_places(stages)) :]
        ctx.forms, ctx.stages, ctx.trace, adjoints = forms, stages, trace, []
        for k in reversed(range(len(stages))):
            adjoints.append(g)
            g = stages[k].reverse(forms, trace.inputs[k], trace.kept[k], g, *_shares(stages, weights)[k])
        ctx.save_for_backward(*weights, *reversed(adjoints))
        return g

    @staticmethod
    @once_differentiable
    def backward(ctx, t):
        stages, trace, n = ctx.stages, ctx.trace, len(ctx.stages)
        weights, adjoints = ctx.saved_tensors[:-n], ctx.saved_tensors[-n:]
        by_open: list[Tensor | None] = [] if not stages[0].linear else [None]
        by_weights: list[Tensor | None] = []
        for k, (stage, share) in enumerate(zip(stages, _shares(stages, weights), strict=True)):
            t, by_x, found = stage.second(ctx.forms, trace.inputs[k], trace.kept[k], adjoints[k], t, *share)
            by_open += [] if stage.linear else [by_x]
            by_weights += found
        return None, None, None, t, *by_open, *by_weights


def _unpack(ctx: Any) -> tuple[Kept, Trace]:
    n, saved = sum(stage.weights for stage in ctx.stages), ctx.saved_tensors
    inputs, rest = list(saved[n : n + len(ctx.stages)]), list(saved[n + len(ctx.stages) :])
    kept = [tuple(rest.pop(0) for _ in range(size)) for size in ctx.sizes]
    return saved[:n], Trace(inputs, kept)


def plain_chain(stages: Sequence[Stage]) -> Callable[..., tuple[Tensor, ...]]:
    """The same row of stages in torch: (x, *weights) → output and open inputs."""

    def run(x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        inputs = [x]
        for stage, share in zip(stages, _shares(stages, weights), strict=True):
            inputs.append(stage.plain(inputs[-1], *share))
        return inputs[-1], *(inputs[k] for k in _open_places(stages))

    return run


def _plain_gradients(
    run: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor], bars: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Gradients of Σ bar · output by the inputs, with their graph."""
    taken = [k for k, tensor in enumerate(inputs) if tensor.requires_grad]
    outputs = [(output, bar) for output, bar in zip(run(*inputs), bars, strict=True) if bar is not None]
    found = torch.autograd.grad(
        [output for output, _ in outputs], [inputs[k] for k in taken], [bar for _, bar in outputs], create_graph=True,
        allow_unused=True,
    )  # fmt: skip
    gradients: list[Tensor | None] = [None] * len(inputs)
    for k, gradient in zip(taken, found, strict=True):
        gradients[k] = gradient
    return gradients


class Invariants(Function):
    """Invariants (n, features) of a density a (n, h, k) whose radial index is mixed, m = a M, and m as an open input.

    M is (k, k + 2 triple); see `InvariantPlan`.
    """

    @staticmethod
    def forward(ctx, forms: Any, plan: InvariantPlan, a, mixing):
        ctx.forms, ctx.plan = forms, plan
        m = a @ mixing
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(a, mixing, m)
        return forms.invariants(plan, a, m), m

    @staticmethod
    def backward(ctx, bar, m_bar):
        (a, mixing, m), forms, plan = ctx.saved_tensors, ctx.forms, ctx.plan
        if torch.is_grad_enabled() and bar is not None:
            if executes(ctx, 1) or m_bar is not None:
                return None, None, *_plain_gradients(_plain_mixing(plan), (a, mixing), (bar, m_bar))
            return None, None, InvariantsReverse.apply(forms, plan, bar, a, mixing, m), None
        by_a, by_m = None, m_bar
        if bar is not None:
            by_a, by_m = forms.invariants_reverse(plan, a, m, bar)
            by_m = by_m if m_bar is None else by_m.add_(m_bar)
        if by_m is None:
            return None, None, None, None
        through = by_m @ mixing.T
        return None, None, through if by_a is None else by_a.add_(through), _matrix(a, by_m)


class InvariantsReverse(Function):
    """Adjoint of the density from that of the invariants."""

    @staticmethod
    def forward(ctx, forms: Any, plan: InvariantPlan, bar, a, mixing, m):
        ctx.forms, ctx.plan = forms, plan
        by_a, by_m = forms.invariants_reverse(plan, a, m, bar)
        ctx.save_for_backward(bar, a, mixing, m, by_m)
        return by_a.add_(by_m @ mixing.T)

    @staticmethod
    @once_differentiable
    def backward(ctx, t):
        bar, a, mixing, m, by_m = ctx.saved_tensors
        by_bar, by_a, m_out = ctx.forms.invariants_second(ctx.plan, a, m, bar, t, t @ mixing)
        return None, None, by_bar, by_a, _matrix(t, by_m), m_out


def _matrix(a: Tensor, m: Tensor) -> Tensor:
    """(k, l) Σ over atoms and harmonics of a (n, h, k) ⊗ m (n, h, l)."""
    return a.flatten(0, 1).T @ m.flatten(0, 1)


def _plain_mixing(plan: InvariantPlan) -> Callable[..., tuple[Tensor, ...]]:
    def run(a: Tensor, mixing: Tensor) -> tuple[Tensor, ...]:
        m = a @ mixing
        return plain_invariants(plan, a, m), m

    return run
