"""What is particular to ANI: which neighbours it sees in which way, and its network's widths."""

from __future__ import annotations

import torch
from checks import evaluator, fan, small_potential

from ru_calc.potentials.ani import ANI, ANISettings


def angular_share(r_A: float) -> float:
    """By how much the centre's energy changes when its neighbours' angle does."""
    evaluate = evaluator(small_potential("ani"))
    return abs(evaluate(fan(r_A, 0, 100)).energies[0] - evaluate(fan(r_A, 0, 150)).energies[0])


def test_angles_count_up_to_their_own_cutoff() -> None:
    assert angular_share(2.7) > 1e-4
    assert angular_share(4.65) < 1e-12


def test_the_network_has_the_widths_of_the_settings() -> None:
    model = ANI(ANISettings(hidden=(7, 5), radial_shells=4, angular_shells=3, angles=2))
    layers = [layer for layer in model.energy if isinstance(layer, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(10, 7), (7, 5), (5, 1)]
