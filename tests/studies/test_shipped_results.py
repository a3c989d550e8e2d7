"""The comparison that is shipped: its pages come from its results, and its results from the shipped models."""

from __future__ import annotations

import json

import numpy as np
import pytest
from checks import check_energy_is_conserved, evaluator, frames

from ru_calc import read_dataset
from ru_calc.calculator import RuCalculator
from ru_calc.evaluate import assess, predict_by_model, read_split
from ru_calc.files import shipped
from ru_calc.modelfiles import load_model, model_path
from ru_calc.studies.compare import report
from ru_calc.studies.compare.settings import COMPARED
from ru_calc.studies.paper import report as paper_report

SHIPPED = tuple(name for name in COMPARED if name != "schnet")  # SchNet is shipped as `default`, fitted for longer
KIND = "md_bulk_hcp"


def results(protocol: str) -> dict:
    (path,) = shipped(f"compare_{protocol}.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize(("protocol", "page"), [("md", report.markdown), ("paper", paper_report.markdown)])
def test_a_page_says_what_the_results_say(protocol: str, page) -> None:
    (path,) = shipped(f"compare_{protocol}.md")
    assert page(results(protocol)) in path.read_text()


@pytest.mark.parametrize("family", SHIPPED)
def test_a_shipped_family_has_the_errors_of_the_table(family: str) -> None:
    rows = results("md")["families"][family]["errors"]
    expected = next(row for row in rows if (row["split"], row["config_type"]) == ("test", KIND))
    dataset = read_dataset("distilled")
    test = read_split("omat", dataset)["test"]
    part = dataset.select(test[dataset.config_type[test] == KIND])
    assert len(part) == expected["frames"]
    predictor = RuCalculator(family, "cpu", "float64").predictor
    found = assess(part, predict_by_model(predictor, part)).rows[0]
    for name in ("energy_MAE_meV_per_atom", "forces_RMSE_meV_per_A", "stress_MAE_GPa"):
        assert found[name] == pytest.approx(expected[name], rel=1e-4), name


@pytest.mark.parametrize("family", SHIPPED)
def test_dynamics_with_a_shipped_family_conserves_energy(family: str) -> None:
    check_energy_is_conserved(evaluator(load_model(family).potential), frames()["hcp"])


@pytest.mark.parametrize("family", SHIPPED)
def test_a_shipped_family_is_small_and_says_what_it_is(family: str) -> None:
    assert model_path(family).stat().st_size < 3e6
    stored = load_model(family)
    assert stored.potential.family == family and stored.header["conservative"]
    assert "MIT" in stored.header["licence"]
    assert np.isfinite(stored.header["metrics"]["validation_forces_meV_per_A"])
