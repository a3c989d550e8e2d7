"""Errors of predictions against labels: energy per atom, force components, stress components.

With e = predicted − label: MAE = mean |e|, MSE = mean e², RMSE = √MSE, maximum = max |e|, and the relative error is
RMSE / √(mean label²).  Missing labels (NaN) and labels without a finite prediction are counted but not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.units import EV_PER_A3_IN_GPA

QUANTITIES = ("energy", "forces", "stress")
ALL = "all"
# In eV per atom, eV/Å, eV/Å³: labels that vanish by symmetry are rounding noise, which must not divide anything.
NEGLIGIBLE = 1e-5
SOFT_FORCE_EV_PER_A = 0.1  # in the denominator of a frame's force error
STILL_EV_PER_A = 1e-3  # rms force of frames whose forces vanish by symmetry


@dataclass(frozen=True)
class Scale:
    """Printed units: `factor` converts eV, eV/Å, eV/Å³ to `unit`, `squared_factor` their squares to `squared`."""

    unit: str
    factor: float
    squared: str
    squared_factor: float


SCALES = {
    "energy": Scale("meV_per_atom", 1e3, "eV2_per_atom2", 1.0),
    "forces": Scale("meV_per_A", 1e3, "eV2_per_A2", 1.0),
    "stress": Scale("GPa", EV_PER_A3_IN_GPA, "GPa2", EV_PER_A3_IN_GPA**2),
}


@dataclass(frozen=True)
class Errors:
    """Errors of one quantity over some frames, in eV per atom, eV/Å or eV/Å³.

    Attributes:
        count: number of values compared, components of forces and stress one by one.
        missing: number of labels that are NaN.
        unpredicted: number of labels without a finite prediction.
        mae, mse, rmse, maximum: as defined above; NaN if nothing was compared.
        relative: rmse over the root mean square of the compared labels; NaN if that is below `NEGLIGIBLE`.
    """

    count: int
    missing: int
    unpredicted: int
    mae: float
    mse: float
    rmse: float
    maximum: float
    relative: float


def compare(label: np.ndarray, predicted: np.ndarray) -> Errors:
    """`Errors` of two arrays of equal shape, NaN where a value is missing.

    Raises:
        ValueError: the shapes differ.
    """
    label, predicted = np.asarray(label, float), np.asarray(predicted, float)
    if label.shape != predicted.shape:
        raise ValueError(f"labels have shape {label.shape}, predictions {predicted.shape}; they must be equal")
    labelled = ~np.isnan(label)
    both = labelled & np.isfinite(predicted)
    missing, unpredicted = int((~labelled).sum()), int((labelled & ~both).sum())
    if not both.any():
        return Errors(0, missing, unpredicted, *[float("nan")] * 5)
    known = label[both]
    error = predicted[both] - known
    mse, label_ms = float(np.mean(error**2)), float(np.mean(known**2))
    return Errors(
        count=len(error),
        missing=missing,
        unpredicted=unpredicted,
        mae=float(np.mean(np.abs(error))),
        mse=mse,
        rmse=mse**0.5,
        maximum=float(np.max(np.abs(error))),
        relative=(mse / label_ms) ** 0.5 if label_ms > NEGLIGIBLE**2 else float("nan"),
    )


@dataclass(frozen=True)
class Comparison:
    """Labels and predictions of the same frames.

    Args:
        dataset: the labels.
        energy: (f,) in eV per frame, None if not predicted, NaN where a value was not; likewise the others.
        forces: (n, 3) in eV/Å.
        stress: (f, 6) in eV/Å³.

    Raises:
        ValueError: predictions and labels have different shapes.
    """

    dataset: Dataset
    energy: np.ndarray | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in QUANTITIES:
            label, predicted = getattr(self.dataset, name), getattr(self, name)
            if predicted is not None and np.shape(predicted) != np.shape(label):
                raise ValueError(f"{name}: predictions {np.shape(predicted)}, labels {np.shape(label)}; must be equal")

    def values(self, quantity: str, frames: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Labels and predictions of a quantity, energies per atom, over frames with the given indices (all if None)."""
        label = np.asarray(getattr(self.dataset, quantity), float)
        predicted = getattr(self, quantity)
        predicted = np.full(label.shape, np.nan) if predicted is None else np.asarray(predicted, float)
        if quantity == "energy":
            label, predicted = label / self.dataset.structures.counts, predicted / self.dataset.structures.counts
        if frames is None:
            return label, predicted
        chosen = self.dataset.structures.atoms_of(frames) if quantity == "forces" else frames
        return label[chosen], predicted[chosen]

    def errors(self, frames: np.ndarray | None = None) -> dict[str, Errors]:
        """`Errors` of each quantity over the frames with the given indices (by default, all)."""
        return {quantity: compare(*self.values(quantity, frames)) for quantity in QUANTITIES}

    def row(self, frames: np.ndarray | None = None) -> dict[str, Any]:
        """A row of the table in printed units: frames, atoms, then `energy_MAE_meV_per_atom` and so on."""
        counts = self.dataset.structures.counts
        counts = counts if frames is None else counts[frames]
        row: dict[str, Any] = {"frames": len(counts), "atoms": int(counts.sum())}
        for quantity, errors in self.errors(frames).items():
            row |= _columns(quantity, errors)
        of_frames = self.frame_errors() if frames is None else self.frame_errors()[frames]
        known = of_frames[np.isfinite(of_frames)]
        return row | {"forces_frame_error": float(known.mean()) if len(known) else float("nan")}

    def frame_errors(self) -> np.ndarray:
        """(f,) force error of each frame, rms error / (rms force + 0.1 eV/Å); NaN where forces vanish by symmetry."""
        s, label = self.dataset.structures, np.asarray(self.dataset.forces, float)
        square = np.bincount(s.frame_of_atom, (label**2).sum(axis=1), minlength=len(s))
        rms = np.sqrt(square / np.maximum(3 * s.counts, 1))
        return np.where(rms > STILL_EV_PER_A, self.frame_rms("forces") / (rms + SOFT_FORCE_EV_PER_A), np.nan)

    def frame_rms(self, quantity: str) -> np.ndarray:
        """(f,) root mean square error within each frame; NaN where no value can be compared."""
        label, predicted = self.values(quantity)
        square = ((predicted - label) ** 2).reshape(len(label), -1)
        square = np.where(np.isfinite(square), square, np.nan)
        n_frames = len(self.dataset.structures)
        frame = self.dataset.structures.frame_of_atom if quantity == "forces" else np.arange(n_frames)
        total = np.bincount(frame, np.nansum(square, axis=1), minlength=n_frames)
        number = np.bincount(frame, np.isfinite(square).sum(axis=1), minlength=n_frames)
        return np.sqrt(np.divide(total, number, out=np.full(n_frames, np.nan), where=number > 0))


def _columns(quantity: str, errors: Errors) -> dict[str, Any]:
    scale = SCALES[quantity]
    columns: dict[str, Any] = {
        f"{quantity}_MAE_{scale.unit}": errors.mae * scale.factor,
        f"{quantity}_RMSE_{scale.unit}": errors.rmse * scale.factor,
        f"{quantity}_max_{scale.unit}": errors.maximum * scale.factor,
        f"{quantity}_MSE_{scale.squared}": errors.mse * scale.squared_factor,
        f"{quantity}_count": errors.count,
        f"{quantity}_missing": errors.missing,
        f"{quantity}_unpredicted": errors.unpredicted,
    }
    if quantity == "forces":
        still = errors.rmse < STILL_EV_PER_A * errors.relative
        columns["forces_relative"] = float("nan") if still else errors.relative
    return columns


def error_table(
    comparison: Comparison, splits: Mapping[str, np.ndarray] | None = None, by: Callable[[str], str] = str
) -> list[dict[str, Any]]:
    """Rows of `Comparison.row` for every split and, within it, for all frames and every config type.

    Args:
        splits: frame indices by name; by default one split `all` has every frame.  Empty splits are left out.
        by: what to put in place of a config type, such as its group.
    """
    if splits is None:
        splits = {ALL: np.arange(len(comparison.dataset.structures))}
    kinds = np.array([by(str(kind)) for kind in comparison.dataset.config_type])
    rows = []
    for split, frames in splits.items():
        frames = np.asarray(frames, dtype=np.int64)
        if not len(frames):
            continue
        rows.append({"split": split, "config_type": ALL, **comparison.row(frames)})
        for kind in sorted(set(kinds[frames])):
            rows.append({"split": split, "config_type": kind, **comparison.row(frames[kinds[frames] == kind])})
    return rows
