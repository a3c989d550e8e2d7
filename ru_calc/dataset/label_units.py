"""Units of labels in files of other programs, as factors to eV, Å, eV/Å and eV/Å³."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ase import units

from ru_calc.errors import SettingsError

# Powers of energy and length of each quantity.
DIMENSIONS = {"energy": (1, 0), "length": (0, 1), "forces": (1, -1), "stress": (1, -3), "virial": (1, 0)}
PLAIN = {
    "energy": "eV", "length": "Angstrom", "forces": "eV/Angstrom", "stress": "eV/Angstrom^3", "virial": "eV"
}  # fmt: skip
EXAMPLES = {
    "energy": "eV, Ha, Ry, kcal/mol or kJ/mol", "length": "Angstrom, bohr or nm",
    "forces": "eV/Angstrom, Ha/bohr, Ry/bohr or kcal/mol/Angstrom",
    "stress": "eV/Angstrom^3, GPa, kbar or Ha/bohr^3", "virial": "eV, Ha, Ry or kcal/mol",
}  # fmt: skip
ENERGIES = {
    ("ev", "electronvolt", "electronvolts"): units.eV,
    ("mev",): 1e-3 * units.eV,
    ("ha", "hartree", "hartrees", "eh"): units.Hartree,
    ("mha",): 1e-3 * units.Hartree,
    ("ry", "rydberg", "rydbergs"): units.Rydberg,
    ("kcal",): units.kcal,
    ("kj",): units.kJ,
    ("j", "joule"): units.J,
}
LENGTHS = {
    ("a", "å", "ang", "angstrom", "angstroms", "angstroem", "ångström", "ångstrom"): units.Angstrom,
    ("bohr", "bohrs"): units.Bohr,
    ("nm", "nanometer", "nanometers"): units.nm,
    ("pm",): 1e-3 * units.nm,
}
PRESSURES = {
    ("gpa",): units.GPa,
    ("mpa",): 1e-3 * units.GPa,
    ("kbar", "kb"): 0.1 * units.GPa,
    ("bar",): 1e-4 * units.GPa,
    ("atm",): units.bar * 1.01325,
    ("pa",): units.Pascal,
}
# A unit as (factor, power of energy, power of length).
Measure = tuple[float, int, int]
KNOWN: dict[str, Measure] = {
    **{name: (value, 1, 0) for names, value in ENERGIES.items() for name in names},
    **{name: (value, 0, 1) for names, value in LENGTHS.items() for name in names},
    **{name: (value, 1, -3) for names, value in PRESSURES.items() for name in names},
    "mol": (units.mol, 0, 0),
}
ATOMIC = {"au", "a.u.", "a.u", "atomic", "atomic units", "atomicunits"}
TOKEN = re.compile(r"([^\W\d_]+)\s*(?:\^|\*\*)?\s*([+-]?\d+)?")


@dataclass(frozen=True)
class Unit:
    """A unit of a quantity.

    Attributes:
        text: as it is written.
        factor: by which a value is multiplied to be in eV and Å.
    """

    text: str
    factor: float


def unit_of(quantity: str, text: str) -> Unit:
    """The unit that `text` names, such as `kcal/mol/Angstrom`, `Ha/bohr^3`, `eV Angstrom-1` or `kbar`.

    Args:
        quantity: one of `DIMENSIONS`.
        text: as files and options write it.

    Raises:
        SettingsError: it is no unit, or one of another quantity.
    """
    plain = " ".join(str(text).strip().lower().split())
    power_of_energy, power_of_length = DIMENSIONS[quantity]
    if plain in ATOMIC:
        return Unit(text, units.Hartree**power_of_energy * units.Bohr**power_of_length)
    for written, meant in (("³", "^3"), ("⁻¹", "^-1"), ("µ", "u"), ("a0", "bohr"), ("a_0", "bohr"), ("_per_", "/")):
        plain = plain.replace(written, meant)
    measure = _product(plain.replace("·", " ").replace("per ", "/"))
    if measure is None or measure[1:] != (power_of_energy, power_of_length):
        raise SettingsError(f"the unit of {quantity} is {text!r}; it must be {EXAMPLES[quantity]}")
    return Unit(str(text), measure[0])


def _product(text: str) -> Measure | None:
    """A product of known units; None if there is anything else in it."""
    factor, energy, length, place, sign = 1.0, 0, 0, 0, 1
    inside = 0  # of a bracket behind a slash
    while place < len(text):
        token = TOKEN.match(text, place)
        if token is None:
            sign, inside, known = _operator(text[place], sign, inside)
            if not known:
                return None
            place += 1
            continue
        unit = KNOWN.get(token[1])
        if unit is None:
            return None
        power = sign * int(token[2] or 1)
        factor *= unit[0] ** power
        energy, length = energy + power * unit[1], length + power * unit[2]
        sign = sign if inside else 1
        place = token.end()
    # A kilocalorie without "per mole" is of no molecule: 0.1 eV or 10²² eV.
    molar = bool(re.search(r"\bk?(cal|j)\b", text)) == ("mol" in text)
    return (factor, energy, length) if molar and (energy or length) else None


def _operator(letter: str, sign: int, inside: int) -> tuple[int, int, bool]:
    """Sign of the powers that follow, depth of brackets behind a slash, and whether the letter is an operator."""
    if letter == "/":
        return -1, inside, True
    if letter == "(":
        return sign, inside + (sign < 0), True
    if letter == ")":
        return 1, max(inside - 1, 0), True
    return sign, inside, letter in " *"
