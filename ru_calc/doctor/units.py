"""Units and signs that labels are mistaken in, as factors on the right number, and what mends them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ru_calc.dataset.label_units import unit_of


@dataclass(frozen=True)
class Mistake:
    """A way to label wrongly: the label is `sign · factor · V^volume_power` times the right number.

    Attributes:
        words: completes "the forces are …".
        factor: of the label over the right number, above 0.
        mend: the option of `ru-calc convert`.
        sign: 1 or -1.
        volume_power: 1 for a virial in eV instead of a stress in eV/Å³.
    """

    words: str
    factor: float
    mend: str
    sign: int = 1
    volume_power: int = 0

    def factors(self, volumes: np.ndarray) -> np.ndarray:
        """(f,) factor, above 0, in frames of these volumes in Å³."""
        return self.factor * volumes**self.volume_power


def _sizes(quantity: str, names: Iterable[str]) -> dict[str, float]:
    """Unit → its size in eV and Å."""
    return {name: unit_of(quantity, name).factor for name in names}


LENGTHS_A = _sizes("length", ("bohr", "nm"))
ENERGIES = _sizes("energy", ("Ha", "Ry", "kcal/mol", "kJ/mol", "meV"))
FORCES = _sizes(
    "forces", ("Ha/bohr", "Ry/bohr", "eV/bohr", "kcal/mol/Angstrom", "kJ/mol/Angstrom", "kJ/mol/nm", "meV/Angstrom")
)
STRESSES = _sizes("stress", ("GPa", "kbar", "MPa", "bar", "Pa", "Ha/bohr^3", "Ry/bohr^3", "kcal/mol/Angstrom^3"))
OWN = {"forces": "eV/Å", "stress": "eV/Å³"}


def _force_mistakes() -> tuple[Mistake, ...]:
    """The right way first."""
    gradient = "--forces-sign gradient"
    found = [
        Mistake("right", 1.0, ""),
        Mistake("the gradient of the energy, of the opposite sign", 1.0, gradient, -1),
    ]
    for name, size in FORCES.items():
        found.append(Mistake(f"in {name}", 1 / size, f"--forces-unit {name}"))
        found.append(Mistake(f"gradients in {name}", 1 / size, f"--forces-unit {name} {gradient}", -1))
    return tuple(found)


def _stress_mistakes() -> tuple[Mistake, ...]:
    """The right way first."""
    sign = "--stress-sign vasp"
    by_volume = "labels divided by the volume (--virial-key takes −V times the stress)"
    found = [
        Mistake("right", 1.0, ""),
        Mistake("of the opposite sign (VASP's: compression positive)", 1.0, sign, -1),
        Mistake("virials in eV (−V times the stress)", 1.0, "--virial-key NAME, where NAME is their column", -1, 1),
        Mistake("V times the stress, in eV", 1.0, by_volume, 1, 1),
    ]
    for name, size in STRESSES.items():
        found.append(Mistake(f"in {name}", 1 / size, f"--stress-unit {name}"))
        words = f"in {name} and of the opposite sign (compression positive)"
        found.append(Mistake(words, 1 / size, f"--stress-unit {name} {sign}", -1))
    return tuple(found)


MISTAKES = {"forces": _force_mistakes(), "stress": _stress_mistakes()}
