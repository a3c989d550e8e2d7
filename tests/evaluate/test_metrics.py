"""Errors: values by hand and from scikit-learn's documentation, masks, groups, units."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms, units
from labelled import labelled, lj_frames

from ru_calc.dataset import Dataset
from ru_calc.evaluate.metrics import Comparison, compare, error_table


def two_frames() -> Dataset:
    """A dimer and a lone atom with round labels: per atom −5 and −3 eV."""
    dimer = labelled(
        Atoms("Ru2", [[0, 0, 0], [0, 0, 2.2]], cell=[9, 9, 9], pbc=True),
        energy=-10.0,
        forces=np.array([[0.0, 0.0, -2.0], [0.0, 0.0, 2.0]]),
        stress=np.array([0.1, 0.1, 0.1, 0.0, 0.0, 0.0]),
    )
    lone = labelled(Atoms("Ru", cell=[9, 9, 9], pbc=True), energy=-3.0, forces=np.zeros((1, 3)), stress=np.zeros(6))
    dimer.info["config_type"], lone.info["config_type"] = "dimer", "lone"
    return Dataset.from_atoms([dimer, lone])


@pytest.fixture
def comparison() -> Comparison:
    """Off by +0.1 and −0.3 eV per atom, by 0.5 eV/Å in one of nine components, by 0.01 eV/Å³ in one of twelve."""
    dataset = two_frames()
    forces, stress = dataset.forces.copy(), dataset.stress.copy()
    forces[1, 2] += 0.5
    stress[0, 0] -= 0.01
    return Comparison(dataset, np.array([-9.8, -3.3]), forces, stress)


def test_errors_are_those_of_scikit_learns_documentation():
    # scikit-learn 1.5 docstrings: mean_absolute_error 0.5, mean_squared_error 0.375, root_mean_squared_error 0.612.
    errors = compare(np.array([3, -0.5, 2, 7]), np.array([2.5, 0.0, 2, 8]))
    assert errors.mae == 0.5 and errors.mse == 0.375
    assert round(errors.rmse, 3) == 0.612
    # max_error([3, 2, 7, 1], [4, 2, 7, 1]) is 1.
    assert compare(np.array([3, 2, 7, 1]), np.array([4, 2, 7, 1])).maximum == 1.0


def test_errors_are_those_worked_out_by_hand(comparison):
    errors = comparison.errors()
    for name, mae, mse, maximum, count in (
        ("energy", 0.2, 0.05, 0.3, 2),
        ("forces", 0.5 / 9, 0.25 / 9, 0.5, 9),
        ("stress", 0.01 / 12, 1e-4 / 12, 0.01, 12),
    ):
        found = errors[name]
        assert (found.mae, found.mse, found.maximum) == pytest.approx((mae, mse, maximum)), name
        assert found.rmse == pytest.approx(math.sqrt(mse)) and found.count == count, name
    assert errors["forces"].relative == pytest.approx(0.5 / math.sqrt(8)), "rms error over rms force"


def test_errors_agree_with_the_standard_library_on_random_numbers():
    rng = np.random.default_rng(1)
    label, predicted = rng.normal(size=(2, 50, 3))
    errors, flat = compare(label, predicted), (predicted - label).ravel().tolist()
    assert errors.mae == pytest.approx(statistics.fmean(abs(e) for e in flat), rel=1e-12)
    assert errors.mse == pytest.approx(statistics.fmean(e * e for e in flat), rel=1e-12)
    assert errors.rmse == pytest.approx(math.sqrt(math.fsum(e * e for e in flat) / len(flat)), rel=1e-12)
    assert errors.maximum == max(abs(e) for e in flat)


def test_a_row_is_in_meV_and_GPa(comparison):
    row = comparison.row()
    assert (row["frames"], row["atoms"]) == (2, 3)
    assert row["energy_MAE_meV_per_atom"] == pytest.approx(200.0)
    assert row["energy_MSE_eV2_per_atom2"] == pytest.approx(0.05)
    assert row["forces_max_meV_per_A"] == pytest.approx(500.0)
    assert row["forces_MSE_eV2_per_A2"] == pytest.approx(0.25 / 9)
    assert row["stress_max_GPa"] == pytest.approx(0.01 / units.GPa, rel=1e-7), "ASE's unit of pressure"
    assert row["stress_MSE_GPa2"] == pytest.approx((0.01 / units.GPa) ** 2 / 12, rel=1e-7)


def test_perfect_predictions_have_no_error():
    dataset = Dataset.from_atoms(lj_frames())
    row = Comparison(dataset, dataset.energy, dataset.forces, dataset.stress).row()
    assert all(value == 0 for name, value in row.items() if "_M" in name or "_R" in name or "_max_" in name)
    # Sabotage: forces of the wrong sign are wrong by twice themselves.
    assert Comparison(dataset, forces=-dataset.forces).errors()["forces"].relative == pytest.approx(2.0)


@pytest.mark.parametrize("quantity", ["energy", "forces", "stress"])
def test_one_changed_value_is_noticed(quantity):
    """Sabotage: 1e-3 in a single value must show in that quantity and in no other."""
    dataset = Dataset.from_atoms(lj_frames())
    predicted = {name: getattr(dataset, name).copy() for name in ("energy", "forces", "stress")}
    predicted[quantity].ravel()[3] += 1e-3
    errors = Comparison(dataset, **predicted).errors()
    size = dataset.structures.counts[3] if quantity == "energy" else 1
    assert errors[quantity].maximum == pytest.approx(1e-3 / size, rel=1e-6)
    assert all(errors[other].maximum == 0 for other in errors if other != quantity)


def test_labels_that_are_rounding_alone_give_no_relative_error():
    rounding, forces = np.full(6, 3e-7), np.full(6, 0.02)
    assert math.isnan(compare(rounding, np.zeros(6)).relative)
    assert compare(forces, np.zeros(6)).relative == pytest.approx(1.0)


def test_forces_that_are_noise_of_dft_alone_give_no_relative_error():
    dataset = Dataset.from_atoms(lj_frames())
    noise = np.random.default_rng(0).normal(scale=1e-4, size=dataset.forces.shape)
    for forces, known in ((noise, False), (30 * noise, True)):
        part = Comparison(replace(dataset, forces=forces), dataset.energy, np.zeros_like(noise), dataset.stress)
        assert math.isfinite(part.row()["forces_relative"]) == known
        assert math.isfinite(part.row()["forces_frame_error"]) == known


def test_missing_labels_are_left_out_and_counted(comparison):
    dataset = comparison.dataset
    energy, forces = dataset.energy.copy(), dataset.forces.copy()
    energy[1], forces[0] = np.nan, np.nan
    masked = replace(comparison, dataset=replace(dataset, energy=energy, forces=forces)).errors()
    assert (masked["energy"].count, masked["energy"].missing) == (1, 1)
    assert masked["energy"].mae == pytest.approx(0.1), "the other frame alone, not a mean with zero"
    assert (masked["forces"].count, masked["forces"].missing) == (6, 3)


def test_labels_without_a_prediction_are_counted_not_dropped(comparison):
    for unknown in (np.nan, np.inf):
        errors = replace(comparison, energy=np.array([-9.8, unknown]), stress=None).errors()
        assert (errors["energy"].count, errors["energy"].missing, errors["energy"].unpredicted) == (1, 0, 1)
        assert (errors["stress"].count, errors["stress"].unpredicted) == (0, 12)
        assert math.isnan(errors["stress"].mae)


def test_predictions_of_another_shape_are_refused(comparison):
    with pytest.raises(ValueError, match=r"forces: predictions \(2, 3\), labels \(3, 3\)"):
        replace(comparison, forces=np.zeros((2, 3)))
    with pytest.raises(ValueError, match="must be equal"):
        compare(np.zeros(3), np.zeros(4))


def test_the_table_has_every_config_type_of_every_split(comparison):
    rows = error_table(comparison, {"train": np.array([1]), "test": np.array([0]), "validation": np.array([], int)})
    assert [(row["split"], row["config_type"]) for row in rows] == [
        ("train", "all"), ("train", "lone"), ("test", "all"), ("test", "dimer"),
    ]  # fmt: skip
    assert rows[0]["energy_MAE_meV_per_atom"] == pytest.approx(300.0)
    assert rows[3]["energy_MAE_meV_per_atom"] == pytest.approx(100.0)
    assert rows[3]["forces_MAE_meV_per_A"] == pytest.approx(500.0 / 6)


def test_the_whole_is_the_mean_of_its_parts():
    dataset = Dataset.from_atoms(lj_frames(9))
    rng = np.random.default_rng(2)
    predicted = dataset.forces + rng.normal(size=dataset.forces.shape)
    whole, *parts = error_table(Comparison(dataset, forces=predicted))
    mean = sum(p["forces_MSE_eV2_per_A2"] * p["forces_count"] for p in parts) / sum(p["forces_count"] for p in parts)
    assert len(parts) == 2 and whole["config_type"] == "all"
    assert whole["forces_MSE_eV2_per_A2"] == pytest.approx(mean, rel=1e-12)
    assert whole["forces_max_meV_per_A"] == max(part["forces_max_meV_per_A"] for part in parts)


def test_the_error_of_a_frame_is_over_its_own_atoms(comparison):
    assert comparison.frame_rms("forces") == pytest.approx([0.5 / math.sqrt(6), 0.0])
    assert comparison.frame_rms("energy") == pytest.approx([0.1, 0.3])
    unknown = replace(comparison, energy=np.array([np.nan, -3.3])).frame_rms("energy")
    assert math.isnan(unknown[0]) and unknown[1] == pytest.approx(0.3)


def test_the_force_error_of_a_frame_is_its_rms_error_over_its_rms_force_and_a_tenth():
    dataset = Dataset.from_atoms(lj_frames(6))
    still = np.isin(dataset.structures.frame_of_atom, [0])
    forces = np.where(still[:, None], 0.0, dataset.forces)
    comparison = Comparison(replace(dataset, forces=forces), forces=forces + 0.05)
    found = comparison.frame_errors()
    assert np.isnan(found[0])  # no force: the frame would count as right, whatever the model
    moving = [k for k in range(1, 6) if dataset.structures.counts[k] > 1]
    for k in moving:
        own = forces[dataset.structures.atoms_of([k])]
        assert found[k] == pytest.approx(0.05 / (math.sqrt(np.mean(own**2)) + 0.1))
    assert comparison.row()["forces_frame_error"] == pytest.approx(np.mean(found[moving]))


def test_rows_can_be_those_of_groups_of_config_types():
    dataset = Dataset.from_atoms(lj_frames(6))
    rows = error_table(Comparison(dataset, forces=dataset.forces + 0.1), by=lambda kind: kind[1:])
    assert [(row["config_type"], row["frames"]) for row in rows] == [("all", 6), ("cc", 3), ("cp", 3)]
