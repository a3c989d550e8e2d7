"""A SchNet's compiled passes give what plain torch gives, and refuse what they cannot do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from checks import frames, small_potential
from parity import MODELS
from torch import Tensor
from torch.autograd import gradcheck

from ru_calc import kernels
from ru_calc.derivatives import Batch, differentiate
from ru_calc.errors import RuCalcError
from ru_calc.fit.batches import Targets
from ru_calc.fit.losses import LabelStatistics, loss_terms
from ru_calc.neighbors import find_pairs
from ru_calc.operators import compiled, torch_forms
from ru_calc.operators.geometry import PairGeometry, RadialGrid
from ru_calc.operators.network import NetworkPlan, Tape, network_energies
from ru_calc.operators.plans import InvariantPlan
from ru_calc.potentials import Potential
from ru_calc.predictor import WANTED
from ru_calc.structures import Structures

KERNELS = list(kernels.available())
pytestmark = pytest.mark.skipif(not KERNELS, reason="there is no compiled module")
SHAPES = {name: {"spline_intervals": 24, **changes} for name, changes in MODELS.items()}
SHAPES["several vectors wide"] = dict(spline_intervals=16, channels=70, angular_radial=37, triple=5, l_max=1, blocks=1)
del SHAPES["wide"]  # too much for plain torch
SOME = ["angular, three blocks", "no angles, three blocks, no norm", "odd widths"]
REFUSALS = (RuntimeError, TypeError, ValueError, BufferError, OverflowError)
STATISTICS = LabelStatistics(-9.0, 0.5, 2.0, 0.1)
WEIGHTS = {"energy": 1.0, "forces": 3.0, "stress": 0.3}
Gradients = dict[str, Tensor]


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = kernels.available()[request.param]
    monkeypatch.setattr(kernels, "fastest", lambda: module)
    return module


def structures(few: bool = False) -> list[Atoms]:
    """All kinds of boundaries, an atom that sees only its images, one that sees nothing, and one within a core."""
    every = frames()
    names = ("two atoms", "lone") if few else ("two atoms", "one atom", "skewed", "wire", "dimer", "lone")
    close = every["dimer"].copy()
    close.set_distance(0, 1, 1.5)
    return [every[name] for name in names] + [close]


@cache
def made(shape: str) -> Potential:
    """No scale is 1, no offset 0."""
    model, noise = small_potential(**SHAPES[shape]).train(), torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if ".norm." in name:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=noise, dtype=parameter.dtype)
    return model


def batch_of(atoms: list[Atoms], cutoff_A: float, dtype: torch.dtype = torch.float64) -> Batch:
    frames = Structures.from_atoms(atoms)
    batch = Batch.from_structures(frames, find_pairs(frames, cutoff_A), dtype)
    return replace(batch, volumes=batch.volumes.nan_to_num(1.0))


def predicted(model: Potential, batch: Batch, forms: Any, want: Collection[str] = WANTED) -> Any:
    return differentiate(model, batch, want, training=True, forms=forms)


@cache
def targets(shape: str, few: bool) -> Targets:
    """Labels at both sides of where Huber's measure bends, some of them missing."""
    model = made(shape)
    batch = batch_of(structures(few), model.cutoff_A)
    found, noise = differentiate(model, batch), torch.Generator().manual_seed(2)

    def label(values: Tensor, scale: float) -> Tensor:
        return values.detach() + scale * torch.randn(values.shape, generator=noise, dtype=values.dtype)

    counts = torch.bincount(batch.atom_frames).double()
    energy, forces, stress = label(found.energy, 0.05), label(found.forces, 0.3), label(found.stress, 0.03)
    energy[1], forces[0, 1], forces[-1], stress[-1] = 4 * [float("nan")]
    return Targets(energy, forces, stress, counts, 1.0 + 0.1 * torch.arange(len(counts)).double(), batch.atom_frames)


def loss_of(model: Potential, shape: str, forms: Any, want: Collection[str] = WANTED, few: bool = False) -> Tensor:
    dtype = next(model.parameters()).dtype
    labels = targets(shape, few)
    single = {k: v.to(dtype) for k, v in vars(labels).items() if k not in ("energy", "atom_frames")}
    batch = batch_of(structures(few), model.cutoff_A, dtype)
    terms = loss_terms("relative", predicted(model, batch, forms, want), replace(labels, **single), STATISTICS)
    return sum((WEIGHTS[name] * term for name, term in terms.items() if name in want), torch.zeros(()))


def gradients(model: Potential, loss: Tensor) -> Gradients:
    model.zero_grad()
    loss.backward(inputs=list(model.parameters()))
    return {name: parameter.grad.double().clone() for name, parameter in model.named_parameters()}


@cache
def truth(shape: str, want: tuple[str, ...] = WANTED, few: bool = False) -> tuple[float, Gradients]:
    """Loss and gradients of plain torch in float64."""
    loss = loss_of(made(shape), shape, None, want, few)
    return loss.item(), gradients(made(shape), loss)


def assert_near(found: Gradients, expected: Gradients, bound: float) -> None:
    """Relative to each parameter's gradient, unless that is rounding beside the others."""
    whole = sum(float(value.square().sum()) for value in expected.values()) ** 0.5
    assert found.keys() == expected.keys() and whole > 1.0
    for name, value in expected.items():
        error = float((found[name] - value).norm() / (value.norm() + 1e-5 * whole))
        assert error < bound, f"the gradient of {name} is off by {error:.2g}"


def check(
    shape: str, bound: float, forms: Any = compiled, want: tuple[str, ...] = WANTED, few: bool = False,
    dtype: torch.dtype = torch.float64,
) -> None:  # fmt: skip
    """Loss and its gradients by all parameters are those of plain torch."""
    model = copy.deepcopy(made(shape)).to(dtype)
    loss, (value, expected) = loss_of(model, shape, forms, want, few), truth(shape, want, few)
    assert loss.item() == pytest.approx(value, rel=bound)
    assert_near(gradients(model, loss), expected, bound)


# Gradients of the full loss


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_plain_torch(kernel: ModuleType, shape: str) -> None:
    check(shape, 1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_so_they_are_one_sum_at_a_time(shape: str) -> None:
    check(shape, 1e-10, torch_forms)


@pytest.mark.parametrize("shape", SHAPES)
def test_in_float32_they_agree_up_to_rounding(kernel: ModuleType, shape: str) -> None:
    check(shape, 1e-4, dtype=torch.float32)


@pytest.mark.parametrize("want", [("energy",), ("energy", "forces"), ("forces",), ("stress",)])
@pytest.mark.parametrize("shape", SOME)
def test_of_a_part_of_the_loss(shape: str, want: tuple[str, ...]) -> None:
    check(shape, 1e-10, want=want)


def test_without_any_pair() -> None:
    model, alone = made("angular"), batch_of([Atoms("Ru"), Atoms("Ru")], 5.0)
    assert not len(alone.first)
    found = predicted(model, alone, compiled)
    assert not found.forces.any() and not found.stress.any()
    (found.energy.sum() + found.forces.sum()).backward(inputs=list(model.parameters()))
    assert all(float(parameter.grad.abs().max()) < 1e-12 for parameter in model.parameters())


def test_backward_may_be_repeated() -> None:
    model = made("angular")
    loss, parameters = loss_of(model, "angular", compiled), list(model.parameters())
    first, again = (torch.autograd.grad(loss, parameters, retain_graph=True) for _ in range(2))
    assert all(map(torch.equal, first, again))
    check("angular", 1e-10)


def test_gradients_of_batches_add_up() -> None:
    model = made("odd widths")
    model.zero_grad()
    parameters = list(model.parameters())
    # Both graphs are alive before the first is gone through.
    losses = [loss_of(model, "odd widths", compiled, few=few) for few in (False, True)]
    for loss in losses:
        loss.backward(inputs=parameters)
    parts = [truth("odd widths", few=few)[1] for few in (False, True)]
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    assert_near(found, {name: parts[0][name] + parts[1][name] for name in found}, 1e-10)


def test_the_same_batch_gives_the_same_bits(kernel: ModuleType) -> None:
    model = copy.deepcopy(made("several vectors wide")).float()
    one, other = (gradients(model, loss_of(model, "several vectors wide", compiled)) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


# The function by itself

SMALLEST = NetworkPlan(2, 1, (2,), 1e-3, InvariantPlan(2, 1, 1))
GRID = RadialGrid(4.0, 1.0, 4)


def tensors(plan: NetworkPlan, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Random weights for a plan."""
    c, it, rows = plan.channels, plan.invariants, GRID.rows
    shapes: list[tuple[int, ...]] = [(c,)]
    if it:
        shapes = [(rows, it.radial), (it.radial, it.radial + 2 * it.triple)]
        shapes += [(c, it.features), (c,), (c, c), (c,)]
    norm = [(c,), (c,)] if plan.norm_eps else []
    shapes += plan.blocks * [(rows, c), (c, c), (c, c), (c,), *norm, (c, c), (c,)]
    widths = [c, *plan.readout, 1]
    for width, following in zip(widths[:-1], widths[1:], strict=True):
        shapes += [(following, width), (following,)]
    seed = torch.Generator().manual_seed(3)
    return [torch.randn(s, generator=seed, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def pair_vectors() -> Tensor:
    """(5, 3), none near a knot or where the envelope begins."""
    made = torch.randn(5, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    lengths = torch.tensor([0.8, 1.5, 2.2, 2.6, 3.6], dtype=torch.float64)
    return (made * (lengths / made.norm(dim=1))[:, None]).requires_grad_()


def geometry(vectors: Tensor) -> PairGeometry:
    return PairGeometry.of(4, torch.tensor([0, 0, 1, 0, 2]), torch.tensor([1, 2, 2, 0, 1]), vectors, GRID, compiled)


PLANS = {
    "angular": SMALLEST,
    "angular, two layers, no norm": replace(SMALLEST, readout=(2, 3), norm_eps=None),
    "no angles, linear": NetworkPlan(2, 2, (), 1e-3, None),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_energies_have_first_derivatives(plan: NetworkPlan) -> None:
    def energies(vectors: Tensor, *weights: Tensor) -> Tensor:
        return network_energies(plan, geometry(vectors), vectors, weights)

    assert gradcheck(energies, (pair_vectors(), *tensors(plan)))


def slopes_of(plan: NetworkPlan, bar: Tensor, weights: Collection[Tensor]) -> Tensor:
    vectors = pair_vectors()
    energies = network_energies(plan, geometry(vectors), vectors, list(weights))
    return torch.autograd.grad(energies, vectors, bar, create_graph=True)[0]


def check_slopes(plan: NetworkPlan) -> None:
    bar = torch.tensor([0.7, -1.1, 0.4, 2.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda bar, *weights: slopes_of(plan, bar, weights), (bar, *tensors(plan)))


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_slopes_have_derivatives_by_weights_and_by_what_weighs_the_energies(plan: NetworkPlan) -> None:
    check_slopes(plan)


def two_bars() -> list[Tensor]:
    return [torch.linspace(a, b, 4, dtype=torch.float64).requires_grad_() for a, b in ((1, 2), (-3, 1))]


def by_each_alone(weights: list[Tensor]) -> list[list[Tensor]]:
    losses = [slopes_of(SMALLEST, bar, weights).square().sum() for bar in two_bars()]
    return [list(torch.autograd.grad(loss, weights)) for loss in losses]


def slopes_of_one_pass(weights: list[Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Energies, the two bars, and the slopes of each."""
    vectors, bars = pair_vectors(), two_bars()
    energies = network_energies(SMALLEST, geometry(vectors), vectors, weights)
    return energies, bars, [torch.autograd.grad(energies, vectors, bar, create_graph=True)[0] for bar in bars]


def assert_all_near(found: Collection[Tensor], expected: Collection[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_one_pass_serves_one_backward_pass_after_another() -> None:
    weights = tensors(SMALLEST)
    _, _, slopes = slopes_of_one_pass(weights)
    for k in (0, 1, 0):
        found = torch.autograd.grad(slopes[k].square().sum(), weights, retain_graph=True)
        assert_all_near(found, by_each_alone(weights)[k])


def test_one_pass_serves_several_at_once() -> None:
    weights = tensors(SMALLEST)
    _, _, slopes = slopes_of_one_pass(weights)
    found = torch.autograd.grad(sum(part.square().sum() for part in slopes), weights)
    assert_all_near(found, [one + other for one, other in zip(*by_each_alone(weights), strict=True)])


def test_a_backward_pass_leaves_nothing_to_the_next() -> None:
    weights = tensors(SMALLEST)
    energies, bars, slopes = slopes_of_one_pass(weights)
    expected = torch.autograd.grad(energies.sum(), weights, retain_graph=True)
    torch.autograd.grad(slopes[0].square().sum(), bars[0], retain_graph=True)
    assert_all_near(torch.autograd.grad(energies.sum(), weights), expected)
