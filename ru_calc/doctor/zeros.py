"""Labels that are exactly zero where the metal's are not: a program or a reader has put them for what is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ru_calc.dataset import LABELS, Dataset
from ru_calc.doctor.compared import CLEAR, compared
from ru_calc.doctor.findings import Finding
from ru_calc.doctor.survey import Survey

SPREAD_EV = 0.02  # per atom: frames whose energies differ by more cannot all be the zero of energies


def check_zeros(dataset: Dataset, seen: Survey) -> tuple[list[Finding], Dataset]:
    """Findings, and the data set with these labels missing, so that nothing else is concluded from them."""
    found = []
    for label in LABELS:
        zero = _energies(dataset, seen) if label == "energy" else _components(label, dataset, seen)
        if not len(zero):
            continue
        are = "are" if label == "forces" else "is"
        text = f"the {label} {are} exactly 0, as programs write where there {are} none"
        mend = f"remove the {label} of these frames, or take another column by --{label}-key"
        found.append(Finding("error", "zero-labels", text, tuple(zero.tolist()), mend))
        values = getattr(dataset, label).copy()
        values[dataset.structures.atoms_of(zero) if label == "forces" else zero] = np.nan
        dataset = replace(dataset, **{label: values})
    return found, dataset


def _energies(dataset: Dataset, seen: Survey) -> np.ndarray:
    zero = np.flatnonzero((dataset.energy == 0.0) & np.isfinite(seen.energy))
    return zero if len(zero) and np.ptp((seen.energy / dataset.structures.counts)[zero]) > SPREAD_EV else zero[:0]


def _components(label: str, dataset: Dataset, seen: Survey) -> np.ndarray:
    """Frames in which the model's are large; by symmetry they may be 0."""
    one = compared(label, dataset, seen)
    return one.frames[(one.label_rms == 0.0) & (one.model_rms * one.per_atom > CLEAR[label])]
