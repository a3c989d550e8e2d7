"""Tables: their order of accuracy, their refinement, and that the compiled code reads them as SciPy does."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from checks import small_potential
from parity import KERNELS, STRUCTURES, engine, settings, truth, weights

from ru_calc import kernels
from ru_calc.engine.engine import BOUNDS, Engine
from ru_calc.errors import SettingsError
from ru_calc.tables.packing import Packing
from ru_calc.tables.splines import FINEST, refine, spline_coefficients, spline_error, spline_values

CUTOFF_A = 5.0


def waves(r: np.ndarray) -> np.ndarray:
    """Three functions, analytic for complex distances too."""
    return np.stack([np.sin(3.0 * r), np.exp(-0.5 * (r - 2.0) ** 2), np.cos(r) / (1.0 + 0.1 * r**2)], axis=1)


def kinked(r: np.ndarray) -> np.ndarray:
    return np.where(r.real > 2.3, r - 2.3, 0.0)[:, None]


# Tables


def test_a_quintic_polynomial_is_reproduced_exactly() -> None:
    polynomial = np.polynomial.Polynomial([0.3, -1.0, 0.7, 0.2, -0.15, 0.02])
    table = spline_coefficients(lambda r: np.stack([polynomial(r), -polynomial(r)], axis=1), CUTOFF_A, 8)
    assert table.shape == (13, 2)
    r = np.linspace(0.0, CUTOFF_A, 101)
    for derivative in range(5):
        exact = polynomial.deriv(derivative)(r) if derivative else polynomial(r)
        np.testing.assert_allclose(spline_values(table, CUTOFF_A, r, derivative)[:, 0], exact, rtol=0, atol=1e-10)
    np.testing.assert_allclose(spline_values(table, CUTOFF_A, r)[:, 1], -polynomial(r), rtol=0, atol=1e-12)


def test_a_table_equals_its_function_at_the_knots() -> None:
    table = spline_coefficients(waves, CUTOFF_A, 64)
    knots = np.linspace(0.0, CUTOFF_A, 65)
    np.testing.assert_allclose(spline_values(table, CUTOFF_A, knots), waves(knots), rtol=0, atol=1e-13)


@pytest.mark.parametrize("intervals", [32, 64])
def test_the_error_of_value_and_slope_is_of_sixth_and_fifth_order(intervals: int) -> None:
    coarse, fine = (
        spline_error(waves, spline_coefficients(waves, CUTOFF_A, n), CUTOFF_A) for n in (intervals, 2 * intervals)
    )
    assert 2**5.6 < coarse[0] / fine[0] < 2**6.4
    assert 2**4.6 < coarse[1] / fine[1] < 2**5.4


def test_the_error_is_the_largest_between_the_knots() -> None:
    table, r = spline_coefficients(waves, CUTOFF_A, 32), np.linspace(0.0, CUTOFF_A, 20001)
    value = np.abs(spline_values(table, CUTOFF_A, r) - waves(r)).max() / np.abs(waves(r)).max()
    slopes = waves(r + 1e-30j).imag / 1e-30
    slope = np.abs(spline_values(table, CUTOFF_A, r, 1) - slopes).max() / np.abs(slopes).max()
    np.testing.assert_allclose(spline_error(waves, table, CUTOFF_A, samples=20), [value, slope], rtol=0.02)


def test_an_entry_changed_by_a_thousandth_is_an_error_of_that_size() -> None:
    table = spline_coefficients(waves, CUTOFF_A, 64)
    table[30, 1] += 1e-3
    assert spline_error(waves, table, CUTOFF_A)[0] > 3e-4


# Refinement


@pytest.mark.parametrize("bound", [(1e-6, 1.0), (1.0, 1e-6), (1e-9, 1e-7)])
def test_refinement_takes_the_fewest_intervals_within_the_bound(bound: tuple[float, float]) -> None:
    steep = lambda r: np.sin(20.0 * r)[:, None]  # noqa: E731
    intervals = refine([waves, steep], CUTOFF_A, bound)
    errors = {n: [spline_error(f, spline_coefficients(f, CUTOFF_A, n), CUTOFF_A) for f in (waves, steep)]
              for n in (intervals // 2, intervals)}  # fmt: skip
    assert intervals > 64
    assert (np.max(errors[intervals], axis=0) <= bound).all()
    assert not (np.max(errors[intervals // 2], axis=0) <= bound).all()


@pytest.mark.skipif(not KERNELS, reason="there is no compiled module")
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("name", ["angular", "plain"])
def test_the_tables_of_an_engine_are_within_the_bound_of_its_precision(name: str, dtype: str) -> None:
    packing, made = Packing(settings(name), weights(name)), Engine(settings(name), weights(name), dtype)
    for function in packing.functions.values():
        table = spline_coefficients(function, packing.cutoff_A, made.intervals)
        assert (spline_error(function, table, packing.cutoff_A) <= BOUNDS[dtype]).all()


def test_a_bound_out_of_reach_is_refused_with_the_way_out() -> None:
    with pytest.raises(SettingsError, match=rf"more than {FINEST} intervals .* below 1e-08 .*reference path"):
        refine([waves, kinked], CUTOFF_A, (1e-8, 1e-6))


def test_nothing_to_tabulate_takes_the_coarsest_tables() -> None:
    assert refine([], CUTOFF_A, (1e-12, 1e-12)) == 64


# What the compiled code makes of them


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_compiled_splines_are_those_of_scipy_on_tables_far_too_coarse(kernel: str, dtype: str) -> None:
    potential = small_potential(
        angular=False, blocks=1, layer_norm=False, readout=(), core_inner_A=0.2, core_outer_A=0.3, atom_energy_eV=-1.0
    )
    arrays = {name: value.numpy() for name, value in potential.state_dict().items()}
    compiled = Engine(potential.hyperparameters(), arrays, dtype, intervals=8, kernel=kernels.available()[kernel])
    packed = Packing(potential.hyperparameters(), arrays).arrays(8)
    r = np.concatenate([np.linspace(0.3, CUTOFF_A, 60), CUTOFF_A / 8 * np.arange(1, 8)])
    found = compiled.predict([Atoms("Ru2", [[0, 0, 0], [0, x, 0]]) for x in r])
    energies, forces = dimers_by_scipy(packed, r)
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]
    np.testing.assert_allclose(found.energy + 2.0, energies, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.forces[1::2, 1], forces, rtol=0, atol=10 * tolerance)
    assert np.abs(energies).max() > 0.1


def dimers_by_scipy(packed: dict, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies less those of the atoms, and forces, of a network of one block without norm and hidden layers."""
    u = np.clip((r - 3.8) / 1.2, 0.0, 1.0)
    fade, dfade = 1 - 10 * u**3 + 15 * u**4 - 6 * u**5, -30 * u**2 * (1 - u) ** 2 / 1.2
    value, slope = (spline_values(packed["filter_0"], CUTOFF_A, r, n) for n in (0, 1))
    read = packed["energy_weight"] @ packed["source_0_to_head"]

    def silu(x: np.ndarray) -> np.ndarray:
        return x / (1.0 + np.exp(-x))

    m = fade[:, None] * value + packed["source_0_bias"]
    dm = fade[:, None] * slope + dfade[:, None] * value
    gate = 1.0 / (1.0 + np.exp(-m))
    return 2 * (silu(m) - silu(packed["source_0_bias"])) @ read, -2 * (gate * (1 + m * (1 - gate)) * dm) @ read


@pytest.mark.skipif(not KERNELS, reason="there is no compiled module")
@pytest.mark.parametrize("name", ["angular", "no angles, three blocks, no norm"])
@pytest.mark.parametrize("label", ["cluster", "1000 atoms"])
def test_energies_and_forces_converge_to_the_reference_with_the_order_of_the_tables(name: str, label: str) -> None:
    expected, errors = truth(name, label), []
    for intervals in (64, 128):
        found = engine(name, intervals=intervals).predict(STRUCTURES[label])
        both = (found.energies - expected.energies, found.forces - expected.forces)
        errors.append([np.sqrt(np.mean(np.square(error))) for error in both])
    energies, forces = np.divide(*errors)
    assert errors[0][0] > 1e-10
    assert 2**5.5 < energies < 2**6.6
    assert 2**4.5 < forces < 2**5.5
