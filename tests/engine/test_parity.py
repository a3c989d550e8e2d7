"""The engine gives what the reference gives, with every kernel, and what would make it differ is noticed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from checks import without
from parity import (
    FINEST,
    KERNELS,
    MODELS,
    SHIPPED,
    SMALL,
    STRUCTURES,
    break_arrays,
    check_parity,
    dimers,
    engine,
    intervals,
    model,
    nudge,
    settings,
    truth,
    weights,
)

from ru_calc.engine.engine import BOUNDS, Engine
from ru_calc.potentials.derivatives import Reference
from ru_calc.predictor import Prediction
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs, find_pairs
from ru_calc.tables.packing import Packing

NAMES = [*MODELS, *SHIPPED]
OVERLAPPING = "600 neighbours"  # float32 is no promise where atoms sit within each other
pytestmark = pytest.mark.skipif(not KERNELS, reason="there is no compiled module")


# What holds


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("bound", "row"), [(FINEST, "float64"), (BOUNDS["float64"], "float64 tables")])
def test_it_is_the_reference_up_to_rounding_with_the_finest_tables_and_agrees_with_its_own(
    name: str, kernel: str, bound: tuple[float, float], row: str
) -> None:
    check_parity(engine(name, "float64", kernel, intervals=intervals(name, bound)).predict, name, row)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", NAMES)
def test_in_float32_it_agrees_up_to_rounding(name: str, kernel: str) -> None:
    single, chosen = engine(name, "float32", kernel), {k: v for k, v in STRUCTURES.items() if k != OVERLAPPING}
    if name in MODELS:
        chosen |= dimers(settings(name)["cutoff_A"])
    check_parity(single.predict, name, "float32 tables", chosen)
    for label in ("hcp", "two atoms", "slab", "cluster", "1000 atoms") if name in SHIPPED else ():
        error = np.abs(single.predict(STRUCTURES[label]).forces - truth(name, label).forces).max()
        assert error < 1e-5, f"forces of {label} are off by {error:.2g} eV/Å"


@pytest.mark.parametrize("name", SHIPPED)
def test_float32_costs_a_shipped_model_no_more_than_it_costs_the_reference(name: str) -> None:
    # The terms of the network's last sum are some 10 eV, and float32 keeps 7 digits: 2e-6 eV, more within the core.
    single, reference = engine(name, "float32"), Reference(copy.deepcopy(model(name)), torch.float32)
    exact = Reference(model(name), torch.float64)
    more = strained(OVERLAPPING)
    true = {label: exact.predict(atoms) for label, atoms in (SMALL | dimers(model(name).cutoff_A) | more).items()}
    small = {label: atoms for label, atoms in SMALL.items() if label != OVERLAPPING}
    # Overlapping atoms have energies of some keV; how rounding adds up there differs from model to model.
    for chosen, measure, factor in ((dimers(model(name).cutoff_A), np.max, 2), (small, np.max, 2), (more, rms, 3)):
        cost = {}
        for predict in (single.predict, reference.predict):
            errors = [errors_of(predict(atoms), true[label]) for label, atoms in chosen.items()]
            cost[predict] = measure(np.array(errors), axis=0)
        assert (cost[single.predict] < factor * cost[reference.predict]).all(), cost


def rms(errors: np.ndarray, axis: int) -> np.ndarray:
    return np.sqrt(np.mean(errors**2, axis=axis))


def strained(label: str) -> dict[str, Atoms]:
    """One structure many times, as what rounding does to a single energy of some keV is luck."""
    found = {}
    for factor in np.linspace(0.98, 1.02, 41):
        atoms = STRUCTURES[label].copy()
        atoms.set_cell(factor * atoms.cell, scale_atoms=True)
        found[f"{label} at {factor:.3f}"] = atoms
    return found


def errors_of(found: Prediction, expected: Prediction) -> tuple[float, float]:
    return np.abs(found.energies - expected.energies).max(), np.abs(found.forces - expected.forces).max()


# That the check bites: something is broken in one way each


def broken(name: str, monkeypatch: pytest.MonkeyPatch, key: str, change: Callable) -> Engine:
    """An engine, one of whose arrays is changed on the way to the compiled model."""

    break_arrays(monkeypatch, key, change)
    return engine(name)


def assert_noticed(predict: Callable[[Atoms], Prediction], name: str, row: str = "float64 tables") -> None:
    with pytest.raises(AssertionError, match="not within"):
        check_parity(predict, name, row, SMALL | dimers(settings(name)["cutoff_A"]))


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("angular", "angular_table"), ("angular", "filter_0"), ("angular", "filter_1"),
        ("no angles, three blocks, no norm", "filter_0"), ("no angles, three blocks, no norm", "filter_2"),
    ],
)  # fmt: skip
def test_one_entry_of_a_table_is_noticed(name: str, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for row in ("float64 tables", "float64"):
        assert_noticed(broken(name, monkeypatch, table, nudge).predict, name, row)


NUMBERS = ("cutoff", "fade", "norm_eps", "core_inner", "core_outer", "core_length", "core_strength")


@pytest.mark.parametrize("number", NUMBERS)
def test_one_number_is_noticed(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(broken("angular", monkeypatch, number, lambda value: value * 1.001).predict, "angular")


def arrays_of(name: str) -> list[str]:
    arrays = Packing(settings(name), weights(name)).arrays(64)
    return [key for key, value in arrays.items() if np.ndim(value) and np.any(value) and "table" not in key]


@pytest.mark.parametrize("array", arrays_of("angular, three blocks") if KERNELS else [])
def test_one_entry_of_every_array_is_noticed(array: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(values: np.ndarray) -> np.ndarray:
        if array == "core_terms":
            values[-1, 0] += 1e-3  # of the slowest exponential: the others have died out where atoms come
        elif array.endswith("_terms"):
            values[0, -1] += 1e-3  # before it, what the term refers to
        else:
            values[np.unravel_index(np.abs(values).argmax(), values.shape)] += 1e-3
        return values

    name = "angular, three blocks"
    assert_noticed(broken(name, monkeypatch, array, change).predict, name)


@pytest.mark.parametrize("weight", weights("angular"))
def test_one_flipped_sign_of_every_weight_is_noticed(weight: str) -> None:
    changed = weights("angular")
    values = changed[weight]
    values[np.unravel_index(np.abs(values).argmax(), values.shape)] *= -1
    made = Engine(settings("angular"), changed, "float64", intervals=intervals("angular", FINEST))
    if weight == "energy.2.bias":  # the zero of the scale takes it away
        check_parity(made.predict, "angular", "float64", SMALL)
    else:
        assert_noticed(made.predict, "angular")


def repeated(pairs: NeighborPairs, k: int) -> NeighborPairs:
    return NeighborPairs(*(np.append(array, array[[k]], axis=0) for array in vars(pairs).values()))


def turned(pairs: NeighborPairs, k: int) -> NeighborPairs:
    return replace(pairs, shifts=np.where(np.arange(len(pairs))[:, None] == k, -pairs.shifts, pairs.shifts))


def shifted(pairs: NeighborPairs, k: int) -> NeighborPairs:
    return replace(pairs, shifts=pairs.shifts + np.outer(np.arange(len(pairs)) == k, [0, 1, 0]))


@pytest.mark.parametrize("name", ["angular", "no angles"])
@pytest.mark.parametrize("label", ["hcp", "two atoms", "skewed"])
@pytest.mark.parametrize("change", [without, repeated, turned, shifted])
def test_one_wrong_pair_is_noticed(change: Callable, label: str, name: str) -> None:
    made, structures = engine(name), Structures.from_atoms(STRUCTURES[label])
    pairs, chosen = find_pairs(structures, made.cutoff_A), {label: STRUCTURES[label]}
    check_parity(lambda atoms: made.predict(structures, pairs), name, "float64 tables", chosen)
    between = (pairs.first != pairs.second) & pairs.shifts.any(axis=1)
    distances = np.linalg.norm(pairs.vectors(structures), axis=1)
    wrong = change(pairs, int(np.where(between, distances, np.inf).argmin()))
    with pytest.raises(AssertionError, match="not within"):
        check_parity(lambda atoms: made.predict(structures, wrong), name, "float64 tables", chosen)
