"""The engine by itself: derivatives, invariances, threads, neighbour lists, and only what is asked for."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from checks import (
    assert_same,
    check_forces,
    check_stress,
    constant_pressure_walk,
    rattled,
    small_potential,
)
from conftest import TOLERANCE
from parity import (
    FINEST,
    KERNELS,
    SMALL,
    STRUCTURES,
    device_engine,
    engine,
    intervals,
    settings,
    truth,
    weights,
)

from ru_calc.engine.engine import Engine
from ru_calc.errors import SettingsError
from ru_calc.predictor import WANTED, Prediction
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import VerletList, find_pairs

pytestmark = pytest.mark.skipif(not KERNELS, reason="there is no compiled module")
NAMES = ["angular", "no angles, three blocks, no norm"]
DTYPES = ["float64", "float32"]


@pytest.fixture(scope="module", params=NAMES)
def double(request: pytest.FixtureRequest) -> Engine:
    """Float64, with the finest tables."""
    return engine(request.param, intervals=intervals(request.param, FINEST))


def assert_equal(found: Prediction, expected: Prediction) -> None:
    """To the last bit."""
    for name in WANTED:
        assert np.array_equal(getattr(found, name), getattr(expected, name), equal_nan=name == "stress"), name


# Derivatives of what it computes, whatever the reference says; invariances are tested as those of every potential


def test_forces_and_stress_are_slopes_of_its_own_energy(double: Engine) -> None:
    for label in ("hcp", "skewed", "slab", "cluster"):
        check_forces(double.predict, STRUCTURES[label])
    for label in ("two atoms", "one atom", "sheared"):
        check_stress(double.predict, STRUCTURES[label])
    for distance in (1.1, 1.4, 1.79):  # within the core
        dimer = Atoms("Ru2", [[0, 0, 0], [0.6 * distance, 0.8 * distance, 0]])
        check_forces(double.predict, dimer)


@pytest.mark.parametrize("name", NAMES)
def test_forces_and_stress_are_slopes_even_on_tables_far_too_coarse(name: str) -> None:
    coarse = engine(name, intervals=32)
    check_forces(coarse.predict, STRUCTURES["hcp"])
    check_stress(coarse.predict, STRUCTURES["two atoms"])


@pytest.mark.parametrize("make", [engine, device_engine])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_atom_without_neighbours_has_the_energy_of_an_isolated_atom(dtype: str, make: Callable) -> None:
    # A product of matrices in torch may round a row differently when there are more rows: in float32 that can be seen.
    error = 5e-7 if make is device_engine and dtype == "float32" else 1e-14
    for name in (*NAMES, "no angles, no blocks"):
        made = make(name, dtype)
        for atoms in (
            Atoms("Ru"),
            Atoms("Ru9", 7.0 * np.arange(27).reshape(9, 3)),
            Atoms("Ru", cell=[6, 7, 8], pbc=True),
        ):
            prediction = made.predict(atoms)
            np.testing.assert_allclose(prediction.energies, settings(name)["atom_energy_eV"], rtol=0, atol=error)
            assert not prediction.forces.any()
        assert not prediction.stress.any()


def test_atoms_far_apart_and_shifted_by_millions_of_cells_are_exact() -> None:
    made = engine("angular")
    near = Atoms("Ru3", [[0, 0, 0], [2.25, 0.5, 0], [4.5, 4, 1.25]], cell=np.diag([8.0, 8.0, 8.0]), pbc=True)
    far = near.copy()
    far.positions += [[8 * 2.0**20, -8 * 2.0**21, 0], [0, 8 * 2.0**20, -8 * 2.0**21], [-8 * 2.0**21, 0, 0]]
    assert_same(made.predict(far), made.predict(near))


@pytest.mark.parametrize("dtype", DTYPES)
def test_atoms_on_top_of_each_other_give_no_numbers_and_do_no_harm(dtype: str) -> None:
    made = engine("angular", dtype)
    clash = STRUCTURES["cluster"].copy()
    clash.positions[3] = clash.positions[4]
    assert np.isnan(made.predict(clash).forces[[3, 4]]).all()
    expected = engine("angular", dtype).predict(STRUCTURES["cluster"])
    assert_equal(made.predict(STRUCTURES["cluster"]), expected)


@pytest.mark.parametrize("part", ["positions", "cells"])
def test_what_is_not_a_number_gives_no_numbers_and_does_no_harm(part: str) -> None:
    code = f"""
import numpy as np
from ase.build import bulk
from ru_calc.structures.neighbors import find_pairs
from ru_calc.modelfiles import open_model
from ru_calc.structures import Structures
structures = Structures.from_atoms(bulk("Ru", "hcp", a=2.7, c=4.28) * (2, 2, 2))
pairs = find_pairs(structures, 5.0)
structures.{part}[0, 0] = np.nan
assert np.isnan(open_model(device="cpu").predictor.predict(structures, pairs).forces).any()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Threads


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_threads_agree_up_to_rounding_and_repeat_themselves_to_the_last_bit(name: str, dtype: str) -> None:
    batch = [STRUCTURES["1000 atoms"], *SMALL.values()]
    single = engine(name, dtype).predict(batch)
    row = "float64" if dtype == "float64" else "float32 tables"
    for threads in (1, 2, 3):
        made = engine(name, dtype, threads=threads)
        found = made.predict(batch)
        np.testing.assert_allclose(found.energies, single.energies, rtol=0, atol=TOLERANCE[row]["energy"])
        np.testing.assert_allclose(found.forces, single.forces, rtol=0, atol=TOLERANCE[row]["forces"])
        scale = np.abs(single.stress[np.isfinite(single.stress)]).max()
        np.testing.assert_allclose(found.stress, single.stress, rtol=0, atol=scale * TOLERANCE[row]["stress"])
        assert_equal(made.predict(batch), found)
        assert_equal(engine(name, dtype, threads=threads).predict(batch), found)


def test_few_atoms_take_one_thread() -> None:
    atoms = STRUCTURES["hcp"]
    assert_equal(engine("angular", threads=3).predict(atoms), engine("angular").predict(atoms))


def test_several_python_threads_may_share_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    made, labels = engine("angular"), ["hcp", "slab", "cluster", "dimer", "two atoms", "skewed"]
    expected = {label: engine("angular").predict(STRUCTURES[label]) for label in labels}
    given = {label: Structures.from_atoms(STRUCTURES[label]) for label in labels}
    pairs = {label: find_pairs(given[label], made.cutoff_A) for label in labels}

    def work(label: str) -> None:
        for _ in range(100):
            assert_equal(made.predict(given[label], pairs[label]), expected[label])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, labels))
    finally:
        sys.setswitchinterval(interval)


def test_a_copy_shares_the_weights_and_keeps_its_own_neighbours() -> None:
    made, atoms = engine("angular"), STRUCTURES["hcp"]
    expected = made.predict(atoms)
    twin = copy.copy(made)
    assert_equal(twin.predict(STRUCTURES["dimer"]), engine("angular").predict(STRUCTURES["dimer"]))
    assert twin._model is made._model and twin._plan is not made._plan
    assert_equal(made.predict(atoms), expected)


# Neighbour lists


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_results_do_not_depend_on_when_the_list_was_made_to_the_last_bit(name: str, dtype: str, threads: int) -> None:
    atoms = STRUCTURES["hcp"] * (2, 2, 2)
    assert len(atoms) == 128  # two threads take part
    structures = Structures.from_atoms(atoms)
    earlier = [Structures.from_atoms(rattled(atoms, seed, 0.05)) for seed in (1, 2)]
    made = engine(name, dtype, threads=threads)
    lists = [find_pairs(structures, 5.0), find_pairs(structures, 6.0), *(find_pairs(s, 6.0) for s in earlier)]
    expected = made.predict(structures, lists[0])
    for pairs in lists:
        assert_equal(made.predict(structures, pairs), expected)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_at_constant_pressure_a_skin_stays_exact(name: str, threads: int) -> None:
    made, fresh, verlet = engine(name, threads=threads), engine(name), VerletList(5.0, 0.8)
    start = rattled(bulk("Ru", "hcp", a=2.7, c=4.28) * (4, 4, 4), by_A=0.05)
    for step, atoms in enumerate(constant_pressure_walk(start, 12, kick_A=0.02)):
        followed, pairs = verlet.update(Structures.from_atoms(atoms))
        assert_same(made.predict(followed, pairs), fresh.predict(atoms), "float64", f"in step {step}")
    assert verlet.rebuilds < 6


def test_a_list_that_is_too_short_is_noticed() -> None:
    made, atoms = engine("angular"), STRUCTURES["hcp"]
    structures = Structures.from_atoms(atoms)
    with pytest.raises(AssertionError, match="not within"):
        assert_same(made.predict(structures, find_pairs(structures, 4.6)), truth("angular", "hcp"), "float32 tables")


@pytest.mark.parametrize("make", [engine, device_engine])
def test_the_plan_of_a_list_is_made_once_and_lets_go_of_it(make: Callable) -> None:
    made, structures = make("angular"), Structures.from_atoms(STRUCTURES["hcp"])
    pairs = find_pairs(structures, 5.5)
    made.predict(structures, pairs)
    plan = made._plan
    made.predict(structures, pairs)
    assert made._plan is plan and plan.pairs() is pairs
    del pairs
    assert plan.pairs() is None
    made.predict(structures)
    assert made._plan is not plan


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["no angles, one block, linear", "angular, one block, linear"])
def test_thousands_of_atoms_in_any_order_have_the_same_energies(name: str, threads: int) -> None:
    atoms = rattled(bulk("Ru", "hcp", a=2.72, c=4.29) * (20, 20, 21), by_A=0.03)
    assert len(atoms) > 8000  # where atoms at random places are sorted in space first
    order = np.random.default_rng(0).permutation(len(atoms))
    made = engine(name, "float32", threads=threads)
    found, expected = made.predict(atoms[order]), made.predict(atoms)
    np.testing.assert_allclose(found.energies, expected.energies[order], rtol=0, atol=6e-6)
    np.testing.assert_allclose(found.forces, expected.forces[order], rtol=0, atol=2e-5)
    np.testing.assert_allclose(found.stress, expected.stress, rtol=0, atol=1e-8)
    assert np.ptp(expected.energies) > 1e-2


def test_memory_in_use_is_told() -> None:
    made = engine("angular", "float32")
    made.predict(STRUCTURES["dimer"])
    little = made.memory_bytes()
    made.predict(STRUCTURES["1000 atoms"])
    much = made.memory_bytes()
    assert set(little) == {"workspace", "neighbors"}
    assert all(0 < little[part] < much[part] < 100e6 for part in little)


# Only what is asked for, and what is refused


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("want", [("energy",), ("energies",), ("forces",), ("stress",), ("energy", "forces"), WANTED])
def test_what_is_not_wanted_is_missing(want: tuple[str, ...], threads: int) -> None:
    made, batch = engine("angular", threads=threads), [STRUCTURES["1000 atoms"], STRUCTURES["two atoms"]]
    everything, found = made.predict(batch), made.predict(batch, None, want)
    shapes = {"energy": (2,), "energies": (1002,), "forces": (1002, 3), "stress": (2, 6)}
    for name, shape in shapes.items():
        value = getattr(found, name)
        assert (value is None) == (name not in want)
        if name in want:
            assert value.dtype == np.float64 and value.shape == shape
            assert np.array_equal(value, getattr(everything, name))


def test_positions_are_read_and_not_changed() -> None:
    made, structures = engine("angular"), Structures.from_atoms(STRUCTURES["hcp"])
    before, expected = structures.positions.copy(), made.predict(structures)
    structures.positions.flags.writeable = False
    made.predict(structures)
    assert np.array_equal(structures.positions, before)
    turned = Structures(np.asfortranarray(before), structures.cells, structures.pbc, structures.counts)
    assert_equal(made.predict(turned), expected)


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (engine, {"dtype": "float16"}, "dtype is 'float16'; choose one of float32, float64"),
        (device_engine, {"dtype": "float16"}, "dtype is 'float16'; choose one of float32, float64"),
        (engine, {"threads": 0}, "threads is 0; it must be 1 or more"),
        (engine, {"threads": -2}, "threads is -2"),
    ],
)
def test_arguments_of_no_use_are_refused(make: Callable, arguments: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make("angular", **{"intervals": 64, **arguments})


def test_without_a_compiled_module_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ru_calc.kernels.fastest", lambda: None)
    with pytest.raises(SettingsError, match=r"install a C\+\+20 compiler and reinstall ru-calc"):
        Engine(settings("angular"), weights("angular"))


def test_its_tables_are_as_fine_as_the_precision_can_use() -> None:
    made = {dtype: Engine(settings("plain"), weights("plain"), dtype).intervals for dtype in DTYPES}
    assert 64 <= made["float32"] < made["float64"] <= 4096


def test_weights_are_copied() -> None:
    potential = small_potential()
    arrays = {name: value.numpy() for name, value in potential.state_dict().items()}
    made = Engine(potential.hyperparameters(), arrays)
    expected = made.predict(STRUCTURES["hcp"])
    for array in arrays.values():
        array[:] = 0.0
    assert_equal(made.predict(STRUCTURES["hcp"]), expected)
