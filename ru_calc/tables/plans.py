"""Shapes that the operators agree on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ru_calc.tables.harmonics import triple_couplings, triple_terms


@dataclass(frozen=True)
class InvariantPlan:
    """Which invariants of the density A are formed, for mixings MA, O and B of its radial index.

    A_00; for each degree Σ_m A² and Σ_m A (MA), both over 2l + 1; for each coupling G of `triple_couplings`
    Σ G O_a B_b B_c.

    Attributes:
        radial, l_max, triple: radial functions, highest degree, channels of the third order (0 leaves it out).
    """

    radial: int
    l_max: int
    triple: int

    @property
    def couplings(self) -> int:
        """Number of couplings of three harmonics."""
        return len(triple_couplings(self.l_max)) if self.triple else 0

    @property
    def features(self) -> int:
        """Number of invariants."""
        return self.radial * (2 * self.l_max + 3) + self.triple * self.couplings

    @property
    def terms(self) -> np.ndarray:
        """Rows (coupling, a, b, c, G)."""
        return triple_terms(self.l_max) if self.triple else np.zeros((0, 5))
