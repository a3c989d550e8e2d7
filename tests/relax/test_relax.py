"""Relaxation."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from toy import BOND_A, CUTOFF_A, STEEPNESS_PER_A, FreeFlight, PairPotential

from ru_calc.errors import DataError, SettingsError, UnphysicalError
from ru_calc.relax import RelaxSettings, relax_structure
from ru_calc.structures.build import build_structure

# Fcc of Lennard-Jones atoms: a/σ = 1.5496 for all neighbours (Kittel, Introduction to Solid State Physics, ch. 3).
LJ_SUM_12, LJ_SUM_6 = 12.13188, 14.45392


@pytest.mark.parametrize("optimizer", ["lbfgs", "bfgs", "fire"])
def test_positions_relax_to_the_crystal(optimizer):
    atoms = build_structure("fcc", a_A=3.75, repeat=(2, 2, 2))
    perfect = atoms.copy()
    atoms.rattle(0.05, seed=1)
    cell = atoms.cell.array.copy()
    result = relax_structure(atoms, PairPotential(), RelaxSettings(fmax_eV_per_A=1e-3, optimizer=optimizer))
    assert result.converged and result.last.largest_force_eV_per_A <= 1e-3 < result.first.largest_force_eV_per_A
    assert result.last.energy_eV < result.first.energy_eV
    np.testing.assert_array_equal(atoms.cell.array, cell)
    shift = (atoms.positions - perfect.positions).mean(axis=0)
    np.testing.assert_allclose(atoms.positions - shift, perfect.positions, atol=5e-3)


def test_a_dimer_relaxes_to_the_bond_of_its_potential():
    dimer = build_structure("dimer", distance_A=2.3)
    relax_structure(dimer, PairPotential(), RelaxSettings(fmax_eV_per_A=1e-5))
    # The fading envelope draws the minimum inwards of the bare Morse bond.
    r = np.linspace(1.8, 3.2, 200001)
    bond = np.exp(-STEEPNESS_PER_A * (r - BOND_A))
    curve = (bond**2 - 2 * bond) * (1 - (r / CUTOFF_A) ** 2) ** 3
    assert dimer.get_distance(0, 1) == pytest.approx(r[curve.argmin()], abs=1e-4)


def test_the_cell_relaxes_to_the_lattice_sums_of_kittel():
    atoms = build_structure("fcc")
    atoms.set_cell([3.94, 3.90, 3.86], scale_atoms=True)
    # A cutoff of 5 σ leaves 0.4 % of the attraction out.
    calculator = LennardJones(sigma=2.5, epsilon=0.5, rc=12.5)
    settings = RelaxSettings(cell="full", fmax_eV_per_A=1e-3, smax_GPa=1e-3)
    result = relax_structure(atoms, calculator, settings)
    nearest = (2 * LJ_SUM_12 / LJ_SUM_6) ** (1 / 6) * 2.5
    assert result.converged
    np.testing.assert_allclose(atoms.cell.lengths(), np.sqrt(2) * nearest, rtol=2e-3)


def test_hydrostatic_keeps_the_shape_and_a_pressure_is_reached():
    atoms = build_structure("fcc", a_A=3.8, repeat=(2, 2, 2))
    atoms.set_cell(atoms.cell.array * [1.02, 1.0, 0.99], scale_atoms=True)
    shape = atoms.cell.lengths() / atoms.cell.lengths()[0]
    settings = RelaxSettings(cell="hydrostatic", pressure_GPa=2.0, smax_GPa=0.01)
    result = relax_structure(atoms, PairPotential(), settings)
    assert result.converged
    np.testing.assert_allclose(atoms.cell.lengths() / atoms.cell.lengths()[0], shape, rtol=1e-6)
    assert -atoms.get_stress()[:3].mean() * 160.21766208 == pytest.approx(2.0, abs=0.011)


def test_under_pressure_the_enthalpy_falls_where_the_energy_rises():
    free, atoms, states = *(build_structure("fcc", a_A=3.75, repeat=(2, 2, 2)) for _ in range(2)), []
    relax_structure(free, PairPotential(), RelaxSettings(cell="full"))
    relax_structure(atoms, PairPotential(), RelaxSettings(cell="full", pressure_GPa=20.0), states.append)
    assert atoms.get_volume() < 0.995 * free.get_volume()
    first, last = states[0], states[-1]
    assert last.energy_eV > first.energy_eV and last.enthalpy_eV < first.enthalpy_eV
    work_eV = 20e9 * atoms.get_volume() * 1e-30 / 1.602176634e-19
    assert last.enthalpy_eV - last.energy_eV == pytest.approx(work_eV, rel=1e-7)  # ASE's elementary charge is older
    without = relax_structure(atoms, PairPotential(), RelaxSettings(steps=0)).last
    assert without.enthalpy_eV == without.energy_eV


def test_too_few_steps_are_reported_as_not_converged_and_atoms_are_where_they_came_to():
    atoms = build_structure("fcc", a_A=3.75, repeat=(2, 2, 2))
    atoms.rattle(0.1, seed=1)
    states = []
    result = relax_structure(atoms, PairPotential(), RelaxSettings(steps=3), states.append)
    assert not result.converged and [state.step for state in states] == [0, 1, 2, 3]
    assert result.last.energy_eV == pytest.approx(atoms.get_potential_energy())


def test_stress_counts_for_convergence_only_where_the_cell_moves():
    atoms = build_structure("fcc", a_A=3.9, repeat=(2, 2, 2))
    calculator = PairPotential()
    assert relax_structure(atoms, calculator, RelaxSettings(steps=0)).converged
    assert "stress" not in calculator.asked
    assert not relax_structure(atoms, PairPotential(), RelaxSettings(steps=0, cell="full")).converged


def test_fixed_atoms_stay():
    atoms = build_structure("fcc", a_A=3.75, repeat=(2, 2, 2))
    atoms.rattle(0.05, seed=1)
    atoms.set_constraint(FixAtoms([0, 1]))
    before = atoms.positions.copy()
    relax_structure(atoms, PairPotential(), RelaxSettings(fmax_eV_per_A=0.01))
    np.testing.assert_array_equal(atoms.positions[:2], before[:2])
    assert np.abs(atoms.positions[2:] - before[2:]).max() > 0.01


def test_a_cell_without_volume_cannot_relax():
    with pytest.raises(SettingsError, match="only a cell that is periodic in three directions"):
        relax_structure(build_structure("slab"), PairPotential(), RelaxSettings(cell="full"))


def test_no_atoms_and_non_finite_forces_are_refused():
    with pytest.raises(DataError, match="no atoms"):
        relax_structure(Atoms(), PairPotential())

    def spoil(call, results):
        results["forces"][0] = np.nan

    with pytest.raises(UnphysicalError, match="step 0: energy or forces are not finite"):
        relax_structure(build_structure("dimer"), FreeFlight(spoil))


def test_colliding_atoms_are_refused_at_the_start_before_anything_is_computed():
    calculator, states = FreeFlight(), []
    with pytest.raises(UnphysicalError, match=r"step 0: atoms 0 and 1 are 0\.500 Å apart \(limit 1\.0 Å\)"):
        relax_structure(build_structure("dimer", distance_A=0.5), calculator, report=states.append)
    assert calculator.calls == 0 and not states


def test_atoms_that_are_drawn_together_are_refused_at_the_end():
    def attract(call, results):
        results["forces"][:, 2] = [1.0, -1.0]

    settings = RelaxSettings(optimizer="fire", steps=3)
    with pytest.raises(UnphysicalError, match=r"step 3: atoms 0 and 1 are 0\.8.* Å apart .*start from another"):
        relax_structure(build_structure("dimer", distance_A=1.01), FreeFlight(attract), settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "shape"}, "cell is 'shape'; it must be one of none, hydrostatic, full"),
        ({"optimizer": "cg"}, "optimizer is 'cg'"),
        ({"fmax_eV_per_A": 0.0}, "fmax_eV_per_A is 0.0; it must be positive"),
        ({"smax_GPa": float("nan")}, "smax_GPa is nan"),
        ({"steps": -1}, "steps is -1"),
        ({"pressure_GPa": 1.0}, "let the cell relax"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        RelaxSettings(**changes)
