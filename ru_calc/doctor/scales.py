"""Forces and stresses in another unit or of another sign, told against a model of ruthenium, frame by frame.

A model that is right within a factor of 1.6 tells units, which differ by factors of at least 1.9, in any frame whose
forces or stress are not small.  Labels of another method than the model's differ far less (EAM and universal models
were measured).  Where labels resemble the metal's in no unit, nothing is said about units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.doctor.findings import Finding
from ru_calc.doctor.survey import Survey
from ru_calc.doctor.units import OWN, Mistake, force_mistakes, stress_mistakes
from ru_calc.units import EV_PER_A3_IN_GPA

LIKE = 0.8  # least cosine between label and prediction
WINDOW = 0.45  # of the logarithm of a factor
TIGHT = 0.15  # the same over all frames, for factors near 1
# Stresses are judged by the virial per atom: 0.17 eV is 2 GPa in the metal, and less where a cell is mostly empty.
CLEAR = {"forces": 0.2, "stress": 0.17}  # rms of the prediction from which a frame counts
BOUND = {"forces": (5.0, 5.0), "stress": (12.7, 3.0)}  # a label beyond a + b·prediction is absurd
KNOWN = np.log(6.0)  # of the logarithm of a factor that no other method has
SHOWN = {"forces": (1.0, "eV/Å"), "stress": (EV_PER_A3_IN_GPA, "GPa")}
AGREED, PART = 0.85, 0.2
MISTAKES = {"forces": force_mistakes(), "stress": stress_mistakes()}
USUAL = {
    "forces": ("kcal/mol/Angstrom", "kJ/mol/Angstrom", "meV/Angstrom"),
    "stress": ("GPa", "kbar", "bar", "Pa"),
}  # larger than eV and Å


@dataclass(frozen=True)
class Compared:
    """A label against its prediction in each of f frames.

    Attributes:
        frames: (f,) indices in the data set.
        label_rms, model_rms: (f,) root mean square of the components.
        cosine: (f,) of the angle between label and prediction.
        volumes: (f,) in Å³.
        per_atom: (f,) Å³ per atom for stresses, 1 for forces.
    """

    quantity: str
    frames: np.ndarray
    label_rms: np.ndarray
    model_rms: np.ndarray
    cosine: np.ndarray
    volumes: np.ndarray
    per_atom: np.ndarray

    @property
    def clear(self) -> np.ndarray:
        """(f,) whether a frame tells unit and sign."""
        return (self.model_rms * self.per_atom > CLEAR[self.quantity]) & (self.label_rms > 0)

    def off(self, mistake: Mistake) -> np.ndarray:
        """(f,) logarithm of label over prediction, were this the mistake; infinite where they are unlike."""
        ratio = self.label_rms / np.maximum(self.model_rms, 1e-12) / mistake.factors(self.volumes)
        alike = self.clear & (mistake.sign * self.cosine > LIKE)
        return np.where(alike, np.log(np.maximum(ratio, 1e-300)), np.inf)

    def among(self, chosen: np.ndarray) -> Compared:
        arrays = (self.frames, self.label_rms, self.model_rms, self.cosine, self.volumes, self.per_atom)
        return Compared(self.quantity, *(array[chosen] for array in arrays))


def compared(quantity: str, dataset: Dataset, seen: Survey) -> Compared:
    """Forces or stress of the frames that have them.

    Args:
        dataset: the frames of the survey, in its order.
    """
    label, model = getattr(dataset, quantity), getattr(seen, quantity)
    frame = dataset.structures.frame_of_atom if quantity == "forces" else np.arange(len(dataset))
    has = dataset.has(quantity) & np.isfinite(_sums(frame, model * model, len(dataset)))
    squares = [_sums(frame, product, len(dataset)) for product in (label * label, model * model, label * model)]
    number = np.bincount(frame, minlength=len(dataset)) * label.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = squares[2] / np.sqrt(squares[0] * squares[1])
    rms = np.sqrt(squares[0] / number), np.sqrt(squares[1] / number)
    volumes = dataset.structures.volumes
    per_atom = volumes / dataset.structures.counts if quantity == "stress" else np.ones(len(dataset))
    one = Compared(quantity, np.arange(len(dataset)), *rms, np.nan_to_num(cosine), volumes, per_atom)
    return one.among(np.flatnonzero(has))


def _sums(frame: np.ndarray, values: np.ndarray, frames: int) -> np.ndarray:
    return np.bincount(frame, values.sum(axis=1), minlength=frames)


def check_scale(quantity: str, dataset: Dataset, seen: Survey) -> tuple[list[Finding], list[str]]:
    """Findings on unit and sign of forces or stress, and what cannot be decided."""
    all_of_it = compared(quantity, dataset, seen)
    if not len(all_of_it.frames):
        return [], []
    whole = all_of_it.among(all_of_it.clear)
    found = _findings(whole, all_of_it, dataset) if len(whole.frames) else []
    if found is None:
        found = _constant(whole) or _absurd(all_of_it)
        return found, [] if found else [_undecided(all_of_it, True)]
    if not len(whole.frames):
        found = _absurd(all_of_it)
        return found, [] if found else [_undecided(all_of_it, False)]
    return found, []


def _findings(whole: Compared, all_of_it: Compared, dataset: Dataset) -> list[Finding] | None:
    """Of frames that tell; None where they tell nothing."""
    best, fits = _best(whole)
    if best and fits.mean() >= AGREED:
        named = all_of_it.frames if fits.all() and not len(dataset) - len(all_of_it.frames) else whole.frames[fits]
        rest = whole.among(~fits)
        first = [] if not best[0].mend else [_finding(best, whole.among(fits), named)]
        return first + (_second(rest, best[0]) if first or len(rest.frames) > 1 else [])
    right = np.abs(whole.off(MISTAKES[whole.quantity][0])) < WINDOW
    rest = whole.among(~right)
    if right.mean() < PART or len(rest.frames) < 2:
        return None
    return _second(rest, MISTAKES[whole.quantity][0]) or None


def _second(rest: Compared, first: Mistake) -> list[Finding]:
    """A second source of frames, whose labels are wrong in another way."""
    best, fits = _best(rest) if len(rest.frames) else ([], np.zeros(0))
    if not best or best[0] is first or not best[0].mend or fits.mean() < AGREED or fits.sum() < 2:
        return []
    return [_finding(best, rest.among(fits), rest.frames[fits])]


def _best(some: Compared) -> tuple[list[Mistake], np.ndarray]:
    """The mistakes, right included, that explain most frames best, and the frames that the first explains."""
    scores = []
    for mistake in MISTAKES[some.quantity]:
        off = np.abs(some.off(mistake))
        fits = off < WINDOW
        middle = abs(float(np.median(some.off(mistake)[fits]))) if fits.any() else np.inf
        near_one = mistake.mend and abs(np.log(mistake.factor)) < 2 * WINDOW and mistake.volume_power == 0
        if near_one and mistake.sign > 0 and (middle > TIGHT or fits.sum() < 3):
            continue
        spread = float(np.median(off[fits])) if fits.any() else np.inf
        scores.append((fits.sum(), spread, mistake, fits))
    most = max(score[0] for score in scores)
    near = sorted((score for score in scores if score[0] >= 0.9 * most and most), key=lambda score: score[1])
    if not near:
        return [], np.zeros(len(some.frames), dtype=bool)
    best = [mistake for _, spread, mistake, _ in near if spread < near[0][1] + 0.12]
    if not best[0].mend or any(not mistake.mend for mistake in best):
        best = [mistake for mistake in best if not mistake.mend]
    return best, near[[score[2] for score in near].index(best[0])][3]


def _finding(best: Sequence[Mistake], some: Compared, frames: np.ndarray) -> Finding:
    ratio = float(np.median(some.label_rms / some.model_rms)) * best[0].sign
    words = " or ".join(mistake.words for mistake in best)
    text = (
        f"{_are(some.quantity)} {ratio:.3g} times what the metal has in these frames, taken as {OWN[some.quantity]} "
        f"(cosine {float(np.median(some.cosine)):.2f}): the numbers are {words}"
    )
    mend = "convert with " + " or ".join(dict.fromkeys(mistake.mend for mistake in best))
    return Finding("error", f"{some.quantity}-scale", text, tuple(frames.tolist()), mend, ratio)


def _constant(whole: Compared) -> list[Finding]:
    """Labels that are the metal's times a factor of no known unit."""
    ratio = np.log(whole.label_rms / whole.model_rms)
    middle = float(np.median(ratio))
    if (np.abs(whole.cosine) > LIKE).mean() < AGREED or abs(middle) < KNOWN or len(ratio) < 3:
        return []
    if np.median(np.abs(ratio - middle)) > TIGHT:
        return []
    factor = float(np.exp(middle) * np.sign(np.median(whole.cosine)))
    text = f"{_are(whole.quantity)} {factor:.3g} times what the metal has in these frames, which is no unit known here"
    mend = "look up the unit of the program that wrote them, and convert them to " + OWN[whole.quantity]
    return [Finding("error", f"{whole.quantity}-scale", text, tuple(whole.frames.tolist()), mend, factor)]


def _are(quantity: str) -> str:
    return "the forces are" if quantity == "forces" else "the stress is"


def _absurd(some: Compared) -> list[Finding]:
    """Labels that no metal can have, where direction and sign tell nothing."""
    floor, slope = BOUND[some.quantity]
    absurd = some.label_rms * some.per_atom > floor + slope * some.model_rms * some.per_atom
    if absurd.mean() < 0.5 or not absurd.any():
        return []
    bad = some.among(absurd)
    scale, unit = SHOWN[some.quantity]
    worst = int(np.argmax(bad.label_rms))
    likely = _plausible(bad)
    text = (
        f"{some.quantity} of {bad.label_rms[worst] * scale:.0f} {unit} (rms of the components), where the metal has "
        f"about {bad.model_rms[worst] * scale:.1f} {unit}"
    )
    text += f": most likely {likely[0].words}" if likely else ""
    mend = f"convert with {likely[0].mend}" if likely else "look up the unit of the program that wrote them"
    return [
        Finding(
            "error",
            f"{some.quantity}-absurd",
            text,
            tuple(bad.frames.tolist()),
            mend,
            float(bad.label_rms[worst] * scale),
        )
    ]


def _plausible(bad: Compared) -> list[Mistake]:
    """Units in which the labels are what a metal may have, the usual ones first."""
    floor, slope = BOUND[bad.quantity]
    found = []
    for unit in USUAL[bad.quantity]:
        mistake = next(one for one in MISTAKES[bad.quantity] if one.words == f"in {unit}")
        allowed = 0.3 * floor + slope * bad.model_rms * bad.per_atom
        if (bad.label_rms / mistake.factor * bad.per_atom < allowed).all():
            found.append(mistake)
    return found


def _undecided(some: Compared, unlike: bool) -> str:
    what, (scale, unit) = some.quantity, SHOWN[some.quantity]
    if unlike:
        return f"unit and sign of the {what}: the labels resemble those of ruthenium in no unit"
    return (
        f"unit and sign of the {what}: with {some.model_rms.max() * scale:.2g} {unit} at most they are too small in "
        f"{'this frame' if len(some.frames) == 1 else 'these frames'}"
    )
