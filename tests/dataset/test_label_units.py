"""Units in words, against numbers from CODATA 2018 by hand."""

from __future__ import annotations

import pytest

from ru_calc.dataset.label_units import unit_of
from ru_calc.errors import SettingsError

HARTREE_EV, RYDBERG_EV, BOHR_A = 27.211386, 13.605693, 0.529177211
KCAL_PER_MOL_EV, KJ_PER_MOL_EV, GPA = 0.0433641, 0.01036427, 0.006241509


@pytest.mark.parametrize(
    ("quantity", "text", "factor"),
    [
        ("energy", "eV", 1), ("energy", "EV", 1), ("energy", "meV", 1e-3),
        ("energy", "Ha", HARTREE_EV), ("energy", "hartree", HARTREE_EV), ("energy", "a.u.", HARTREE_EV),
        ("energy", "Ry", RYDBERG_EV), ("energy", "kcal/mol", KCAL_PER_MOL_EV), ("energy", "kJ/mol", KJ_PER_MOL_EV),
        ("energy", "kcal mol-1", KCAL_PER_MOL_EV), ("energy", "kcal_per_mol", KCAL_PER_MOL_EV),
        ("length", "Å", 1), ("length", "Angstrom", 1), ("length", "bohr", BOHR_A), ("length", "a0", BOHR_A),
        ("length", "nm", 10),
        ("forces", "eV/Å", 1), ("forces", "eV Angstrom-1", 1), ("forces", "eV/A", 1), ("forces", "meV/Ang", 1e-3),
        ("forces", "Ha/bohr", HARTREE_EV / BOHR_A), ("forces", "Ry/a0", RYDBERG_EV / BOHR_A),
        ("forces", "kcal/mol/Angstrom", KCAL_PER_MOL_EV), ("forces", "kcal/(mol*Angstrom)", KCAL_PER_MOL_EV),
        ("forces", "au", HARTREE_EV / BOHR_A), ("forces", "kJ/mol/nm", KJ_PER_MOL_EV / 10),
        ("stress", "eV/Angstrom^3", 1), ("stress", "eV/Å³", 1), ("stress", "eV/A3", 1), ("stress", "eV/A**3", 1),
        ("stress", "eV Angstrom^-3", 1), ("stress", "GPa", GPA), ("stress", "kbar", GPA / 10),
        ("stress", "kB", GPA / 10),
        ("stress", "bar", GPA / 1e4), ("stress", "Ha/bohr^3", HARTREE_EV / BOHR_A**3),
        ("stress", "Ry/bohr**3", RYDBERG_EV / BOHR_A**3),
        ("virial", "eV", 1), ("virial", "Ry", RYDBERG_EV), ("virial", "kbar*Angstrom^3", GPA / 10),
    ],
)  # fmt: skip
def test_a_unit_has_its_factor(quantity, text, factor):
    assert unit_of(quantity, text).factor == pytest.approx(factor, rel=2e-6)


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        ("energy", "parsec"), ("energy", ""), ("energy", "eV/Angstrom"), ("energy", "kcal"), ("energy", "eV/mol"),
        ("forces", "eV"), ("forces", "kbar"), ("stress", "eV/Angstrom"), ("stress", "eV"), ("length", "eV"),
        ("energy", "eV?"), ("energy", "-27.2"), ("energy", "mol"),
    ],
)  # fmt: skip
def test_what_is_no_unit_of_the_quantity_is_refused(quantity, text):
    with pytest.raises(SettingsError, match=f"the unit of {quantity} is '.*'; it must be"):
        unit_of(quantity, text)
