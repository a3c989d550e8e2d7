"""A SchNet's compiled passes give what plain torch gives, and refuse what they cannot do."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from checks import frames, small_potential
from flipped_signs import CAN_BUILD, FlippedSigns
from parity import MODELS
from torch import Tensor
from torch.autograd import gradcheck

from ru_calc import kernels
from ru_calc.errors import RuCalcError
from ru_calc.fit.batches import Targets
from ru_calc.fit.losses import LabelStatistics, loss_terms
from ru_calc.fit.settings import FitSettings
from ru_calc.kernels.geometry import PairGeometry
from ru_calc.kernels.network import NetworkPlan, Tape, network_energies
from ru_calc.potentials import Potential
from ru_calc.potentials.derivatives import Batch, differentiate
from ru_calc.predictor import WANTED
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import find_pairs
from ru_calc.tables.harmonics import InvariantPlan
from ru_calc.tables.splines import RadialGrid

KERNELS = list(kernels.available())
pytestmark = pytest.mark.skipif(not KERNELS, reason="there is no compiled module")
SHAPES = {name: {"spline_intervals": 24, **changes} for name, changes in MODELS.items()}
SHAPES["several vectors wide"] = dict(spline_intervals=16, channels=70, angular_radial=37, triple=5, l_max=1, blocks=1)
del SHAPES["wide"]  # too much for plain torch
FLAT = SHAPES.pop("no angles, no blocks")  # has no gradients
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
    together = Structures.from_atoms(atoms)
    batch = Batch.from_structures(together, find_pairs(together, cutoff_A), dtype)
    return replace(batch, volumes=batch.volumes.nan_to_num(1.0))


def predicted(model: Potential, batch: Batch, compiled: bool, want: Collection[str] = WANTED) -> Any:
    return differentiate(model, batch, want, training=True, compiled=compiled)


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


def loss_of(model: Potential, shape: str, compiled: bool, want: Collection[str] = WANTED, few: bool = False) -> Tensor:
    dtype = next(model.parameters()).dtype
    labels = targets(shape, few)
    single = {k: v.to(dtype) for k, v in vars(labels).items() if k not in ("energy", "atom_frames")}
    batch = batch_of(structures(few), model.cutoff_A, dtype)
    terms = loss_terms(FitSettings(), predicted(model, batch, compiled, want), replace(labels, **single), STATISTICS)
    return sum((WEIGHTS[name] * term for name, term in terms.items() if name in want), torch.zeros(()))


def gradients(model: Potential, loss: Tensor) -> Gradients:
    model.zero_grad()
    loss.backward(inputs=list(model.parameters()))
    return {
        name: torch.zeros_like(p).double() if p.grad is None else p.grad.double().clone()
        for name, p in model.named_parameters()
    }


@cache
def truth(shape: str, want: tuple[str, ...] = WANTED, few: bool = False) -> tuple[float, Gradients]:
    """Loss and gradients of plain torch in float64."""
    loss = loss_of(made(shape), shape, False, want, few)
    return loss.item(), gradients(made(shape), loss)


def assert_near(found: Gradients, expected: Gradients, bound: float, floor: float = 1e-5) -> None:
    """Relative to each parameter's gradient, or to a share `floor` of all of them where it is smaller than that."""
    whole = sum(float(value.square().sum()) for value in expected.values()) ** 0.5
    assert found.keys() == expected.keys() and whole > 1e-2
    for name, value in expected.items():
        error = float((found[name] - value).norm()) / max(float(value.norm()), floor * whole)
        assert error < bound, f"the gradient of {name} is off by {error:.2g}"


def check(
    shape: str, bound: float, compiled: bool = True, want: tuple[str, ...] = WANTED, few: bool = False,
    dtype: torch.dtype = torch.float64, floor: float = 1e-5,
) -> None:  # fmt: skip
    """Loss and its gradients by all parameters are those of plain torch."""
    model = copy.deepcopy(made(shape)).to(dtype)
    loss, (value, expected) = loss_of(model, shape, compiled, want, few), truth(shape, want, few)
    assert loss.item() == pytest.approx(value, rel=bound)
    assert_near(gradients(model, loss), expected, bound, floor)


# Gradients of the full loss


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_plain_torch(kernel: ModuleType, shape: str) -> None:
    check(shape, 1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_in_float32_they_agree_up_to_rounding(kernel: ModuleType, shape: str) -> None:
    # Plain torch's own rounding is as large; small gradients are what large ones leave.
    check(shape, 1e-4, dtype=torch.float32, floor=0.1)


@pytest.mark.parametrize("want", [("energy",), ("energy", "forces"), ("forces",), ("stress",)])
@pytest.mark.parametrize("shape", SOME)
def test_of_a_part_of_the_loss(shape: str, want: tuple[str, ...]) -> None:
    check(shape, 1e-10, want=want)


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "plain"])
@pytest.mark.parametrize("changes", [SHAPES["angular"], FLAT], ids=["angular", "no angles, no blocks"])
def test_without_any_pair_or_use_for_them(changes: dict, compiled: bool) -> None:
    model = small_potential(**changes, atom_energy_eV=-1.75).train()
    atoms = structures()[:2] if changes is FLAT else [Atoms("Ru"), Atoms("Ru2", [[0, 0, 0], [7, 0, 0]])]
    found = predicted(model, batch_of(atoms, 5.0), compiled)
    torch.testing.assert_close(found.energies, torch.full_like(found.energies, -1.75))
    assert not found.forces.any() and not found.stress.any()
    (found.energy.sum() + found.forces.sum()).backward(inputs=list(model.parameters()))
    assert all(p.grad is None or float(p.grad.abs().max()) < 1e-11 for p in model.parameters())


def test_backward_may_be_repeated() -> None:
    model = made("angular")
    loss, parameters = loss_of(model, "angular", True), list(model.parameters())
    first, again = (torch.autograd.grad(loss, parameters, retain_graph=True) for _ in range(2))
    assert all(map(torch.equal, first, again))
    check("angular", 1e-10)


def test_gradients_of_batches_add_up() -> None:
    model = made("odd widths")
    parameters = list(model.parameters())
    parts = [truth("odd widths", few=few)[1] for few in (False, True)]
    # Both graphs are alive before the first is gone through.
    losses = [loss_of(model, "odd widths", True, few=few) for few in (False, True)]
    model.zero_grad()
    for loss in losses:
        loss.backward(inputs=parameters)
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    assert_near(found, {name: parts[0][name] + parts[1][name] for name in found}, 1e-10)


def test_the_same_batch_gives_the_same_bits(kernel: ModuleType) -> None:
    model = copy.deepcopy(made("several vectors wide")).float()
    one, other = (gradients(model, loss_of(model, "several vectors wide", True)) for _ in range(2))
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
    for width, following in pairwise(widths):
        shapes += [(following, width), (following,)]
    seed = torch.Generator().manual_seed(3)
    return [torch.randn(s, generator=seed, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def pair_vectors() -> Tensor:
    """(5, 3), none near a knot or where the envelope begins."""
    made = torch.randn(5, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    lengths = torch.tensor([0.8, 1.5, 2.2, 2.6, 3.6], dtype=torch.float64)
    return (made * (lengths / made.norm(dim=1))[:, None]).requires_grad_()


def geometry(vectors: Tensor) -> PairGeometry:
    return PairGeometry.of(4, torch.tensor([0, 0, 1, 0, 2]), torch.tensor([1, 2, 2, 0, 1]), vectors, GRID)


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


# What is refused


def test_gradients_by_weights_have_no_graph() -> None:
    weights, vectors = tensors(SMALLEST), pair_vectors()
    energies = network_energies(SMALLEST, geometry(vectors), vectors, weights)
    with pytest.raises(RuCalcError, match="cannot differentiate gradients by the weights again; use compiled=False"):
        torch.autograd.grad(energies.sum(), weights, create_graph=True)


def test_second_derivatives_by_positions_are_not_here() -> None:
    weights, vectors = tensors(SMALLEST), pair_vectors()
    energies = network_energies(SMALLEST, geometry(vectors), vectors, weights)
    (slopes,) = torch.autograd.grad(energies.sum(), vectors, create_graph=True)
    with pytest.raises(RuCalcError, match="no second derivatives by positions; use compiled=False"):
        torch.autograd.grad(slopes.square().sum(), vectors)


def taped(plan: NetworkPlan = SMALLEST) -> Tape:
    """A tape that has gone forward."""
    tape = Tape(plan, geometry(pair_vectors()))
    tape.forward(tensors(plan))
    return tape


def test_passes_out_of_order_are_refused(kernel: ModuleType) -> None:
    bar = torch.ones(4).double()
    with pytest.raises(RuntimeError, match="the passes of a tape are out of order"):
        early = taped()
        early._reversed = bar
        early.second(bar, torch.ones(5, 3).double())
    other, fewer = taped(), (torch.tensor([0, 0, 1, 0]), torch.tensor([1, 2, 2, 0]), pair_vectors()[:4])
    other.geometry = PairGeometry.of(4, *fewer, GRID)
    vars(other).pop("_around", None)
    with pytest.raises(RuntimeError, match="the passes of a tape are out of order"):
        other._run("reverse", bar.numpy(), np.zeros((4, 3)))
    assert len(taped().finish(bar)) == len(tensors(SMALLEST))


class Recorder(SimpleNamespace):
    """A compiled module; the arguments of its calls are kept."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module=module, calls={})

    def __getattr__(self, name: str) -> Callable:
        def call(*arguments: Any) -> Any:
            self.calls[name] = arguments
            return getattr(self.module, name)(*arguments)

        return call


@pytest.fixture
def calls(kernel: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple]:
    """Of all passes of one training step."""
    recorder = Recorder(kernel)
    monkeypatch.setattr(kernels, "fastest", lambda: recorder)
    slopes = slopes_of(SMALLEST, torch.ones(4).double().requires_grad_(), weights := tensors(SMALLEST))
    torch.autograd.grad(slopes.square().sum(), weights)
    return recorder.calls


def spoilt(value: Any) -> Iterator[Any]:
    """What may not stand in an argument's place."""
    yield None
    yield "64"
    if isinstance(value, np.ndarray):
        yield value.ravel()[:-1].copy()
        yield np.tile(value.ravel(), 2)
        yield value.astype(np.float32)
        yield value.astype(np.int32)
        if value.ndim > 1 and min(value.shape) > 1:
            yield np.asfortranarray(value)
        if value.dtype == np.int64 and len(value):
            for index in (-1, 2**40, -(2**63)):
                yield np.where(np.arange(len(value)) == 1, index, value)
    elif isinstance(value, int):
        yield from (value + 1, value - 1, -value, 2**40, 2**80, 0.5)
    else:
        yield value.__class__  # for a capsule
        yield object()


PASSES = "tape_forward", "tape_reverse", "tape_second", "tape_finish"


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_refuses_what_does_not_fit(calls: dict[str, tuple], kernel: ModuleType, name: str) -> None:
    arguments, run, tried = calls[name], getattr(kernel, name), 0
    run(*arguments)
    for place, value in enumerate(arguments):
        for wrong in spoilt(value):
            if place == 0 and isinstance(wrong, int):
                wrong = 32  # whatever else is 64
            with pytest.raises(REFUSALS):
                run(*arguments[:place], wrong, *arguments[place + 1 :])
            tried += 1
    for count in range(len(arguments)):
        with pytest.raises(RuntimeError, match="an argument is missing"):
            run(*arguments[:count])
    assert tried > 100


@pytest.mark.parametrize("name", ["a_pass_after_one_that_failed", "another_number_of_radial_functions"])
def test_a_tape_in_disorder_does_no_harm(name: str) -> None:
    """In a process of its own."""
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join(map(str, (tests, *sys.path)))
    code = f"import test_network; test_network.{name}()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    assert done.returncode == 0, done.stderr


def a_pass_after_one_that_failed() -> None:
    tape, weights = Tape(SMALLEST, geometry(pair_vectors())), tensors(SMALLEST)
    with pytest.raises(RuntimeError, match=r"argument \d+ holds \d+ numbers, not \d+"):
        tape.forward(weights[::-1])
    tape.weights = [weight.detach().numpy() for weight in weights]
    with pytest.raises(RuntimeError, match="the passes of a tape are out of order"):
        tape._run("reverse", np.ones(4), np.zeros((5, 3)))


def another_number_of_radial_functions() -> None:
    recorder = Recorder(right := kernels.fastest())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "fastest", lambda: recorder)
        taped()
    arguments, (bits, _, *forward) = list(recorder.calls["tape"]), recorder.calls["tape_forward"]
    assert arguments[8] == 2
    other = right.tape(*arguments[:8], 300, *arguments[9:])
    with pytest.raises(RuntimeError, match=r"argument \d+ holds \d+ numbers, not \d+"):
        right.tape_forward(bits, other, *forward)


# That the checks bite


def assert_noticed(few: bool = True) -> None:
    for shape in SOME:
        with pytest.raises(AssertionError):
            check(shape, 1e-10, few=few)


@pytest.mark.skipif(not CAN_BUILD, reason="there is no compiler")
def test_a_wrong_sign_of_any_sum_of_the_compiled_passes_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signs = FlippedSigns(tmp_path)
    monkeypatch.setattr(kernels, "fastest", lambda: signs.module)
    for shape in SOME:
        check(shape, 1e-10, few=True)
    unnoticed = []
    for place, label in enumerate(signs.places):
        signs.flip(place)
        try:
            for shape in SOME:
                check(shape, 1e-10, few=True)
            unnoticed.append(label)
        except AssertionError:
            pass
    assert len(signs.places) > 25 and not unnoticed


def test_gradients_without_the_part_of_the_forces_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Tape.second

    def forgetful(self: Tape, bar: Tensor, u: Tensor) -> Tensor:
        out = second(self, bar, u)
        self._gradients = [torch.zeros_like(gradient) for gradient in self._gradients]
        return out

    monkeypatch.setattr(Tape, "second", forgetful)
    assert_noticed()


def test_slopes_of_the_wrong_sign_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    reverse = Tape.reverse
    monkeypatch.setattr(Tape, "reverse", lambda self, bar: -reverse(self, bar))
    assert_noticed()
    for plan in PLANS.values():
        with pytest.raises(RuntimeError, match="Jacobian mismatch"):
            check_slopes(plan)


def test_energies_that_forget_what_weighs_them_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Tape.second
    monkeypatch.setattr(Tape, "second", lambda self, bar, u: torch.zeros_like(second(self, bar, u)))
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        check_slopes(SMALLEST)
