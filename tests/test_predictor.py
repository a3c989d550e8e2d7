"""What a predictor is: many frames in one call are each frame alone, for the reference and the compiled engine."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from checks import assert_same, frames, small_potential
from conftest import TOLERANCE

from ru_calc import kernels
from ru_calc.engine.device import DeviceEngine
from ru_calc.engine.engine import Engine
from ru_calc.errors import DataError
from ru_calc.potentials.derivatives import Reference
from ru_calc.predictor import WANTED, Prediction, Predictor, batches, predict_all
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import find_pairs

FRAMES = frames()
MIXED = [FRAMES[name] for name in ("lone", "hcp", "dimer", "one atom", "slab", "skewed", "wire", "lone", "two atoms")]
COMPILED = pytest.param("compiled", marks=pytest.mark.skipif(not kernels.available(), reason="no compiled module"))


@pytest.fixture(scope="module", params=["reference", "on a device", COMPILED])
def predictor(request: pytest.FixtureRequest) -> Predictor:
    potential = small_potential()
    if request.param == "reference":
        return Reference(potential)
    arrays = {name: value.numpy() for name, value in potential.state_dict().items()}
    if request.param == "compiled":
        return Engine(potential.hyperparameters(), arrays, "float64")
    return DeviceEngine(potential.hyperparameters(), arrays, "float64", "cpu")


def part(prediction: Prediction, structures: Structures, k: int) -> Prediction:
    """What is predicted of frame k."""
    own = structures.atoms_of([k])
    return Prediction(prediction.energy[[k]], prediction.energies[own], prediction.forces[own], prediction.stress[[k]])


def check_each_alone(predictor: Predictor, prediction: Prediction, several: list[Atoms]) -> None:
    structures = Structures.from_atoms(several)
    for k, atoms in enumerate(several):
        assert_same(part(prediction, structures, k), predictor.predict(atoms))


def test_many_frames_at_once_are_each_alone(predictor: Predictor) -> None:
    together = predictor.predict(MIXED)
    check_each_alone(predictor, together, MIXED)
    with pytest.raises(AssertionError):
        check_each_alone(predictor, together, [*MIXED[:-3], MIXED[-2], MIXED[-3], MIXED[-1]])


def test_stress_is_nan_where_there_is_no_volume_and_nowhere_else(predictor: Predictor) -> None:
    found = predictor.predict(MIXED)
    without = [atoms.cell.rank < 3 for atoms in MIXED]
    assert any(without) and not all(without)
    assert np.isnan(found.stress).all(axis=1).tolist() == np.isnan(found.stress).any(axis=1).tolist() == without
    assert np.isfinite(found.forces).all() and np.isfinite(found.energies).all()


def test_energies_of_atoms_add_up_to_those_of_frames(predictor: Predictor) -> None:
    found, structures = predictor.predict(MIXED), Structures.from_atoms(MIXED)
    sums = [found.energies[structures.atoms_of([k])].sum() for k in range(len(MIXED))]
    np.testing.assert_allclose(found.energy, sums, rtol=0, atol=1e-11)


def test_stresses_of_atoms_add_up_to_those_of_frames(predictor: Predictor) -> None:
    found, structures = predictor.predict(MIXED, None, ("stress", "stresses")), Structures.from_atoms(MIXED)
    for k, atoms in enumerate(MIXED):
        own = found.stresses[structures.atoms_of([k])]
        assert own.shape == (len(atoms), 6) and np.isnan(own).any() == (atoms.cell.rank < 3)
        np.testing.assert_allclose(own.sum(axis=0), found.stress[k], rtol=0, atol=1e-14)
    alone = predictor.predict(MIXED, None, ("stresses",))
    np.testing.assert_array_equal(alone.stresses, found.stresses)
    assert alone.stress is None and alone.forces is None


def test_each_atom_of_a_pair_has_half_the_stress_and_each_atom_of_a_lattice_its_share(predictor: Predictor) -> None:
    """Of a pair it is r ⊗ F / V, by hand."""
    pair = Atoms("Ru2", [[0, 0, 0], [1.2, 1.9, -0.4]], cell=[15, 16, 17], pbc=True)
    found = predictor.predict(pair, None, ("forces", "stresses"))
    outer = -np.outer(pair.positions[1] - pair.positions[0], found.forces[1]) / (15 * 16 * 17)
    assert np.abs(outer).max() > 1e-6
    expected = [outer[0, 0], outer[1, 1], outer[2, 2], outer[1, 2], outer[0, 2], outer[0, 1]]
    np.testing.assert_allclose(found.stresses, [np.array(expected) / 2] * 2, rtol=0, atol=1e-14)
    cell = FRAMES["hcp"]
    once, often = (predictor.predict(atoms, None, ("stresses",)).stresses for atoms in (cell, cell * (1, 2, 2)))
    np.testing.assert_allclose(4 * often, np.tile(once, (4, 1)), rtol=0, atol=1e-14)


def test_every_predictor_gives_the_stresses_of_the_reference(predictor: Predictor) -> None:
    expected = Reference(small_potential()).predict(FRAMES["hcp"], None, ("stresses",)).stresses
    assert np.ptp(expected, axis=0).max() > 1e-6, "shares given to the wrong atom would not be seen"
    found = predictor.predict(FRAMES["hcp"], None, ("stresses",)).stresses
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE["float64"]["stress"])


def test_atoms_structures_and_lists_of_pairs_may_be_given(predictor: Predictor) -> None:
    atoms = FRAMES["hcp"]
    structures = Structures.from_atoms(atoms)
    expected = predictor.predict(atoms)
    for given in (
        (structures,), ([atoms],), (structures, find_pairs(structures, predictor.cutoff_A)),
        (structures, find_pairs(structures, predictor.cutoff_A + 0.7)), ([atoms], None, WANTED),
    ):  # fmt: skip
        assert_same(predictor.predict(*given), expected)


def test_results_are_float64_arrays_of_what_is_wanted_and_the_same_to_the_last_bit(predictor: Predictor) -> None:
    everything = predictor.predict(MIXED[:3])
    for want in (*([name] for name in WANTED), ("energy", "forces"), ("energies", "stress"), WANTED):
        found = predictor.predict(MIXED[:3], None, want)
        assert {name for name in WANTED if getattr(found, name) is not None} == set(want)
        for name in want:
            assert getattr(found, name).dtype == np.float64
            np.testing.assert_array_equal(getattr(found, name), getattr(everything, name))


def test_frames_without_atoms_have_no_energy(predictor: Predictor) -> None:
    found = predictor.predict([Atoms(), FRAMES["dimer"], Atoms()])
    assert found.energy[[0, 2]].tolist() == [0.0, 0.0]
    assert found.energy[1] == pytest.approx(predictor.predict(FRAMES["dimer"]).energy[0], abs=1e-12)
    nothing = predictor.predict([])
    assert [getattr(nothing, name).shape for name in WANTED] == [(0,), (0,), (0, 3), (0, 6)]
    assert nothing.energy.dtype == np.float64


# In batches


@pytest.mark.parametrize("batch_atoms", [1, 20, 10**6])
def test_predictions_in_batches_are_those_of_one_call(predictor: Predictor, batch_atoms: int) -> None:
    done: list[int] = []
    found = predict_all(predictor, Structures.from_atoms(MIXED), WANTED, batch_atoms, done.append)
    assert_same(found, predictor.predict(MIXED))
    assert sum(done) == len(MIXED) and len(done) == {1: 9, 20: 3, 10**6: 1}[batch_atoms]


def test_only_what_is_wanted_is_predicted_in_batches(predictor: Predictor) -> None:
    found = predict_all(predictor, Structures.from_atoms(MIXED), ("energy",))
    assert found.forces is None and found.stress is None and found.energies is None
    np.testing.assert_allclose(found.energy, predictor.predict(MIXED).energy, atol=TOLERANCE["float64"]["energy"])


def test_what_a_predictor_does_not_give_is_nan_in_batches() -> None:
    found = predict_all(Reference(small_potential("paper")), Structures.from_atoms(MIXED))
    assert np.isnan(found.stress).all() and found.stress.shape == (len(MIXED), 6)
    assert np.isfinite(found.forces).all() and np.isfinite(found.energy).all()


@pytest.mark.parametrize("batch_atoms", [1, 10**6])
def test_frames_that_cannot_be_predicted_are_named_and_the_others_are_predicted(
    predictor: Predictor, batch_atoms: int
) -> None:
    twice = Atoms("Ru3", [[0, 0, 0], [2.5, 0, 0], [2.5, 0.02, 0.03]])
    crowd = Atoms("Ru3000", np.random.default_rng(1).random((3000, 3)) * 2.0)
    frames, whys = [MIXED[0], twice, crowd, *MIXED[1:], twice], {}
    found = predict_all(predictor, Structures.from_atoms(frames), WANTED, batch_atoms, refuse=whys.__setitem__)
    assert list(whys) == [1, 2, len(frames) - 1]
    assert whys[1] == whys[len(frames) - 1] == "atoms 1 and 2 are 0.036 Å apart"
    assert "3000 atoms and images lie in a cube" in whys[2] or "pairs within" in whys[2]
    separate = predict_all(predictor, Structures.from_atoms(MIXED), WANTED, batch_atoms)
    good = [k for k in range(len(frames)) if k not in whys]
    atoms = Structures.from_atoms(frames).atoms_of(good)
    for name in WANTED:
        of_good = getattr(found, name)[good if name in ("energy", "stress") else atoms]
        np.testing.assert_allclose(of_good, getattr(separate, name), atol=1e-12, err_msg=name)
        assert np.isnan(getattr(found, name)).sum() >= 3
    with pytest.raises(DataError, match="frame 2: there would be about"):
        predict_all(predictor, Structures.from_atoms(frames), WANTED, batch_atoms)


@pytest.mark.parametrize(("batch_atoms", "expected"), [(1, 5), (6, 4), (10, 3), (100, 1)])
def test_batches_hold_every_frame_once_and_no_more_atoms_than_allowed(batch_atoms: int, expected: int) -> None:
    counts = np.array([2, 4, 1, 9, 3])
    parts = list(batches(counts, batch_atoms))
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(5))
    assert len(parts) == expected
    assert all(counts[part].sum() <= batch_atoms or len(part) == 1 for part in parts)


def test_no_frames_make_no_batch() -> None:
    assert list(batches(np.zeros(0, dtype=int), 10)) == []
