"""The uncertainty that a fit gives its model: far atoms have more of it, and it is calibrated on held-out frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from conftest import small_model
from labelled import SMALL_FIT, lj_frames

from ru_calc.calculator import RuCalculator
from ru_calc.dataset import Dataset
from ru_calc.errors import DataError, ModelError
from ru_calc.fit.run import FitInput, run_fit
from ru_calc.fit.settings import with_changes
from ru_calc.fit.uncertainty import _whitening, add_uncertainty, features, quality
from ru_calc.modelfiles import load_model, open_model
from ru_calc.modelfiles.load import save_model
from ru_calc.modelfiles.read import read_header
from ru_calc.structures import Structures


@pytest.fixture
def data() -> tuple[Dataset, Dataset]:
    """Training and held-out frames."""
    return Dataset.from_atoms(lj_frames(24)), Dataset.from_atoms(lj_frames(24, seed=1), level_of_theory="LJ")


@pytest.fixture
def file(tmp_path: Path, data: tuple[Dataset, Dataset]) -> Path:
    """A model with an uncertainty."""
    path = tmp_path / "m.safetensors"
    save_model(path, small_model(), {"licence": "MIT"})
    add_uncertainty(path, *data, say=lambda line: None)
    return path


def test_the_file_keeps_it_beside_the_same_network_and_tells_how_it_was_calibrated(file: Path, data) -> None:
    before, after = small_model().state_dict(), load_model(file).potential.state_dict()
    assert before.keys() == after.keys()
    header = read_header(file)
    entry = header["uncertainty"]
    assert header["licence"] == "MIT" and entry["threshold_eV_per_A"] > 0
    calibration = entry["calibration"]
    assert calibration["data"] == data[1].fingerprint() and calibration["level_of_theory"] == "LJ"
    assert calibration["frames"] == 24 and set(calibration["by_config_type"]) <= {"hcp", "fcc"}
    # Factor and power are the likeliest of normal errors, so that about as many lie within u as of a normal one.
    assert 0.55 < calibration["coverage_68"] < 0.85 and 0.85 < calibration["coverage_95"] <= 1.0
    predictor = open_model(file, "float64").predictor
    u = predictor.predict(data[1].structures, None, ("uncertainty",)).uncertainty
    errors = predictor.predict(data[1].structures, None, ("forces",)).forces - data[1].forces
    u, errors = (part[np.linalg.norm(errors, axis=1) > 1e-3] for part in (u, errors))  # fcc's are 0 by symmetry
    found = quality(u, errors)
    assert found == pytest.approx({key: calibration[key] for key in found}, rel=1e-3)
    assert (u <= entry["threshold_eV_per_A"]).mean() == pytest.approx(calibration["below_threshold"], abs=1e-9)


def test_whitened_features_of_the_training_atoms_have_unit_spread() -> None:
    rng = np.random.default_rng(0)
    training = rng.normal(size=(4000, 20)) @ rng.normal(size=(20, 20)) + 7.0
    projection, offset = _whitening(np.array_split(training, 7))
    y = training @ projection.T - offset
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(y.T @ y / len(y), np.eye(20), atol=2e-2)


def test_it_grows_with_the_distance_from_the_training_frames(file: Path) -> None:
    calculator = RuCalculator(file)
    hcp = bulk("Ru", "hcp", a=2.7, c=4.3)
    squeezed = hcp.copy()
    squeezed.set_cell(0.6 ** (1 / 3) * hcp.cell, scale_atoms=True)
    seen, unseen = (calculator.uncertainty(atoms).max() for atoms in (hcp, squeezed))
    lattice = calculator.uncertainty(bulk("Ru", "diamond", a=4.6)).max()
    assert min(unseen, lattice) > max(2 * seen, calculator.uncertainty_threshold_eV_per_A)


def test_quality_of_errors_that_are_as_expected_and_of_others() -> None:
    rng = np.random.default_rng(0)
    u = np.exp(rng.normal(size=20000))
    good = quality(u, rng.normal(size=(20000, 3)) * u[:, None])
    assert good["coverage_68"] == pytest.approx(0.6827, abs=0.01)
    assert good["coverage_95"] == pytest.approx(0.95, abs=0.01)
    assert good["rank_correlation"] > 0.8
    bad = quality(u, rng.normal(size=(20000, 3)))
    assert abs(bad["rank_correlation"]) < 0.03 and bad["coverage_68"] < 0.65


def test_it_can_be_made_anew(file: Path, data) -> None:
    before = read_header(file)["uncertainty"]
    assert add_uncertainty(file, *data, say=lambda line: None) == before
    assert add_uncertainty(file, data[1], data[0], say=lambda line: None) != before


def test_what_it_cannot_be_made_of_is_refused_and_the_file_is_left(tmp_path: Path, paper_file: Path, data) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, small_model(), {})
    before = path.read_bytes()
    alone = Dataset.from_atoms(lj_frames(24)).select([1])
    with pytest.raises(DataError, match=r"held-out atoms have a known error of the force, .* give more frames"):
        add_uncertainty(path, data[0], alone)
    assert path.read_bytes() == before
    with pytest.raises(ModelError, match="of family paper has no uncertainty; only the family schnet has one"):
        add_uncertainty(paper_file, *data)
    save_model(path, small_model(angular=False, blocks=0), {})
    with pytest.raises(DataError, match="neither angles nor blocks"):
        add_uncertainty(path, *data)


@pytest.mark.parametrize(("frames", "enough"), [(60, True), (20, False)])
def test_a_fit_gives_it_to_its_model_or_says_why_not(tmp_path: Path, frames: int, enough: bool) -> None:
    lines: list[str] = []
    job = FitInput(
        Dataset.from_atoms(lj_frames(frames)), tmp_path / "run", with_changes("md", {**SMALL_FIT, "epochs": 1})
    )
    run_fit(job, say=lines.append)
    best = tmp_path / "run" / "best.safetensors"
    assert ("uncertainty" in read_header(best)) == enough and (load_model(best).uncertainty is not None) == enough
    start = "uncertainty, on 12 held-out frames: " if enough else "the model gets no uncertainty: "
    assert sum(line.startswith(start) for line in lines) == 1
    if enough:
        again = FitInput(job.dataset, tmp_path / "again", job.settings, init_from=str(best))
        run_fit(again, say=lines.append)  # from a model with an uncertainty
        assert "uncertainty" in read_header(tmp_path / "again" / "best.safetensors")


def test_features_do_not_depend_on_rotation_or_the_order_of_atoms() -> None:
    model, atoms = small_model(), lj_frames(3)[2]
    turned = atoms.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    turned = turned[::-1]
    one, other = (next(features(model, Structures.from_atoms([Atoms("Ru"), a]))) for a in (atoms, turned))
    np.testing.assert_allclose(one[1:], other[:0:-1], atol=1e-9)
