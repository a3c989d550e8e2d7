"""Energies in another unit, of another sign, per atom instead of in total, or of two zeros, told against a model.

The zero of energy is free, so that energies are told by their differences alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.doctor.findings import Finding
from ru_calc.doctor.survey import Survey
from ru_calc.doctor.units import ENERGIES

CONDENSED = 7.0  # mean neighbours within 3.6 Å
FITS, FAILS = 0.45, 0.7  # rms of what is left, over the rms of the model's differences
BETTER = 2.5  # times less is left by another reading, where the right one leaves more than FITS
ERROR_EV = (0.15, 0.6)  # of the model per atom: in the metal, and where there are clusters
FEW, SURE = 5, 0.15
ZEROS_EV = 0.3  # per atom; half the width of a group of energies with one zero


@dataclass(frozen=True)
class Reading:
    """A way in which energies may have been written.

    Attributes:
        unit: name of the unit, "eV" for the right one.
        size_eV: the unit.
        power: of the number of atoms by which the label has to be multiplied to be a total energy.
        sign: of the label.
    """

    unit: str
    size_eV: float
    power: int = 0
    sign: int = 1

    @property
    def right(self) -> bool:
        return self.unit == "eV" and self.power == 0 and self.sign == 1

    @property
    def words(self) -> str:
        words = [f"in {self.unit}"] if self.unit != "eV" else []
        words += ["energies per atom"] if self.power == 1 else []
        words += ["total energies times the number of atoms"] if self.power == -1 else []
        return " and ".join(words + ["of the opposite sign"] * (self.sign < 0))

    @property
    def mend(self) -> str:
        options = [f"--energy-unit {self.unit}"] if self.unit != "eV" else []
        options += ["--energy-per-atom"] if self.power == 1 else []
        if self.power == -1 or self.sign < 0:
            return "write total energies of the frames, lower for what is more stable, and convert again"
        return "convert with " + " ".join(options)

    def per_atom_eV(self, energy: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """(f,) energies per atom in eV of labels so written."""
        return self.sign * energy * self.size_eV * counts ** (self.power - 1.0)


READINGS = (
    Reading("eV", 1.0), Reading("eV", 1.0, 1), Reading("eV", 1.0, -1), Reading("eV", 1.0, 0, -1),
    *(Reading(unit, size) for unit, size in ENERGIES.items()),
    *(Reading(unit, size, 1) for unit, size in ENERGIES.items()),
)  # fmt: skip


@dataclass(frozen=True)
class Energies:
    """Labels and predictions of f frames.

    Attributes:
        frames: (f,) indices in the data set.
        label: (f,) as they stand in the file, taken as eV.
        counts: (f,) atoms.
        model: (f,) predicted energy in eV per atom.
        condensed: (f,) whether a frame is metal, not molecules.
    """

    frames: np.ndarray
    label: np.ndarray
    counts: np.ndarray
    model: np.ndarray
    condensed: np.ndarray

    def among(self, chosen: np.ndarray) -> Energies:
        return Energies(*(getattr(self, field.name)[chosen] for field in fields(self)))


def check_energies(dataset: Dataset, seen: Survey) -> tuple[list[Finding], list[str]]:
    """Findings on unit, sign, count and zero of the energies, and what cannot be decided.

    Args:
        dataset: the frames of the survey, in its order.
    """
    frames = np.flatnonzero(dataset.has("energy") & np.isfinite(seen.energy))
    if not len(frames):
        return [], []
    counts = dataset.structures.counts[frames]
    condensed = seen.coordination[frames] > CONDENSED
    some = Energies(frames, dataset.energy[frames], counts, seen.energy[frames] / counts, condensed)
    energy, model = some.label, some.model
    left = {reading: _left(reading.per_atom_eV(energy, counts), model) for reading in READINGS}
    right = left[READINGS[0]]
    if not _tells(model, bool(condensed.all())):
        return [], [_undecided(len(frames))]
    if right < FITS or (right < FAILS and right < BETTER * min(left.values())):
        return _sources(some), []
    fitting = sorted((reading for reading in READINGS if left[reading] < FITS), key=lambda one: left[one])
    fitting = [one for one in fitting if left[one] < max(2 * left[fitting[0]], SURE) and _differs(one, fitting[0])]
    if fitting:
        return [_finding(fitting, frames, energy / counts, model)], []
    zeros = _sources(some)
    return zeros, [] if zeros else ["unit of the energies: they resemble those of ruthenium in no unit"]


def _left(values: np.ndarray, model: np.ndarray) -> float:
    """Rms of what the model leaves of the differences, over the rms of its own differences."""
    rest = values - model
    spread = np.std(model)
    return float(np.std(rest) / spread) if spread > 1e-6 else np.inf


def _tells(model: np.ndarray, metal: bool) -> bool:
    """Whether the frames differ by more than the model errs; in a series of frames its error cancels."""
    spread = float(np.std(model))
    return spread > ERROR_EV[not metal] or (len(model) >= FEW and spread > 0.002)


def _differs(one: Reading, best: Reading) -> bool:
    return one is best or (one.unit, one.power) != (best.unit, best.power)


def _finding(fitting: list[Reading], frames: np.ndarray, labels: np.ndarray, model: np.ndarray) -> Finding:
    ratio = float(np.std(labels) / np.std(model))
    text = (
        f"the energies per atom differ between frames {ratio:.3g} times as much as the metal's: they are "
        f"{' or '.join(one.words for one in fitting)}"
    )
    mend = " or ".join(dict.fromkeys(one.mend for one in fitting)).replace("or convert with", "or")
    return Finding("error", "energy-scale", text, tuple(frames.tolist()), mend, ratio)


def usual_zero(rest: np.ndarray, but: np.ndarray | None = None) -> float:
    """The value around which most differences between label and model lie, within 0.3 eV per atom.

    Args:
        but: (f,) differences that do not count.
    """
    open_ones = np.sort(rest if but is None else rest[~but])
    counts = np.searchsorted(open_ones, open_ones + 2 * ZEROS_EV) - np.arange(len(open_ones))
    start = int(np.argmax(counts))
    return float(np.median(open_ones[start : start + counts[start]]))


def _sources(some: Energies) -> list[Finding]:
    """Crystals, liquids and slabs of a second zero or unit, whose energies the model has within 0.3 eV per atom."""
    metal = some.among(some.condensed)
    if len(metal.frames) < 4:
        return []
    rest = metal.label / metal.counts - metal.model
    first = usual_zero(rest)
    own = np.abs(rest - first) < 2 * ZEROS_EV
    if (~own).sum() < 2:
        return []
    second = np.abs(rest - usual_zero(rest, own)) < 2 * ZEROS_EV
    for right, others in ((own, ~own), (second, ~second)):
        reading = _explains(metal.among(others), float(np.median(rest[right])))
        if reading:
            text = f"some energies are {reading.words}, unlike those of the other frames"
            frames = tuple(np.sort(metal.frames[others]).tolist())
            mend = f"put these frames into a file of their own, and {reading.mend}"
            return [Finding("error", "energy-scale", text, frames, mend)]
    return _zeros(metal.frames, rest)


def _explains(some: Energies, zero: float) -> Reading | None:
    """The reading that brings the energies to a zero."""
    off = {one: _median_off(one, some, zero) for one in READINGS[1:]}
    best = min(off, key=lambda one: off[one])
    return best if off[best] < ZEROS_EV else None


def _median_off(reading: Reading, some: Energies, zero: float) -> float:
    values = reading.per_atom_eV(some.label, some.counts)
    return float(np.quantile(np.abs(values - some.model - zero), 0.8))


def _zeros(frames: np.ndarray, rest: np.ndarray) -> list[Finding]:
    """Two zeros of energy, as two groups of differences with a wide gap between them."""
    order = np.argsort(rest)
    gaps = np.diff(rest[order])
    widest = int(np.argmax(gaps))
    low, high = order[: widest + 1], order[widest + 1 :]
    fewer = min(low, high, key=len)
    inside = max(np.ptp(rest[low]), np.ptp(rest[high]))
    if gaps[widest] < max(2 * ZEROS_EV, 2 * inside) or len(fewer) < 2:
        return []
    step = float(np.median(rest[high]) - np.median(rest[low]))
    side = "above" if fewer is high else "below"
    text = f"two zeros of energy: these frames lie {abs(step):.2f} eV per atom {side} the others"
    mend = "convert frames of different programs, settings or units each to a file of their own"
    return [Finding("error", "energy-zeros", text, tuple(np.sort(frames[fewer]).tolist()), mend, step)]


def _undecided(frames: int) -> str:
    if frames < 2:
        return "unit of the energies: one frame has no difference of energies to be judged by"
    return "unit of the energies: the frames differ too little in energy"
