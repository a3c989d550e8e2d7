"""Elements of atom types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_numbers

from ru_calc.errors import DataError
from ru_calc.units import RUTHENIUM


def numbers_of(types: np.ndarray, elements: Sequence[str]) -> np.ndarray:
    """Atomic numbers of integer types, which count from 0 or 1.

    Args:
        types: of any shape; atomic numbers where no elements are given.
        elements: symbol of each type, in order.

    Raises:
        DataError: there are more types than elements, or they are no atomic numbers of ruthenium.
    """
    types = np.asarray(types)
    if types.dtype.kind == "f" and not (types == np.round(types)).all():
        raise DataError("its types of atoms are not whole numbers")
    types = types.astype(np.int64)
    if not elements:
        if types.size and (types != RUTHENIUM).any() and types.max() < 10:
            raise DataError(
                f"it numbers the types of its atoms {', '.join(map(str, np.unique(types)))} and does not say which "
                "elements they are; give --elements Ru"
            )
        return types
    first = 0 if types.size and types.min() == 0 else 1
    if types.size and (types.min() < 0 or types.max() - first >= len(elements)):
        raise DataError(
            f"its types of atoms go up to {types.max()}, but --elements names {len(elements)} ({', '.join(elements)})"
        )
    return np.array([atomic_numbers[element] for element in elements])[types - first]
