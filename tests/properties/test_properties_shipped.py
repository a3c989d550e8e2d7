"""The shipped model's own properties, against the values of its level of theory."""

import pytest

from ru_calc import RuSchNet
from ru_calc.properties import all_properties, compare, level_of, score, summary


@pytest.fixture(scope="module")
def rows():
    calculator = RuSchNet(dtype="float64", device="cpu")
    return compare(all_properties(calculator, quick=True), level_of(calculator.header["level_of_theory"]))


def test_the_shipped_model_has_all_properties(rows):
    assert not [row.property.failure for row in rows if row.property.failure]


def test_the_shipped_model_is_near_the_values_of_its_level(rows):
    assert score(rows) < 0.5, summary(rows)
    met = {row.property.symbol: row.met for row in rows}
    assert met["a"] and met["c"] and met["hcp margin"], summary(rows)
