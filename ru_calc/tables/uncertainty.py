"""The error that a model expects of its own forces, from how far an atom's features lie from those it was trained on.

With the features φ of an atom, and mean μ and covariance C of those of the training atoms,

    d² = |y|² / k,   y = Qᵀ C^(-1/2) (φ − μ),   u = factor · d^power

d is the Mahalanobis distance (P. C. Mahalanobis, Proc. Natl. Inst. Sci. India 2, 49, 1936), estimated from k random
orthonormal directions Q of the whitened features.  Factor and power are fitted to errors on frames that were held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ru_calc.errors import ModelError

PREFIX = "uncertainty."


@dataclass(frozen=True)
class Uncertainty:
    """u = factor · (|P φ − o|² / k)^(power / 2), the expected error of each force component in eV/Å.

    Attributes:
        projection: (k, features) P = Qᵀ C^(-1/2).
        offset: (k,) o = P μ.
        factor: u in eV/Å where d is 1.
        power: exponent of d.
    """

    PROJECTION: ClassVar[str] = f"{PREFIX}projection"
    OFFSET: ClassVar[str] = f"{PREFIX}offset"
    LAW: ClassVar[str] = f"{PREFIX}factor_and_power"

    projection: np.ndarray
    offset: np.ndarray
    factor: float
    power: float

    def of(self, squares: np.ndarray) -> np.ndarray:
        """(n,) u in eV/Å from |P φ − o|² (n,)."""
        return self.factor * (squares / len(self.offset)) ** (0.5 * self.power)

    def weights(self) -> dict[str, np.ndarray]:
        """As arrays of a model file, by name; the projection, the largest, in float32, in which it is made."""
        law = np.array([self.factor, self.power])
        return {self.PROJECTION: self.projection.astype(np.float32), self.OFFSET: self.offset, self.LAW: law}

    @classmethod
    def among(cls, weights: Mapping[str, np.ndarray]) -> Uncertainty | None:
        """That of a model file's arrays; None if it has none."""
        if cls.PROJECTION not in weights:
            return None
        factor, power = weights[cls.LAW]
        return cls(weights[cls.PROJECTION], weights[cls.OFFSET], float(factor), float(power))


def network_weights(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a model file that belong to its network."""
    return {name: array for name, array in weights.items() if not name.startswith(PREFIX)}


def no_uncertainty(family: str = "schnet") -> ModelError:
    """The error of a model without an uncertainty."""
    if family != "schnet":
        return ModelError(f"a model of family {family} has no uncertainty; only the family schnet has one")
    return ModelError(
        "this model has no uncertainty; `ru-calc fit` gives it to every new model, and "
        "ru_calc.fit.uncertainty.add_uncertainty(FILE, training_set, held_out_set) to an older one"
    )
