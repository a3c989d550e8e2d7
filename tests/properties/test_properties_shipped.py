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


def test_the_shipped_model_meets_its_targets_but_for_those_that_its_card_names(rows):
    missed = {row.property.symbol for row in rows if row.met is False}
    assert missed <= {"C33", "E_vac_unrelaxed", "D_barrier"}, summary(rows)
    assert score(rows) < 0.75, summary(rows)
