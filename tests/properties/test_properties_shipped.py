"""The shipped model's own properties, against the level of its labels."""

import pytest

from ru_calc import RuSchNet
from ru_calc.properties import all_properties, compare, score, summary


@pytest.fixture(scope="module")
def rows():
    return compare(all_properties(RuSchNet(dtype="float64", device="cpu"), quick=True))


def test_the_shipped_model_has_all_properties(rows):
    assert not [row.property.failure for row in rows if row.property.failure]


def test_the_shipped_model_is_near_its_teacher(rows):
    assert score(rows) < 0.5, summary(rows)
    met = {row.property.symbol: row.met for row in rows}
    assert met["a"] and met["c"] and met["hcp margin"], summary(rows)
