"""The autograd functions have the derivatives that finite differences have, and compute none that nobody wants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import pytest
import torch
from checks import frames, small_potential
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ru_calc import kernels
from ru_calc.derivatives import Batch, differentiate
from ru_calc.neighbors import find_pairs
from ru_calc.operators import compiled, functions, torch_forms
from ru_calc.operators.functions import Density, DensitySlopes, DensityTable, Edge, Node, Table
from ru_calc.operators.geometry import PairGeometry, RadialGrid
from ru_calc.structures import Structures

GRID = RadialGrid(cutoff_A=3.3, switch_A=0.9, intervals=6)
ATOMS, WIDTH, L_MAX = 5, 3, 2
FIRST, SECOND = torch.tensor([0, 0, 0, 1, 1, 2, 3]), torch.tensor([1, 2, 0, 2, 3, 3, 3])
LENGTHS = torch.tensor([0.7, 1.3, 1.9, 2.2, 2.6, 3.0, 3.5], dtype=torch.float64)  # the last is beyond the cutoff
NO_MODULE = pytest.mark.skipif(kernels.fastest() is None, reason="there is no compiled module")
HARMONICS = (L_MAX + 1) ** 2


@pytest.fixture(params=[pytest.param(compiled, marks=NO_MODULE), torch_forms], ids=["compiled", "torch"])
def forms(request: pytest.FixtureRequest) -> ModuleType:
    return request.param


def leaf(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(100 * seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def directions() -> Tensor:
    made = leaf(len(FIRST), 3).detach()
    return made / made.norm(dim=1, keepdim=True)


def distances() -> Tensor:
    return LENGTHS.clone().requires_grad_()


def vectors() -> Tensor:
    return (directions() * LENGTHS[:, None]).requires_grad_()


def factors(*, none: bool) -> Tensor | None:
    return None if none else leaf(len(FIRST))


def at(forms: ModuleType, r: Tensor) -> PairGeometry:
    """Pairs with these vectors (p, 3), or with these distances (p,)."""
    moved = r if r.dim() == 2 else directions() * r.detach()[:, None]
    return PairGeometry.of(ATOMS, FIRST, SECOND, moved, GRID, forms)


def check(function: Callable[..., Tensor], arguments: tuple[Tensor | None, ...], twice: bool) -> None:
    assert gradcheck(function, arguments)
    assert not twice or gradgradcheck(function, arguments)


# Derivatives


@pytest.mark.parametrize("none", [True, False], ids=["alone", "with factors"])
@pytest.mark.parametrize("order", [0, 1])
def test_of_the_node_output(forms: ModuleType, order: int, none: bool) -> None:
    arguments = factors(none=none), leaf(ATOMS, WIDTH), leaf(GRID.rows, WIDTH), distances()
    check(lambda e, h, table, r: Node.apply(at(forms, r), order, e, h, table, r), arguments, order == 0)


@pytest.mark.parametrize("order", [0, 1])
def test_of_the_edge_output(forms: ModuleType, order: int) -> None:
    arguments = leaf(ATOMS, WIDTH), leaf(ATOMS, WIDTH, seed=1), leaf(GRID.rows, WIDTH), distances()
    check(lambda a, h, table, r: Edge.apply(at(forms, r), order, a, h, table, r), arguments, order == 0)


@pytest.mark.parametrize("none", [True, False], ids=["alone", "with factors"])
@pytest.mark.parametrize("order", [0, 1])
def test_of_the_table_output(forms: ModuleType, order: int, none: bool) -> None:
    arguments = factors(none=none), leaf(ATOMS, WIDTH), leaf(ATOMS, WIDTH, seed=1), distances()
    check(lambda e, a, h, r: Table.apply(at(forms, r), order, e, a, h, r), arguments, order == 0)


def test_of_the_density(forms: ModuleType) -> None:
    def density(table: Tensor, v: Tensor) -> Tensor:
        return Density.apply(at(forms, v), at(forms, v).sphere(L_MAX), table, v)

    check(density, (leaf(GRID.rows, 2), vectors()), True)


def test_of_the_densitys_table(forms: ModuleType) -> None:
    def table(bar: Tensor, v: Tensor) -> Tensor:
        return DensityTable.apply(at(forms, v), at(forms, v).sphere(L_MAX), bar, v)

    check(table, (leaf(ATOMS, HARMONICS, 2), vectors()), True)


def test_of_the_densitys_slopes(forms: ModuleType) -> None:
    def slopes(bar: Tensor, table: Tensor, v: Tensor) -> Tensor:
        return DensitySlopes.apply(at(forms, v), at(forms, v).sphere(L_MAX), bar, table, v)

    check(slopes, (leaf(ATOMS, HARMONICS, 2), leaf(GRID.rows, 2), vectors()), False)


# That the check bites


@pytest.mark.parametrize("name", ["edge", "node", "table"])
def test_a_wrong_sign_is_noticed(forms: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a sum that only the derivatives of another take."""
    of = {"edge": test_of_the_node_output, "node": test_of_the_table_output, "table": test_of_the_node_output}
    right = getattr(forms, name)
    monkeypatch.setattr(forms, name, lambda *arguments: -right(*arguments))
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        of[name](forms, 0, False)


@pytest.mark.parametrize("name", ["density", "density_table", "density_slopes"])
def test_a_wrong_sign_of_the_density_is_noticed(forms: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of = {"density": test_of_the_densitys_table}.get(name, test_of_the_density)
    right = getattr(forms, name)
    monkeypatch.setattr(forms, name, lambda *arguments: -right(*arguments))
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        of(forms)


# Only what is wanted


def counting(forms: ModuleType, calls: Counter) -> SimpleNamespace:
    """The same forms; each call is counted."""

    def counted(name: str) -> Callable:
        def call(*arguments: object) -> object:
            calls[name] += 1
            return getattr(forms, name)(*arguments)

        return call

    names = "pair_weights", "pair_harmonics", "node", "edge", "table", "density", "density_slopes", "density_table"
    return SimpleNamespace(**{name: counted(name) for name in names})


def calls_of_forces_and_loss(forms: ModuleType) -> tuple[Counter, Counter]:
    """For energies and forces of two blocks and an angular embedding, and then for the gradient of a loss."""
    model, calls = small_potential(spline_intervals=16).train(), Counter()
    structures = Structures.from_atoms(frames()["two atoms"])
    batch = Batch.from_structures(structures, find_pairs(structures, model.cutoff_A), torch.float64)
    prediction = differentiate(model, batch, ("energy", "forces"), True, counting(forms, calls))
    before = calls.copy()
    prediction.forces.square().sum().backward(inputs=list(model.parameters()))
    return before, calls - before


def test_forces_do_not_pay_for_gradients_of_tables(forms: ModuleType) -> None:
    forces, loss = calls_of_forces_and_loss(forms)
    assert forces == Counter(
        pair_weights=1, pair_harmonics=1, density=1, density_slopes=1, node=2 + 2, edge=2
    )  # fmt: skip
    assert loss["table"] == 3 * 2 and loss["density_table"] == 2
    assert loss["pair_weights"] == loss["pair_harmonics"] == 0


def test_they_would_if_only_needs_input_grad_were_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "executes", lambda ctx, place: True)
    forces, _ = calls_of_forces_and_loss(torch_forms)
    assert forces["table"] == 2 and forces["density_table"] == 1
