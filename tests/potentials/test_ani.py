"""What is particular to ANI: which neighbours it sees in which way, and its network's widths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from checks import evaluator, small_potential

from ru_calc.errors import SettingsError
from ru_calc.potentials.ani import ANI, ANISettings


def fan(r_A: float, *angles_deg: float) -> Atoms:
    """An atom with neighbours at r in a plane, too far apart to change each other's first shell much."""
    angles = np.deg2rad(angles_deg)
    around = [[r_A * np.cos(t), r_A * np.sin(t), 0] for t in angles]
    return Atoms(f"Ru{1 + len(around)}", [[0, 0, 0], *around])


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


def test_hidden_widths_below_one_are_refused() -> None:
    with pytest.raises(SettingsError, match="hidden is"):
        ANISettings(hidden=(8, 0))
