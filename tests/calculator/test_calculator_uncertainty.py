"""The uncertainty of the calculator: from the same evaluation as the forces where it can be, and never out of date."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from conftest import small_model

from ru_calc import RuSchNet
from ru_calc.fit.uncertainty import features
from ru_calc.modelfiles.load import save_model
from ru_calc.structures import Structures
from ru_calc.tables.uncertainty import Uncertainty


def known(tmp_path: Path) -> Path:
    """A file of a small model with an uncertainty."""
    width = next(features(small_model(), Structures.from_atoms([Atoms("Ru")]))).shape[1]
    made = Uncertainty(np.random.default_rng(0).normal(size=(16, width)), np.ones(16), 0.1, 0.8)
    save_model(tmp_path / "known.safetensors", small_model(), {"uncertainty": {"threshold_eV_per_A": 0.2}}, made)
    return tmp_path / "known.safetensors"


@pytest.fixture
def calculator(tmp_path: Path) -> RuSchNet:
    return RuSchNet(known(tmp_path))


@pytest.fixture
def asked(calculator: RuSchNet, monkeypatch: pytest.MonkeyPatch) -> list[Collection[str]]:
    """What the predictor is asked for, call by call."""
    calls, predict = [], calculator.predictor.predict

    def counted(structures, pairs, want):
        calls.append(set(want))
        return predict(structures, pairs, want)

    monkeypatch.setattr(calculator.predictor, "predict", counted)
    return calls


def crystal() -> Atoms:
    atoms = bulk("Ru", "hcp", a=2.7, c=4.3) * (3, 3, 2)
    atoms.rattle(0.05, seed=1)
    return atoms


def test_it_is_one_number_for_each_atom_and_equals_that_of_the_predictor(calculator: RuSchNet) -> None:
    atoms = crystal()
    found = calculator.uncertainty(atoms)
    assert found.shape == (len(atoms),) and (found > 0).all() and calculator.has_uncertainty
    expected = calculator.predictor.predict([atoms], None, ("uncertainty",)).uncertainty
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert calculator.uncertainty_threshold_eV_per_A == 0.2


def test_in_dynamics_it_comes_with_the_forces(calculator: RuSchNet, asked: list) -> None:
    atoms = crystal()
    atoms.calc = calculator
    for _ in range(3):
        atoms.get_forces()
        calculator.uncertainty(atoms)
        calculator.uncertainty(atoms)
        atoms.get_potential_energy()
        atoms.rattle(0.01)
    assert len(asked) == 4  # apart at the first configuration, together from then on
    assert asked[2] == asked[3] == {"energy", "energies", "forces", "uncertainty"}
    atoms.get_forces()
    atoms.rattle(0.01)
    atoms.get_forces()
    assert "uncertainty" in asked[4] and "uncertainty" not in asked[5]  # nobody asked at the configuration before


def test_it_belongs_to_the_atoms_as_they_are(calculator: RuSchNet) -> None:
    atoms = crystal()
    before = calculator.uncertainty(atoms)
    atoms.positions[0] += 0.3
    assert calculator.uncertainty(atoms)[0] != before[0]
    calculator.reset()
    np.testing.assert_allclose(calculator.uncertainty(crystal()), before, rtol=1e-6)
    calculator.uncertainty(crystal())[:] = 0.0
    assert calculator.uncertainty(crystal()).all()


def test_it_is_no_result_that_other_programs_would_not_know(calculator: RuSchNet) -> None:
    atoms = crystal()
    calculator.uncertainty(atoms)
    assert set(calculator.results) <= set(calculator.implemented_properties)


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_have_it(calculator: RuSchNet, twin) -> None:
    atoms = crystal()
    expected = calculator.uncertainty(atoms)
    np.testing.assert_allclose(twin(calculator).uncertainty(atoms), expected, rtol=1e-6)


def test_the_reference_and_another_precision_give_the_same(tmp_path: Path) -> None:
    path, atoms = known(tmp_path), crystal()
    expected = RuSchNet(path, dtype="float64", engine="reference").uncertainty(atoms)
    for arguments in ({}, {"dtype": "float64"}, {"engine": "reference"}):
        np.testing.assert_allclose(RuSchNet(path, **arguments).uncertainty(atoms), expected, rtol=1e-4)


def test_a_model_without_it_says_so(model_file: Path, paper_file: Path) -> None:
    one = RuSchNet(model_file)
    assert not one.has_uncertainty
    with pytest.raises(PropertyNotImplementedError, match="`ru-calc fit` gives it to every new model"):
        one.uncertainty(crystal())
    other = RuSchNet(paper_file, non_conservative=True)
    with pytest.raises(PropertyNotImplementedError, match="of family paper has no uncertainty"):
        other.uncertainty(crystal())
