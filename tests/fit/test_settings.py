"""Settings of a fit: what a family brings along, and what the user says instead."""

from __future__ import annotations

import pytest

from ru_calc.fit.settings import with_changes
from ru_calc.potentials import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_brings_its_own_settings(family: str) -> None:
    settings = with_changes("md", {"family": family})
    for name, value in FAMILIES[family][0].fit_settings.items():
        assert getattr(settings, name) == value


def test_what_the_user_says_comes_before_the_family() -> None:
    assert FAMILIES["ani"][0].fit_settings["rate_readout"] != 5e-4
    assert with_changes("md", {"family": "ani", "rate_readout": 5e-4}).rate_readout == 5e-4
    assert with_changes("md", {"family": "ani"}).rate_readout != with_changes("md", {}).rate_readout


def test_the_papers_preset_takes_nothing_from_a_family() -> None:
    assert with_changes("paper", {"family": "ani"}).rate_readout == with_changes("paper", {}).rate_readout
