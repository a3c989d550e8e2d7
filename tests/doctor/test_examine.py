"""Broken frames, labels, copies, leaks and outliers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mistaken import shipped, subset

from ru_calc.dataset import Dataset
from ru_calc.doctor import Finding, examine, examine_together
from ru_calc.doctor.findings import named, ranges
from ru_calc.doctor.work import check_work, steps


def found(dataset: Dataset, rule: str, **options) -> Finding:
    """The only error or warning."""
    (one,) = [finding for finding in examine(dataset, **options).findings if finding.severity != "note"]
    assert one.rule == rule, one
    return one


def moved(dataset: Dataset, positions: np.ndarray) -> Dataset:
    return replace(dataset, structures=replace(dataset.structures, positions=positions))


def turned(dataset: Dataset, seed: int = 0) -> Dataset:
    """The same frames rotated, shifted, wrapped and with their atoms in another order."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    s = dataset.structures
    order = np.concatenate([rng.permutation(np.arange(a, b)) for a, b in zip(s.offsets, s.offsets[1:], strict=False)])
    fractions = np.einsum("ia,iab->ib", s.positions, np.linalg.inv(s.cells)[s.frame_of_atom]) + rng.random(3)
    positions = np.einsum("ia,iab->ib", fractions % 1.0, s.cells[s.frame_of_atom])
    structures = replace(s, positions=positions[order] @ rotation, cells=s.cells @ rotation)
    stress = np.full_like(dataset.stress, np.nan)
    return replace(dataset, structures=structures, forces=dataset.forces[order] @ rotation, stress=stress)


def test_atoms_on_top_of_each_other_are_an_error():
    dataset = subset("gpaw", "liquid", 4)
    positions = dataset.structures.positions.copy()
    positions[1] = positions[0] + [0.4, 0, 0]
    one = examine(moved(dataset, positions)).errors[0]
    assert one.rule == "too-close" and one.frames == (0,) and one.figure == pytest.approx(0.4)


def test_fractional_coordinates_are_named():
    dataset = subset("gpaw", "rattled", 5)
    s = dataset.structures
    fractions = np.einsum("ia,iab->ib", s.positions, np.linalg.inv(s.cells)[s.frame_of_atom]) % 1.0
    cells = np.einsum("ia,iab->ib", fractions, s.cells[s.frame_of_atom])
    assert not examine(moved(dataset, cells)).errors
    errors = examine(moved(dataset, fractions)).errors
    assert errors and errors[0].rule in ("density", "too-close")
    assert "fractional" in errors[0].text and "Cartesian" in errors[0].mend


@pytest.mark.parametrize("label", ["energy", "forces", "stress"])
def test_labels_that_are_exactly_zero_where_the_metals_are_not_are_an_error(label):
    dataset = subset("gpaw", "rattled", 8)
    values = getattr(dataset, label).copy()
    values[dataset.structures.atoms_of([2, 5]) if label == "forces" else [2, 5]] = 0.0
    one = found(replace(dataset, **{label: values}), "zero-labels", quick=True)
    assert one.severity == "error" and one.frames == (2, 5) and f"--{label}-key" in one.mend
    every = examine(replace(dataset, **{label: 0 * values}))
    assert [finding.rule for finding in every.errors] == ["zero-labels"] and not every.undecided


def test_forces_that_are_zero_by_symmetry_and_one_energy_that_is_the_zero_are_right():
    crystals = subset("gpaw", "bulk series", 12)
    alone = crystals.select(np.flatnonzero(crystals.structures.counts == 1))
    assert len(alone)
    shifted = replace(crystals, energy=crystals.energy - crystals.energy[0])
    assert shifted.energy[0] == 0.0
    for dataset in (replace(alone, forces=0 * alone.forces), shifted):
        assert "zero-labels" not in [finding.rule for finding in examine(dataset).findings]


def test_an_atom_that_flew_away_is_named():
    dataset = shipped("distilled")
    dataset = dataset.select([k for k, name in enumerate(dataset.config_type) if name == "small_cluster13"])
    s = dataset.structures
    positions = s.positions.copy()
    positions[0] += [0.0, 0.0, 40.0]
    away = replace(s, positions=positions, pbc=np.zeros_like(s.pbc))
    one = next(one for one in examine(replace(dataset, structures=away)).findings if one.rule == "lone-atom")
    assert one.frames == (0,) and one.severity == "warning"


def test_labels_that_are_missing_or_broken_are_named():
    dataset = subset("gpaw", "liquid", 6)
    dataset.stress[2] = np.nan
    assert found(dataset, "missing-label").frames == (2,)
    dataset.forces[0, 1] = np.inf
    assert [one.rule for one in examine(dataset).errors] == ["not-finite"]
    bare = subset("gpaw", "liquid", 3, seed=2)
    bare.energy[1], bare.stress[1] = np.nan, np.nan
    bare.forces[bare.structures.atoms_of([1])] = np.nan
    assert found(bare, "unlabelled").frames == (1,)
    none = subset("gpaw", "liquid", 3, seed=2)
    none.stress[:] = np.nan
    assert not examine(none).findings, "a set without stress may be meant so"


def test_forces_of_fixed_atoms_and_forces_with_a_sum_are_named():
    dataset = subset("gpaw", "slabs", 5)
    fixed = dataset.forces.copy()
    fixed[dataset.structures.atoms_of([3])[:1]] = 0.0
    one = found(replace(dataset, forces=fixed), "force-sum")
    assert one.frames == (3,) and "apply_constraint=False" in one.mend
    drifting = dataset.forces + np.array([0.4, 0, 0])
    assert found(replace(dataset, forces=drifting), "force-sum").figure == pytest.approx(0.4, abs=0.01)


def test_energies_that_do_not_follow_the_forces_are_seen_along_a_trajectory():
    """Of frames whose energies are −F·Δx exactly, and of the same with energies of the opposite sign and of a third."""
    rng = np.random.default_rng(1)
    series = [subset("gpaw", "liquid", 1, seed=3)]
    for _ in range(12):
        last = series[-1]
        step = rng.normal(scale=0.05, size=last.forces.shape)
        after = moved(last, last.structures.positions + step)
        series.append(replace(after, energy=last.energy - np.sum(last.forces * step)))
    trajectory = Dataset.joined(series)
    first, change, work = steps(trajectory)
    np.testing.assert_allclose(change, work, atol=1e-9)
    assert first.tolist() == list(range(12)) and not check_work(trajectory)
    for factor in (-1.0, 1 / 3):
        (one,) = check_work(replace(trajectory, energy=factor * trajectory.energy))
        assert one.rule == "energy-against-forces" and one.severity == "warning"
        assert one.figure == pytest.approx(abs(factor))


def test_the_work_of_a_strain_is_that_of_the_stress():
    """fcc under growing strain, against the energies of our DFT."""
    dataset = shipped("gpaw")
    series = dataset.select([k for k, name in enumerate(dataset.config_type) if name == "eos_fcc"])
    series = series.select(np.argsort(series.structures.volumes))
    _, change, work = steps(series)
    assert len(change) >= 5 and np.abs(change).max() > 0.03
    np.testing.assert_allclose(change, work, atol=0.004)
    assert not check_work(series)


def test_outliers_are_named_one_by_one():
    dataset = subset("gpaw", "liquid", 12)
    dataset.energy[4] += 3.0 * dataset.structures.counts[4]
    one = found(dataset, "energy-outlier")
    assert one.frames == (4,) and one.figure == pytest.approx(3.0, abs=0.1)
    wild = subset("gpaw", "liquid", 12)
    atoms = wild.structures.atoms_of([7])
    wild.forces[atoms] = -9.0 * wild.forces[atoms]
    assert found(wild, "force-outlier").frames == (7,)


def test_copies_are_found_however_they_are_turned_shifted_and_renumbered():
    dataset = subset("gpaw", "liquid", 6)
    twice = Dataset.joined([dataset, turned(dataset.select([2, 4]))])
    (copies,) = [one for one in examine(twice).findings if one.rule == "copies"]
    assert copies.severity == "note" and copies.frames == (2, 4, 6, 7)
    twice.energy[7] += 0.1 * twice.structures.counts[7]
    assert "two-labels" in [one.rule for one in examine(twice).findings]


def test_frames_shared_by_parts_of_a_split_are_a_leak():
    dataset = subset("gpaw", "liquid", 8)
    twice = Dataset.joined([dataset, turned(dataset.select([5]))])
    split = {"train": np.arange(6), "validation": np.array([6]), "test": np.array([7, 8])}
    leak = [one for one in examine(twice, split=split).findings if one.rule == "leak"]
    assert [one.frames for one in leak] == [(5, 8)] and "test part" in leak[0].text
    apart = {"train": np.arange(5), "validation": np.array([6]), "test": np.array([5, 7, 8])}
    assert not [one for one in examine(twice, split=apart).findings if one.rule == "leak"]
    grouped = replace(twice, group_id=np.full(9, "one"))
    assert "parted-group" in [one.rule for one in examine(grouped, split=split).findings]


def test_frames_shared_by_two_files_and_levels_that_differ_are_told():
    dataset = subset("gpaw", "liquid", 8)
    one, two = dataset.select(range(5)), turned(dataset.select([3, 6, 7]))
    (sentence,) = examine_together({"a.h5": one, "b.h5": two})
    assert sentence.startswith("1 frames of b.h5 are also in a.h5 (frame 0 of type")
    assert not examine_together({"a.h5": one, "b.h5": dataset.select([6, 7])})
    (levels,) = examine_together({"a.h5": one, "b.h5": replace(two, level_of_theory="PBEsol")})
    assert "'PBEsol'" in levels and "two levels" in levels


def test_frames_are_named_in_few_words():
    dataset = subset("gpaw", "liquid", 9)
    assert ranges([0, 1, 2, 7, 5]) == "0–2, 5, 7"
    assert named(dataset, range(9)) == "all 9 frames"
    assert named(dataset, [3]) == f"frame 3 of type {dataset.config_type[3]}"


@pytest.mark.parametrize("data", ["gpaw"])
def test_a_shipped_set_has_copies_at_most(data):
    assert {(one.severity, one.rule) for one in examine(shipped(data)).findings} <= {("note", "copies")}
