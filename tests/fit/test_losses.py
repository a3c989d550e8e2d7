"""The loss: its scales, its masks, and its gradient where labels are missing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from labelled import lj_frames

from ru_calc.dataset import Dataset
from ru_calc.evaluate.metrics import SCALES
from ru_calc.fit.batches import Targets
from ru_calc.fit.losses import LabelStatistics, MeanMeasure, loss_terms
from ru_calc.fit.settings import FitSettings
from ru_calc.fit.tracking import ErrorSums
from ru_calc.predictor import Prediction

STATISTICS = LabelStatistics(-9.0, 0.5, 2.0, 0.1)
RELATIVE = FitSettings(huber_delta=2.0, forces_share=0.08)
STANDARDISED = FitSettings(loss="standardised")


def targets(**changes) -> Targets:
    values = dict(
        energy=torch.tensor([-18.0, -17.0], dtype=torch.float64),
        forces=torch.zeros(4, 3),
        stress=torch.zeros(2, 6),
        counts=torch.tensor([2.0, 2.0]),
        weight=torch.ones(2),
        atom_frames=torch.tensor([0, 0, 1, 1]),
    )
    return Targets(**{**values, **changes})


def prediction(energy=(-18.0, -17.0), forces=0.0, stress=0.0) -> Prediction:
    return Prediction(
        torch.tensor(energy, dtype=torch.float64), None, torch.full((4, 3), forces), torch.full((2, 6), stress)
    )


def test_perfect_predictions_cost_nothing_in_both_forms():
    for settings in (RELATIVE, STANDARDISED):
        assert all(float(v) == 0 for v in loss_terms(settings, prediction(), targets(), STATISTICS).values())


def test_relative_energy_error_is_huber_of_the_stated_scale():
    terms = loss_terms(RELATIVE, prediction((-18.0 + 2 * 0.006, -17.0)), targets(), STATISTICS)
    # First frame at E_min: scale 6 meV, error 6 meV per atom, Huber 1/2; second frame exact.
    assert float(terms["energy"]) == pytest.approx(0.25, rel=1e-6)
    terms = loss_terms(RELATIVE, prediction((-18.0, -17.0 + 2 * 0.031 * 5)), targets(), STATISTICS)
    # Second frame 0.5 eV above: scale 6 + 25 meV, five scales off: 2 (5 − 1) = 8.
    assert float(terms["energy"]) == pytest.approx(4.0, rel=1e-5)


def test_force_scale_grows_with_the_force():
    forces = torch.zeros(4, 3)
    forces[:, 0] = 10.0
    still = loss_terms(RELATIVE, prediction(forces=0.08), targets(), STATISTICS)["forces"]
    moving = loss_terms(
        RELATIVE, Prediction(prediction().energy, None, forces + 0.08, None), targets(forces=forces), STATISTICS
    )["forces"]
    assert float(still) == pytest.approx(0.5) and float(moving) == pytest.approx(0.5 * (0.08 / 0.88) ** 2, rel=1e-5)


def test_errors_count_linearly_beyond_huber_delta_scales():
    near, far = (
        loss_terms(replace(RELATIVE, huber_delta=delta), prediction(forces=0.4), targets(), STATISTICS)["forces"]
        for delta in (2.0, 10.0)
    )
    assert float(near) == pytest.approx(2.0 * (5.0 - 1.0)) and float(far) == pytest.approx(0.5 * 5.0**2)


def test_a_smaller_share_of_the_force_weighs_large_forces_more():
    forces = torch.zeros(4, 3)
    forces[:, 0] = 10.0
    guess = Prediction(prediction().energy, None, forces + 0.08, None)
    settings = replace(RELATIVE, forces_share=0.02)
    found = loss_terms(settings, guess, targets(forces=forces), STATISTICS)["forces"]
    assert float(found) == pytest.approx(0.5 * (0.08 / 0.28) ** 2, rel=1e-5)


def test_standardised_energy_is_a_mean_square_over_the_variance():
    terms = loss_terms(STANDARDISED, prediction((-17.0, -17.0)), targets(), STATISTICS)
    assert float(terms["energy"]) == pytest.approx(0.5 * (0.5 / 0.5) ** 2)


@pytest.mark.parametrize("settings", [RELATIVE, STANDARDISED], ids=lambda settings: settings.loss)
def test_missing_labels_are_left_out_of_loss_and_gradient(settings):
    nan = torch.full((4, 3), float("nan"))
    nan[0] = 0.0
    masked = targets(
        forces=nan, energy=torch.tensor([-18.0, float("nan")], dtype=torch.float64),
        stress=torch.full((2, 6), float("nan")),
    )  # fmt: skip
    guess = Prediction(
        torch.tensor([-18.0, 5.0], dtype=torch.float64, requires_grad=True), None,
        torch.full((4, 3), 0.04, requires_grad=True), torch.ones(2, 6, requires_grad=True),
    )  # fmt: skip
    terms = loss_terms(settings, guess, masked, STATISTICS)
    sum(terms.values()).backward()
    assert float(terms["energy"].detach()) == 0 and float(terms["stress"].detach()) == 0
    for tensor in (guess.energy, guess.forces, guess.stress):
        assert torch.isfinite(tensor.grad).all()
    assert (guess.forces.grad[0] != 0).all() and (guess.forces.grad[1:] == 0).all()


@pytest.mark.parametrize("settings", [RELATIVE, STANDARDISED], ids=lambda settings: settings.loss)
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_prediction_that_is_not_finite_is_no_missing_label(settings, wrong):
    for name, guess in (
        ("energy", prediction((-18.0, wrong))),
        ("forces", prediction(forces=wrong)),
        ("stress", prediction(stress=wrong)),
    ):
        assert not np.isfinite(float(loss_terms(settings, guess, targets(), STATISTICS)[name]))
        sums = ErrorSums()
        sums.add(guess, targets())
        assert [n for n, error in sums.errors().items() if not np.isfinite(error)] == [f"{name}_{SCALES[name].unit}"]


def test_weights_count_frames():
    heavy = targets(weight=torch.tensor([3.0, 1.0]))
    terms = loss_terms(STANDARDISED, prediction((-17.0, -17.0)), heavy, STATISTICS)
    assert float(terms["energy"]) == pytest.approx(0.75)


def test_statistics_are_those_of_the_labels():
    dataset = Dataset.from_atoms(lj_frames())
    found = LabelStatistics.of(dataset)
    per_atom = dataset.energy / dataset.structures.counts
    assert found.energy_min_eV == np.nanmin(per_atom)
    assert found.forces_rms_eV_per_A == pytest.approx(np.sqrt(np.nanmean(dataset.forces**2)))


# The measure by itself


def errors() -> tuple[torch.Tensor, torch.Tensor]:
    """On both sides of where Huber's measure bends, some without a label; and weights."""
    made = torch.linspace(-5.0, 5.0, 24, dtype=torch.float64).reshape(8, 3)
    made[2, 1] = made[5] = float("nan")
    return made.requires_grad_(), torch.linspace(0.5, 2.0, 8, dtype=torch.float64)


def plain_measure(delta, error, weight):
    """The same with torch's own loss functions."""
    labelled = torch.isfinite(error)
    zero, error = torch.zeros_like(error), torch.where(labelled, error, 0.0)
    each = error.square() if delta == float("inf") else torch.nn.functional.huber_loss(error, zero, "none", delta)
    share = labelled * weight[:, None]
    return (each * share).sum() / share.sum()


@pytest.mark.parametrize("delta", [RELATIVE.huber_delta, float("inf")])
def test_the_measure_and_its_slope_are_torchs(delta):
    error, weight = errors()
    found = MeanMeasure.apply(delta, error, torch.isfinite(error), weight)
    expected = plain_measure(delta, error, weight)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)
    (slope,), (truth,) = (torch.autograd.grad(3.0 * value, error) for value in (found, expected))
    torch.testing.assert_close(slope, truth.nan_to_num(), rtol=1e-14, atol=0)
    assert (slope != 0).sum() == 20


@pytest.mark.parametrize("delta", [RELATIVE.huber_delta, float("inf")])
def test_the_slope_of_the_measure_is_that_of_finite_differences(delta):
    error, weight = errors()
    labelled = torch.isfinite(error)
    places = error.detach()[labelled].requires_grad_()
    whole = torch.full_like(error, float("nan")).detach()
    assert torch.autograd.gradcheck(
        lambda x: MeanMeasure.apply(delta, whole.masked_scatter(labelled, x), labelled, weight), (places,)
    )


def test_nothing_labelled_costs_nothing():
    error = torch.full((2, 3), float("nan"), requires_grad=True)
    value = MeanMeasure.apply(RELATIVE.huber_delta, error, torch.isfinite(error), torch.ones(2))
    assert value.item() == 0 and not torch.autograd.grad(value, error)[0].any()
