"""Types of settings: what passes for which, and what is said of the rest."""

from dataclasses import dataclass

import numpy as np
import pytest

from ru_calc.errors import SettingsError
from ru_calc.potentials.values import check_types


@dataclass(frozen=True)
class Settings:
    count: int = 3
    rate: float = 0.5
    switch: bool = True
    name: str = "plain"
    pair: tuple[float, float] = (0.1, 1.0)
    widths: tuple[int, ...] = (64,)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("count", [0, -1, np.int64(4)]),
        ("rate", [1, 1.5, np.float64(2.0)]),
        ("switch", [False]),
        ("name", ["other"]),
        ("pair", [[0, 1], (0.5, 2.0)]),
        ("widths", [[], [8, 4], (2,)]),
    ],
)
def test_what_fits_passes(name, values):
    for value in values:
        check_types(Settings, {name: value})


@pytest.mark.parametrize(
    ("name", "values", "rule"),
    [
        ("count", ["abc", 1.5, True, None], "a whole number, as --set model.count=3"),
        ("rate", ["1", False, float("nan"), [1.0]], "a number, as --set model.rate=0.5"),
        ("switch", [1, "true"], "true or false, as --set model.switch=true"),
        ("name", [1, None], "a name, as --set model.name=plain"),
        ("pair", [1.0, "ab", [1], [1, 2, 3], [1, "b"]], "a list of 2 numbers, as --set model.pair=[0.1,1.0]"),
        ("widths", [64, [1.5]], "a list of whole numbers, as --set model.widths=[64]"),
    ],
)
def test_what_does_not_fit_is_named_with_its_value_and_the_rule(name, values, rule):
    for value in values:
        with pytest.raises(SettingsError) as refused:
            check_types(Settings, {name: value}, "model.")
        assert str(refused.value) == f"model.{name} is {value!r}; it must be {rule}"
