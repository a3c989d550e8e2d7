"""The campaign of the calculator, reduced; its own evaluation is sound, and a fault of the calculator is seen."""

from __future__ import annotations

import numpy as np
import pytest
from calculator import all_pairs, compare, make
from campaign import run_cases
from checks import check_pairs, frames
from random_atoms import CHANGES, KINDS

from ru_calc import RuCalculator
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import VerletList


def test_a_few_cases_pass() -> None:
    results = list(run_cases(make, range(12)))
    assert [str(result) for result in results if result.failed] == []
    assert {result.end for result in results} >= {"agrees"}


@pytest.mark.parametrize("name", frames())
def test_its_pairs_are_those_of_the_other_sum_over_images(name: str) -> None:
    atoms = frames()[name]
    atoms.positions += np.random.default_rng(0).integers(-2, 3, size=(len(atoms), 3)) * atoms.pbc @ atoms.cell.array
    check_pairs(all_pairs(atoms, 5.0)[0], Structures.from_atoms(atoms), 5.0)


@pytest.mark.parametrize("kind", KINDS)
def test_atoms_of_each_kind_are_made_and_changed_and_always_the_same(kind: str) -> None:
    one, other = (KINDS[kind](np.random.default_rng(3)) for _ in range(2))
    assert one == other and 0 < len(one) <= 200
    draw = np.random.default_rng(4)
    for change in CHANGES:
        change(draw, one)
        Structures.from_atoms(one)


def test_a_stale_list_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms, calculator = frames()["hcp"], RuCalculator("fast", "cpu", "float64")

    def follow() -> None:
        for _ in range(2):
            compare(np.random.default_rng(1), calculator, atoms)
            atoms.positions[0] += 2.0

    follow()
    monkeypatch.setattr(VerletList, "_followed", lambda self, structures: structures)
    with pytest.raises(AssertionError, match="is off by"):
        follow()
