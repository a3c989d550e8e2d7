"""The contract of a family of potentials: a new line in `FAMILIES` gets every test here."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from ase import Atoms
from checks import (
    Evaluate,
    assert_same,
    check_energy_is_conserved,
    check_forces,
    check_permutation,
    check_rotation,
    check_smooth_at_cutoff,
    check_split,
    check_stress,
    check_supercell,
    check_translation,
    check_wrap,
    evaluator,
    frames,
    small_potential,
)
from parity import FINEST, KERNELS, device_engine, engine, intervals

from ru_calc.errors import ModelError, SettingsError
from ru_calc.potentials import FAMILIES, Pairs, Potential, build_potential
from ru_calc.potentials.derivatives import Reference
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import find_pairs

FRAMES = frames()
# Families, and what stands beside them: other settings of one, by which much of it runs another way.
OTHER_SETTINGS: dict[str, tuple[str, dict[str, object]]] = {"schnet from tables": ("schnet", {"spline_intervals": 32})}
KINDS = {**{name: (name, {}) for name in FAMILIES}, **OTHER_SETTINGS}
CONSERVATIVE = [kind for kind, (name, _) in KINDS.items() if FAMILIES[name][0].conservative]
# Engines that evaluate potentials keep the contract too.
ENGINES: dict[str, tuple[Callable, str]] = {
    f"{make.__name__}: {name}": (make, name)
    for make in (engine, device_engine)
    for name in ("angular", "no angles, three blocks, no norm")
}
SERVED = [kind for kind in ENGINES if KERNELS or not kind.startswith("engine")]


def made(kind: str, **changes: object) -> Potential:
    name, settings = KINDS[kind]
    return small_potential(name, **settings, **changes)


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def evaluator_of(kind: str) -> Evaluate:
    """Of a potential, or of an engine with the finest tables."""
    if kind not in ENGINES:
        return evaluator(made(kind))
    make, name = ENGINES[kind]
    return make(name, intervals=intervals(name, FINEST)).predict


@pytest.fixture(scope="module", params=[*KINDS, *SERVED])
def evaluate(request: pytest.FixtureRequest) -> Evaluate:
    return evaluator_of(request.param)


@pytest.fixture(scope="module", params=[*CONSERVATIVE, *SERVED])
def conservative(request: pytest.FixtureRequest) -> Evaluate:
    return evaluator_of(request.param)


def test_a_family_names_itself_and_its_settings(family: str) -> None:
    potential, settings = FAMILIES[family]
    assert issubclass(potential, Potential)
    assert potential.family == family
    assert dataclasses.is_dataclass(settings)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().cutoff_A = 1.0


def test_hyperparameters_are_plain_and_build_an_equal_module(kind: str) -> None:
    model = made(kind)
    plain = json.loads(json.dumps(model.hyperparameters()))
    twin = build_potential(model.family, plain).double().eval()
    twin.load_state_dict(model.state_dict())
    assert twin.settings == model.settings
    assert_same(evaluator(twin)(FRAMES["hcp"]), evaluator(model)(FRAMES["hcp"]))


def test_unknown_families_and_hyperparameters_are_refused(family: str) -> None:
    with pytest.raises(ModelError, match="no family 'nonesuch'"):
        build_potential("nonesuch", {})
    with pytest.raises(ModelError, match="nonesuch"):
        build_potential(family, {"nonesuch": 1})


def test_a_model_pickles_and_copies(kind: str) -> None:
    model = made(kind)
    expected = evaluator(model)(FRAMES["hcp"])
    assert_same(evaluator(pickle.loads(pickle.dumps(model)))(FRAMES["hcp"]), expected)
    assert_same(evaluator(copy.deepcopy(model))(FRAMES["hcp"]), expected)


def test_the_same_atoms_give_the_same_bits(evaluate: Evaluate) -> None:
    a, b = evaluate(FRAMES["hcp"]), evaluate(FRAMES["hcp"])
    assert np.array_equal(a.energies, b.energies)
    assert np.array_equal(a.forces, b.forces)


@pytest.mark.parametrize("name", ["hcp", "two atoms", "one atom", "skewed"])
def test_extensive(evaluate: Evaluate, name: str) -> None:
    check_supercell(evaluate, FRAMES[name])


@pytest.mark.parametrize("name", FRAMES)
def test_invariant_under_permutation_translation_and_wrapping(evaluate: Evaluate, name: str) -> None:
    check_permutation(evaluate, FRAMES[name])
    check_translation(evaluate, FRAMES[name])
    check_wrap(evaluate, FRAMES[name])


@pytest.mark.parametrize(("one", "other"), [("cluster", "dimer"), ("dimer", "lone"), ("lone", "lone")])
def test_fragments_do_not_see_each_other(evaluate: Evaluate, one: str, other: str) -> None:
    check_split(evaluate, FRAMES[one], FRAMES[other])
    check_split(evaluate, FRAMES[one], FRAMES[other], gap_A=1e6)


def test_every_kind_of_frame_is_served(evaluate: Evaluate) -> None:
    for name, atoms in FRAMES.items():
        prediction = evaluate(atoms)
        assert np.isfinite(prediction.energies).all(), name
        assert np.isfinite(prediction.forces).all(), name
        assert prediction.energy[0] == pytest.approx(prediction.energies.sum(), abs=1e-10)


def test_float32_agrees(kind: str) -> None:
    for name in FRAMES:
        assert_same(evaluator(made(kind), "float32")(FRAMES[name]), evaluator(made(kind))(FRAMES[name]), "float32")


def test_pairs_beyond_the_cutoff_change_nothing(kind: str) -> None:
    model, structures = made(kind), Structures.from_atoms(FRAMES["hcp"])
    near, wide = (find_pairs(structures, model.cutoff_A + extra) for extra in (0.0, 0.8))
    assert len(wide) > len(near)
    reference = Reference(model)
    assert_same(reference.predict(structures, wide), reference.predict(structures, near))


def test_a_family_that_is_not_conservative_predicts_no_stress(kind: str) -> None:
    assert (evaluator(made(kind))(FRAMES["hcp"]).stress is None) == (kind not in CONSERVATIVE)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("ani", {"hidden": (8, 0)}, "hidden is"),
        ("ani", {"angular_cutoff_A": 5.1}, "angular_cutoff_A"),
        ("ani", {"switch_A": 4.7}, "switch_A"),
        ("ani", {"switch_A": 0.0}, "switch_A"),
        ("ani", {"radial_shells": 0}, "radial_shells"),
        ("ani", {"angles": 0}, "angles"),
        ("ani", {"zeta": 0}, "zeta"),
        ("gnn", {"switch_A": 5.0}, "switch_A is 5.0; it must lie between 0 and cutoff_A"),
        ("gnn", {"n_radial": 1}, "n_radial is 1; it must be at least 2"),
        ("gnn", {"readout": (8, 0)}, r"readout is \(8, 0\); it must be at least 1"),
        ("kan", {"hidden": (8, 0)}, "hidden is"),
        ("kan", {"intervals": 0}, "intervals is"),
        ("kan", {"grid_range": 0.0}, "grid_range is"),
        ("schnet", {"switch_A": 6.0}, "switch_A"),
        ("schnet", {"channels": 1}, "channels"),
        ("schnet", {"l_max": 0}, "l_max is .* must be at least"),
        ("schnet", {"blocks": -1}, "blocks is .* must be at least"),
        ("schnet", {"triple": -1}, "triple is .* must be at least"),
        ("schnet", {"readout": (4, 0)}, "readout is .* must be at least"),
        ("schnet", {"spline_intervals": -1}, "spline_intervals is .* must be at least"),
        ("schnet", {"spline_intervals": 1}, r"spline_intervals is 1; .* 0 \(no tables\) or at least 16"),
        ("schnet", {"spline_intervals": 15}, r"spline_intervals is 15; .* 0 \(no tables\) or at least 16"),
    ],
)
def test_settings_out_of_range_are_refused(family: str, changes: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        FAMILIES[family][1](**changes)


def test_the_smallest_tables_and_none_are_taken() -> None:
    for count in (0, 16):
        assert small_potential(spline_intervals=count).settings.spline_intervals == count


# What only a conservative family promises


def test_forces_and_stress_are_slopes(conservative: Evaluate) -> None:
    check_forces(conservative, FRAMES["hcp"])
    check_stress(conservative, FRAMES["two atoms"])


@pytest.mark.parametrize("name", FRAMES)
def test_invariant_under_rotation(conservative: Evaluate, name: str) -> None:
    check_rotation(conservative, FRAMES[name])


@pytest.mark.parametrize("near", ["lone", "cluster"])
def test_smooth_to_the_second_derivative_at_the_cutoff(conservative: Evaluate, near: str) -> None:
    check_smooth_at_cutoff(conservative, 5.0, FRAMES[near][np.argsort(FRAMES[near].positions[:, 0])])


def test_dynamics_conserves_energy(conservative: Evaluate) -> None:
    check_energy_is_conserved(conservative, FRAMES["hcp"])


@pytest.mark.parametrize("kind", CONSERVATIVE)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
def test_an_atom_without_neighbors_has_the_energy_of_an_isolated_atom(kind: str, dtype: str, tolerance: float) -> None:
    evaluate = evaluator(made(kind, atom_energy_eV=-3.25), dtype)
    for atoms in (FRAMES["lone"], Atoms("Ru2", [[0, 0, 0], [5.1, 0, 0]]), Atoms("Ru", cell=[6, 7, 8], pbc=True)):
        prediction = evaluate(atoms)
        assert np.abs(prediction.energies + 3.25).max() < tolerance
        assert not prediction.forces.any()
    assert not prediction.stress.any()


# That the contract bites: a family that breaks it in one way each


class Broken(Potential):
    """A pair potential with one fault."""

    family = "broken"

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault, self.settings = fault, small_potential().settings
        self.scale = torch.nn.Parameter(torch.tensor(1.0))

    def atomic_energies(self, pairs: Pairs) -> torch.Tensor:
        r, scale = pairs.distances, self.scale
        if self.fault == "anisotropic":
            r = (pairs.vectors * torch.tensor([1.001, 1.0, 1.0], dtype=r.dtype)).norm(dim=1)
        fade = (1 - r / self.cutoff_A).clamp(min=0) ** (2 if self.fault == "rough" else 4)
        half = scale * (fade.detach() if self.fault == "detached" else fade)
        if self.fault == "detached":
            half = half * (1 + 0.001 * r)
        energies = pairs.sum_over_neighbors(half, half)
        if self.fault == "ordered":
            energies = energies * torch.arange(1, pairs.n_atoms + 1, dtype=r.dtype)
        return energies / energies.detach().sum() if self.fault == "mean field" else energies


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("anisotropic", lambda e: check_rotation(e, FRAMES["hcp"])),
        ("detached", lambda e: check_forces(e, FRAMES["hcp"])),
        ("detached", lambda e: check_stress(e, FRAMES["two atoms"])),
        ("detached", lambda e: check_energy_is_conserved(e, FRAMES["hcp"])),
        ("ordered", lambda e: check_permutation(e, FRAMES["hcp"])),
        ("mean field", lambda e: check_supercell(e, FRAMES["two atoms"])),
        ("mean field", lambda e: check_split(e, FRAMES["cluster"], FRAMES["dimer"])),
        ("rough", lambda e: check_smooth_at_cutoff(e, 5.0, Atoms("Ru"))),
    ],
)
def test_a_family_that_breaks_the_contract_is_noticed(fault: str, check: object) -> None:
    check(evaluator(Broken("none")))
    with pytest.raises(AssertionError):
        check(evaluator(Broken(fault)))
