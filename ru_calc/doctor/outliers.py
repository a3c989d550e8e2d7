"""Single frames whose labels are unlike those of the others."""

from __future__ import annotations

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.doctor.energies import usual_zero
from ru_calc.doctor.findings import Finding
from ru_calc.doctor.survey import Survey

ENERGY_EV = 1.0  # per atom, off the median of the condensed frames, beyond the model's own errors
SHARE, FLOOR_EV_PER_A = 1.5, 1.5
MEND = "look whether the calculation converged, and remove them if not"


def check_outliers(dataset: Dataset, seen: Survey) -> list[Finding]:
    """Frames whose energies or forces are off by far more than a model of ruthenium ever is."""
    found = []
    rest = (dataset.energy - seen.energy) / dataset.structures.counts
    known = np.isfinite(rest)
    off = np.abs(rest - usual_zero(rest[known])) if known.any() else np.zeros(len(rest))
    # Molecules, and atoms pressed into each other, are where models err most.
    allowed = ENERGY_EV + 0.5 * (seen.coordination < 7) + 0.3 * np.abs(seen.energy / dataset.structures.counts + 9)
    far = np.flatnonzero(np.isfinite(rest) & (off > allowed))
    if len(far):
        text = f"energies up to {off[far].max():.2f} eV per atom off what the others lead to expect"
        found.append(Finding("warning", "energy-outlier", text, tuple(far.tolist()), MEND, float(off[far].max())))
    frame, counts = dataset.structures.frame_of_atom, dataset.structures.counts
    error, size = (
        np.sqrt(np.bincount(frame, np.sum(values**2, axis=1)) / counts)
        for values in (dataset.forces - seen.forces, seen.forces)
    )
    wild = np.flatnonzero(np.isfinite(error) & (error > FLOOR_EV_PER_A + SHARE * size))
    if len(wild):
        text = f"forces up to {error[wild].max():.1f} eV/Å (rms) off those of the metal"
        found.append(Finding("warning", "force-outlier", text, tuple(wild.tolist()), MEND, float(error[wild].max())))
    return found
