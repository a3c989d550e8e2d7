"""Wrong units and signs are named with the option that mends them, and right data give no finding."""

from __future__ import annotations

import numpy as np
import pytest
from mistaken import MISTAKES, Mistake, energy, forces, shipped, stress, subset, verdict

from ru_calc.dataset import Dataset
from ru_calc.doctor import Report, examine
from ru_calc.doctor.units import ENERGIES, FORCES, LENGTHS_A, STRESSES

SERIOUS = ("error", "warning")


def rules(report: Report, severities: tuple[str, ...] = SERIOUS) -> list[str]:
    return [found.rule for found in report.findings if found.severity in severities]


@pytest.mark.parametrize("kind", ["bulk series", "rattled", "liquid", "slabs"])
def test_each_mistake_is_recognised_in_each_kind_of_frames_and_no_other_is_named(kind):
    right = subset("gpaw", kind, 10)
    assert rules(examine(right)) == []
    found = {name: verdict(examine(mistake.spoil(right)), mistake) for name, mistake in MISTAKES.items()}
    alike = {"forces in kJ/mol/nm", "forces in meV/Å"}  # they differ by 4 %
    assert {name for name, word in found.items() if word == "either"} <= alike
    assert {name: word for name, word in found.items() if word not in ("yes", "either")} == {}


@pytest.mark.parametrize("data", ["gpaw", "distilled"])
@pytest.mark.parametrize("kind", ["all", "bulk series", "MD", "liquid", "slabs", "clusters", "dimers", "defects"])
def test_right_data_give_no_finding_however_few_they_are(data, kind):
    for size in (1, 2, 5):
        right = subset(data, kind, size, seed=size)
        assert rules(examine(right)) == [], (size, right.config_type)
        assert rules(examine(right, quick=True)) == []


@pytest.mark.parametrize("data", ["gpaw", "distilled"])
def test_the_shipped_sets_pass_the_quick_part_within_a_second_per_thousand_frames(data):
    report = examine(shipped(data), quick=True)
    assert report.lines() == [] and report.examined <= 40


@pytest.mark.parametrize("name", ["energy in Ha", "forces in kcal/mol/Å", "gradient for force", "stress in GPa"])
def test_mistakes_in_one_half_of_a_file_are_named_with_their_frames(name):
    whole = subset("gpaw", "liquid", 16)
    half = np.arange(8, 16)
    spoiled = Dataset.joined([whole.select(range(8)), MISTAKES[name].spoil(whole.select(half))])
    (found,) = [found for found in examine(spoiled).findings if found.severity == "error"]
    assert set(found.frames) <= set(half.tolist()) and len(found.frames) >= 6
    assert MISTAKES[name].option in found.mend


def test_several_mistakes_at_once_are_named_one_by_one():
    spoiled = subset("gpaw", "rattled", 10)
    for name in ("positions in bohr", "energy in Ry", "forces in Ry/bohr", "stress in kbar"):
        spoiled = MISTAKES[name].spoil(spoiled)
    assert sorted(rules(examine(spoiled))) == ["energy-scale", "forces-scale", "length-unit", "stress-scale"]


def test_two_zeros_of_energy_are_seen():
    dataset = subset("gpaw", "liquid", 12)
    shifted = dataset.select(range(6)), energy(1)(dataset.select(range(6, 12)))
    shifted[1].energy[:] -= 2.5 * shifted[1].structures.counts
    (found,) = [found for found in examine(Dataset.joined(shifted)).findings if found.severity == "error"]
    assert found.rule == "energy-zeros" and abs(found.figure) == pytest.approx(2.5, abs=0.1)


def test_a_factor_of_no_known_unit_is_told_as_such():
    dataset = subset("gpaw", "liquid", 8)
    for spoil, rule in ((forces(400.0), "forces-scale"), (stress(7.7), "stress-scale")):
        (found,) = examine(spoil(dataset)).findings
        assert found.rule == rule and "no unit known" in found.text


def test_what_cannot_be_told_is_said_and_not_guessed():
    crystal = shipped("gpaw").select([list(shipped("gpaw").config_type).index("eos_fcc")])
    report = examine(forces(50.0)(energy(0.1)(crystal)))
    assert not report.findings
    assert [sentence.split(":")[0] for sentence in report.undecided] == [
        "unit of the energies", "unit and sign of the forces"
    ]  # fmt: skip
    dimers = subset("gpaw", "dimers", 6)
    assert examine(dimers).undecided == ("unit of lengths: no frame has atoms enough for distances to tell",)


def test_a_stress_beyond_what_the_metal_bears_is_refused_where_its_direction_tells_nothing():
    """hcp at its own lattice constants, where the true stress is next to nothing."""
    at_rest = shipped("gpaw").select([k for k, name in enumerate(shipped("gpaw").config_type) if name == "perfect36"])
    at_rest.stress[:] = [[-120.0, -90.0, 40.0, 0.0, 0.0, 0.0]]
    (found,) = examine(at_rest, quick=True).findings
    assert found.rule == "stress-absurd" and "--stress-unit kbar" in found.mend and found.figure > 10_000


def test_a_verdict_that_is_false_is_told_apart():
    """The table above can fail."""
    right = subset("gpaw", "liquid", 8)
    report = examine(MISTAKES["stress in GPa"].spoil(right))
    assert verdict(report, MISTAKES["stress in GPa"]) == "yes"
    assert verdict(report, MISTAKES["stress in kbar"]).startswith("OTHER")
    assert verdict(report, MISTAKES["energy in Ha"]).startswith("FALSE")
    assert verdict(examine(right), Mistake(forces(1), "forces-scale", "")) == "MISSED"


def test_units_are_of_the_size_that_handbooks_give():
    """CODATA 2018, and the conversions printed by the programs that use them."""
    assert ENERGIES["Ha"] == pytest.approx(27.2114, abs=1e-4) and ENERGIES["Ry"] == pytest.approx(13.6057, abs=1e-4)
    assert ENERGIES["kcal/mol"] == pytest.approx(0.0433641, abs=1e-6)
    assert FORCES["Ha/bohr"] == pytest.approx(51.42207, abs=1e-4) and LENGTHS_A["bohr"] == pytest.approx(0.529177)
    assert STRESSES["GPa"] == pytest.approx(0.00624151, abs=1e-7) and STRESSES["kbar"] == pytest.approx(6.24151e-4)
    assert STRESSES["Ha/bohr^3"] / STRESSES["GPa"] == pytest.approx(29421.0, abs=1)
