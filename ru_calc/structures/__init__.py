"""Atoms as arrays, their neighbours, and structures by name."""

from ru_calc.structures.frames import (
    FLATTEST_A3,
    Structures,
    as_structures,
    check_atoms,
    check_structures,
    has_volume,
    widest_gaps_A,
)

__all__ = [
    "FLATTEST_A3", "Structures", "as_structures", "check_atoms", "check_structures", "has_volume", "widest_gaps_A",
]  # fmt: skip
