"""`ru-calc check`: a line for each claim, status 1 if one fails, the same in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ase.io import write
from click.testing import CliRunner
from conftest import rewritten

from ru_calc.checks import lines
from ru_calc.checks.tolerance import Figure
from ru_calc.cli import main
from ru_calc.structures.build import build_structure

FEW = {name: lines.CHECKS[name] for name in ("model file", "permutation", "wrapped and unwrapped")}


@pytest.fixture
def few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ru_calc.checks.run.CHECKS", dict(FEW))


def check(*words: object):
    return CliRunner().invoke(main, ["check", *map(str, words)])


def test_each_line_has_figure_bound_and_verdict_also_in_json(few_lines: None, tmp_path: Path) -> None:
    done = check("fast", "--json", tmp_path / "a.json", "--threads", 1, "--device", "cpu")
    assert done.exit_code == 0, done.output
    texts = done.output.splitlines()
    assert texts[0] == "model fast in float64, compiled engine, cpu, threads: 1"
    assert [text[:31].strip() for text in texts[2:-1]] == list(FEW)
    assert all(" ≤ " in text and "passed" in text for text in texts[2:-1]) and texts[-1] == "3 passed"
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["passed"] is True and found["model"] == "fast"
    for line in found["lines"]:
        assert line["verdict"] == "passed" and line["figure"]["value"] <= line["figure"]["bound"] and line["claim"]


def test_a_failure_is_told_and_sets_the_status(
    few_lines: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ru_calc.checks import run

    monkeypatch.setitem(run.CHECKS, "permutation", lambda subject: Figure(2.0, 1.0, "eV/Å", "forces", "slab"))
    done = check("fast", "--json", tmp_path / "a.json")
    assert done.exit_code == 1
    assert "1 ≤" not in done.output and "2 ≤ 1        eV/Å       FAILED  (forces, slab)" in done.output
    assert done.output.splitlines()[-1] == "2 passed, 1 FAILED"
    assert json.loads((tmp_path / "a.json").read_text())["passed"] is False


def test_a_structure_takes_the_place_of_the_set(few_lines: None, tmp_path: Path) -> None:
    write(tmp_path / "ball.xyz", build_structure("sphere", n_atoms=13))
    done = check("fast", tmp_path / "ball.xyz")
    assert done.exit_code == 0, done.output
    assert "ball.xyz)" in done.output and "slab" not in done.output
    assert "wrapped and unwrapped          skipped: nothing is periodic" in done.output
    assert done.output.splitlines()[-1] == "2 passed, 1 skipped"


def test_a_damaged_model_fails_its_line(few_lines: None, model_file: Path) -> None:
    def change(header: dict, weights: dict) -> None:
        weights["energy.0.weight"][0, 0] += 0.1

    rewritten(model_file, change)
    done = check(model_file)
    assert done.exit_code == 1
    assert "model file                     FAILED: " in done.output and done.output.splitlines()[-1] == "1 FAILED"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonesuch"], "there is no model 'nonesuch'"),
        (["fast", "nonesuch.xyz"], "nonesuch.xyz"),
        (["gnn", "--engine", "compiled"], "it only evaluates the family schnet"),
        (["fast", "--json", "nonesuch/a.json"], "nonesuch"),
    ],
)
def test_what_cannot_be_checked_ends_in_one_line(words: list[str], message: str) -> None:
    done = check(*words)
    assert done.exit_code == 1 and message in done.output and done.output.count("\n") == 1
