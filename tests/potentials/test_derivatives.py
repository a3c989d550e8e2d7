"""Forces and stress are derivatives of the energy, and the energy is invariant, extensive and smooth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from ase import Atoms
from checks import (
    Evaluate,
    assert_same,
    batch_of,
    check_forces,
    check_permutation,
    check_rotation,
    check_split,
    check_stress,
    check_supercell,
    check_translation,
    check_wrap,
    evaluator,
    frames,
    small_potential,
    without,
)

from ru_calc.errors import SettingsError
from ru_calc.potentials import Pairs, Potential
from ru_calc.potentials.derivatives import Assembly, Batch, Reference, differentiate
from ru_calc.potentials.schnet import SchNet
from ru_calc.predictor import WANTED, Prediction
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs, find_pairs

FRAMES = frames()
PERIODIC = ["hcp", "two atoms", "one atom", "skewed"]


@pytest.fixture(scope="module")
def evaluate() -> Evaluate:
    return evaluator(small_potential())


# What breaks one thing


def with_changed_weight(by: float = 1e-3) -> Potential:
    model = small_potential()
    with torch.no_grad():
        model.blocks[0].filter[0].weight[3, 2] += by
    return model


def drop_first_pair(structures: Structures, cutoff_A: float) -> NeighborPairs:
    return without(find_pairs(structures, cutoff_A), 0)


def forget_home(structures: Structures, cutoff_A: float) -> NeighborPairs:
    """Looks for pairs in the cell, and forgets that the atoms were elsewhere."""
    fractions = structures.positions @ np.linalg.inv(structures.cells[0])
    inside = dataclasses.replace(structures, positions=(fractions % 1.0) @ structures.cells[0])
    return find_pairs(inside, cutoff_A)


def changed(evaluate: Evaluate, **parts: object) -> Evaluate:
    """The same, with a part of each prediction changed by a function."""

    def wrapper(atoms: Atoms) -> Prediction:
        prediction = evaluate(atoms)
        return dataclasses.replace(prediction, **{k: f(getattr(prediction, k).copy()) for k, f in parts.items()})

    return wrapper


def moved(evaluate: Evaluate, change: Callable[[np.ndarray], np.ndarray]) -> Evaluate:
    """The same for atoms, and a cell, whose coordinates a function changed."""

    def wrapper(atoms: Atoms) -> Prediction:
        return evaluate(Atoms(atoms.numbers, change(atoms.positions), cell=change(atoms.cell.array), pbc=atoms.pbc))

    return wrapper


# Finite differences


@pytest.mark.parametrize("name", [name for name in FRAMES if name not in ("one atom", "lone")])
def test_forces_are_slopes_of_the_energy(evaluate: Evaluate, name: str) -> None:
    check_forces(evaluate, FRAMES[name])


@pytest.mark.parametrize("name", PERIODIC)
def test_stress_is_the_slope_of_the_energy_under_strain(evaluate: Evaluate, name: str) -> None:
    check_stress(evaluate, FRAMES[name])


def test_stress_of_a_slab_in_a_box_is_the_slope_of_the_energy_under_strain(evaluate: Evaluate) -> None:
    slab = FRAMES["slab"].copy()
    slab.cell[2] = [1.0, -2.0, 20.0]
    check_stress(evaluate, slab)


@pytest.mark.parametrize("angular", [True, False])
@pytest.mark.parametrize("layer_norm", [True, False])
def test_every_form_of_the_network_has_exact_derivatives(angular: bool, layer_norm: bool) -> None:
    evaluate = evaluator(small_potential(angular=angular, layer_norm=layer_norm))
    check_forces(evaluate, FRAMES["two atoms"])
    check_stress(evaluate, FRAMES["two atoms"])


def test_forces_add_up_to_nothing(evaluate: Evaluate) -> None:
    for atoms in FRAMES.values():
        assert np.abs(evaluate(atoms).forces.sum(axis=0)).max() < 1e-11


def test_atoms_within_the_core_repel(evaluate: Evaluate) -> None:
    assert evaluate(Atoms("Ru2", [[0, 0, 0], [0.5, 0, 0]])).energy[0] > 500
    forces = evaluate(Atoms("Ru2", [[0, 0, 0], [0.9, 0, 0]])).forces
    assert forces[0, 0] < -50.0 < 50.0 < forces[1, 0]


def test_a_wrong_force_is_noticed(evaluate: Evaluate) -> None:
    atoms = FRAMES["two atoms"]
    with pytest.raises(AssertionError, match="forces "):
        check_forces(changed(evaluate, forces=lambda f: f * [1, -1, 1]), atoms)
    other = evaluator(with_changed_weight())
    with pytest.raises(AssertionError, match="not within"):
        check_forces(changed(evaluate, forces=lambda f: other(atoms).forces), atoms)


def test_a_wrong_stress_is_noticed(evaluate: Evaluate) -> None:
    atoms = FRAMES["two atoms"]
    with pytest.raises(AssertionError, match="stress "):
        check_stress(changed(evaluate, stress=lambda s: s * [1, 1, 1, 1, -1, 1]), atoms)
    with pytest.raises(AssertionError, match="not within"):
        check_stress(changed(evaluate, stress=lambda s: s[:, [0, 1, 2, 5, 4, 3]]), atoms)


# Invariances, and that each check bites


def test_broken_invariances_are_noticed(evaluate: Evaluate) -> None:
    atoms = FRAMES["hcp"]
    dropping = evaluator(small_potential(), find=drop_first_pair)
    with pytest.raises(AssertionError):
        check_split(dropping, FRAMES["cluster"], FRAMES["dimer"])
    for check, broken in (
        (check_supercell, dropping),
        (check_permutation, dropping),
        (check_rotation, moved(evaluate, lambda vectors: vectors * [1.001, 1, 1])),
        (check_translation, moved(evaluate, np.float32)),
        (check_wrap, evaluator(small_potential(), find=forget_home)),
    ):
        with pytest.raises(AssertionError):
            check(broken, atoms)


# The cutoff


# Precision


def test_a_weight_changed_by_a_thousandth_is_noticed() -> None:
    atoms = FRAMES["hcp"]
    with pytest.raises(AssertionError):
        assert_same(evaluator(with_changed_weight(), "float32")(atoms), evaluator(small_potential())(atoms), "float32")


def test_float32_is_exact_far_from_the_origin() -> None:
    check_translation(evaluator(small_potential(), "float32"), FRAMES["hcp"], "float32")


def test_a_model_that_went_through_float32_is_as_invariant_as_before() -> None:
    check_rotation(evaluator(small_potential().float().double()), FRAMES["hcp"])


# Threads of torch


class Watching(SchNet):
    """Writes down torch's threads at each evaluation and derivative, and fails where it is told to."""

    seen: list[int]
    fails = False

    def atomic_energies(self, pairs: Pairs) -> torch.Tensor:
        self.seen.append(torch.get_num_threads())
        if self.fails:
            raise ArithmeticError("told to fail")
        energies = super().atomic_energies(pairs)
        if energies.requires_grad:
            energies.register_hook(lambda slope: self.seen.append(torch.get_num_threads()))
        return energies


def watching() -> Watching:
    model = small_potential()
    model.__class__ = Watching
    model.seen = []
    return model


@pytest.mark.parametrize("asked", [1, 3, None])
def test_a_prediction_takes_the_threads_it_was_given_and_puts_torchs_back(
    torch_threads: Callable[[], int], asked: int | None
) -> None:
    model = watching()
    reference = Reference(model, threads=asked)
    torch.set_num_threads(2)
    reference.predict(FRAMES["two atoms"])
    assert model.seen == 2 * [asked or 2] and torch_threads() == 2
    model.fails = True
    with pytest.raises(ArithmeticError):
        reference.predict(FRAMES["two atoms"])
    assert model.seen[2:] == [asked or 2] and torch_threads() == 2


def test_threads_of_the_cpu_are_left_alone_for_another_device_and_none_is_refused() -> None:
    assert Reference(watching(), device="meta", threads=3).threads is None
    with pytest.raises(SettingsError, match="threads is 0; it must be 1 or more"):
        Reference(watching(), threads=0)


# Only what is asked for


@pytest.mark.parametrize(
    ("want", "backward"), [(("energy", "energies"), 0), (("forces",), 1), (("stress",), 1), (WANTED, 1)]
)
def test_no_derivative_is_taken_that_nobody_wants(want: tuple[str, ...], backward: int) -> None:
    model = watching()
    Reference(model).predict(FRAMES["two atoms"], None, want)
    assert len(model.seen) == 1 + backward


def test_training_keeps_the_graph_of_forces_and_stress() -> None:
    model, batch = small_potential(), batch_of(FRAMES["two atoms"])
    prediction = differentiate(model, batch, WANTED, training=True)
    (prediction.forces.square().sum() + prediction.stress.square().sum()).backward()
    weight = model.blocks[0].filter[0].weight
    assert weight.grad is not None
    assert weight.grad.abs().max() > 0


# Energies, forces and stress from slopes


def batch_and_slopes() -> tuple[Batch, torch.Tensor, torch.Tensor]:
    batch = batch_of([FRAMES["two atoms"], FRAMES["one atom"]], 3.3)
    generator = torch.Generator().manual_seed(0)
    energies, slopes = (
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((3,), batch.vectors.shape)
    )
    return batch, energies, slopes


@pytest.mark.parametrize(("forces", "stress"), [(True, True), (True, False), (False, True), (False, False)])
def test_the_assembly_has_the_derivatives_of_finite_differences(forces: bool, stress: bool) -> None:
    batch, energies, slopes = batch_and_slopes()

    def assembled(energies: torch.Tensor, slopes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(part for part in Assembly.apply(batch, energies, slopes, forces, stress) if part is not None)

    assert len(assembled(energies, slopes)) == 1 + forces + stress
    assert torch.autograd.gradcheck(assembled, (energies, slopes))


def test_the_assembly_sums_pair_by_pair() -> None:
    batch, energies, slopes = batch_and_slopes()
    energy, forces, stress = Assembly.apply(batch, energies, slopes, True, True)
    expected_forces, virial = torch.zeros(3, 3).double(), torch.zeros(2, 3, 3).double()
    for i, j, frame, vector, slope in zip(
        batch.first, batch.second, batch.pair_frames, batch.vectors, slopes.detach(), strict=True
    ):
        expected_forces[i] += slope
        expected_forces[j] -= slope
        virial[frame] += torch.outer(vector, slope) / batch.volumes[frame]
    virial = 0.5 * (virial + virial.mT)
    torch.testing.assert_close(energy, torch.stack([energies[:2].sum(), energies[2]]))
    torch.testing.assert_close(forces, expected_forces)
    for column, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        torch.testing.assert_close(stress[:, column], virial[:, a, b])


def test_energies_alone_need_no_slopes() -> None:
    batch, energies, _ = batch_and_slopes()
    energy, forces, stress = Assembly.apply(batch, energies, None, True, True)
    assert forces is None and stress is None
    energy[1].backward()
    assert energies.grad.tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("training", [False, True])
def test_energies_that_no_position_enters_have_no_forces(training: bool) -> None:
    model, batch = small_potential(angular=False, blocks=0), batch_of(FRAMES["hcp"])
    for frozen in (False, True):
        prediction = differentiate(model.requires_grad_(not frozen), batch, WANTED, training)
        assert not prediction.forces.any() and not prediction.stress.any()
