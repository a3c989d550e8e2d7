"""Throughput and neighbour statistics: the arithmetic, what is measured, and that nothing is changed by measuring."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.calculator import InputError

from ru_calc import RuSchNet
from ru_calc.calculator.speed import NeighborStatistics, Throughput, dynamics
from ru_calc.devices import Times, timed


def test_throughput_is_counted_in_cpu_time_per_atom_and_step():
    found = Throughput.of(Times(cpu_s=0.5, wall_s=9.0), n_atoms=100, steps=50, engine="compiled")
    assert found == Throughput(1e4, 100.0, 100, "compiled")


def test_timed_does_the_work_once():
    done = []
    times = timed(lambda: done.append(sum(range(100000))))
    assert len(done) == 1 and times.cpu_s >= 0 and times.wall_s > 0


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_throughput_measures_the_calculators_engine_and_changes_nothing(model_file, rattled_hcp, engine):
    calculator = RuSchNet(model_file, device="cpu", engine=engine)
    rattled_hcp.calc = calculator
    before, settings = rattled_hcp.get_forces(), dict(calculator.parameters)
    kept = rattled_hcp.copy()
    found = calculator.throughput(rattled_hcp, steps=3)
    assert found.engine == engine and found.n_atoms == 16
    assert found.atom_steps_per_second == pytest.approx(1e6 / found.microseconds_per_atom_step)
    assert calculator.neighbor_statistics == NeighborStatistics(calls=1, rebuilds=0)
    assert dict(calculator.parameters) == settings and rattled_hcp.calc is calculator
    assert rattled_hcp == kept and not rattled_hcp.get_momenta().any()
    np.testing.assert_array_equal(rattled_hcp.get_forces(), before)
    assert calculator.neighbor_statistics.calls == 1  # the results are still there


@pytest.mark.parametrize("steps", [0, -3, 1.5, None])
def test_steps_that_cannot_be_done_are_refused(model_file, rattled_hcp, steps):
    with pytest.raises(InputError, match=r"steps is .*; it must be a whole number, 1 or more"):
        RuSchNet(model_file).throughput(rattled_hcp, steps=steps)


def test_atoms_that_cannot_be_moved_are_refused(model_file, rattled_hcp):
    rattled_hcp.symbols[3] = "Au"
    with pytest.raises(InputError, match="atom 3 is Au"):
        RuSchNet(model_file).throughput(rattled_hcp)


def test_rebuilds_are_counted_after_the_first_list_and_are_read_only(model_file, rattled_hcp):
    calculator = RuSchNet(model_file, skin_A=0.0)
    assert calculator.neighbor_statistics == NeighborStatistics(0, 0)
    rattled_hcp.calc = calculator
    dynamics(rattled_hcp).run(4)
    assert calculator.neighbor_statistics == NeighborStatistics(calls=6, rebuilds=5)
    calculator.set(skin_A=1.0)
    assert calculator.neighbor_statistics == NeighborStatistics(0, 0)
    with pytest.raises(AttributeError):
        calculator.neighbor_statistics = NeighborStatistics(1, 1)


def test_dynamics_keeps_velocities_that_are_there(model_file, rattled_hcp):
    momenta = np.random.default_rng(0).normal(size=(16, 3))
    rattled_hcp.set_momenta(momenta)
    rattled_hcp.calc = RuSchNet(model_file)
    dynamics(rattled_hcp)
    assert np.abs(rattled_hcp.get_momenta() - momenta).max() < 1.0 and rattled_hcp.get_momenta().any()
