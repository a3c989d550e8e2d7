"""What a label and a weight may be."""

from __future__ import annotations

import numpy as np

# In eV and Å; beyond it a sum of squares is more than single precision holds.
LARGEST = 1e12
WEIGHT_RULE, LABEL_RULE = f"a number from 0 to {LARGEST:g}", f"finite and at most {LARGEST:g}, or all NaN if missing"


def fine_weights(weight: np.ndarray) -> np.ndarray:
    """(f,) whether each weight keeps to `WEIGHT_RULE`."""
    return (weight >= 0) & (weight <= LARGEST)


def fine_labels(label: np.ndarray) -> np.ndarray:
    """(f,) whether the label of each frame, (f, …), keeps to `LABEL_RULE`."""
    rows = label.reshape(len(label), -1)
    return (np.abs(rows) <= LARGEST).all(axis=1) | np.isnan(rows).all(axis=1)
