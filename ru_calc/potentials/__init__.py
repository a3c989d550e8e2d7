"""Potentials: maps from pairs of atoms to energies, in families that are chosen by name."""

from typing import TYPE_CHECKING

from ru_calc import lazy_names

if TYPE_CHECKING:
    from ru_calc.potentials.base import Potential
    from ru_calc.potentials.families import FAMILIES, build_potential
    from ru_calc.potentials.pairs import Pairs

__all__ = ["FAMILIES", "Pairs", "Potential", "build_potential"]

__getattr__ = lazy_names(
    __name__,
    {
        "FAMILIES": "ru_calc.potentials.families",
        "Pairs": "ru_calc.potentials.pairs",
        "Potential": "ru_calc.potentials.base",
        "build_potential": "ru_calc.potentials.families",
    },
)
