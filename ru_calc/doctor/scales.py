"""Forces and stresses in another unit or of another sign, told against a model of ruthenium, frame by frame.

A model that is right within a factor of 1.6 tells units, which differ by factors of at least 1.9, in any frame whose
forces or stress are not small.  Labels of another method than the model's differ far less (EAM and universal models
were measured).  Where labels resemble the metal's in no unit, nothing is said about units.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.doctor.absurd import check_absurd
from ru_calc.doctor.compared import LIKE, SHOWN, Compared, compared
from ru_calc.doctor.findings import Finding
from ru_calc.doctor.survey import Survey
from ru_calc.doctor.units import MISTAKES, OWN, Mistake

WINDOW = 0.45  # of the logarithm of a factor
TIGHT = 0.15  # the same over all frames, for factors near 1
KNOWN = np.log(6.0)  # of the logarithm of a factor that no other method has
AGREED, PART = 0.85, 0.2


def check_scale(quantity: str, dataset: Dataset, seen: Survey) -> tuple[list[Finding], list[str]]:
    """Findings on unit and sign of forces or stress, and what cannot be decided."""
    all_of_it = compared(quantity, dataset, seen)
    if not len(all_of_it.frames):
        return [], []
    whole = all_of_it.among(all_of_it.clear)
    found = _findings(whole, all_of_it, dataset) if len(whole.frames) else []
    if found is None:
        found = _constant(whole) or check_absurd(all_of_it)
        return found, [] if found else [_undecided(all_of_it, True)]
    if not len(whole.frames):
        found = check_absurd(all_of_it)
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


def _undecided(some: Compared, unlike: bool) -> str:
    what, (scale, unit) = some.quantity, SHOWN[some.quantity]
    if unlike:
        return f"unit and sign of the {what}: the labels resemble those of ruthenium in no unit"
    return (
        f"unit and sign of the {what}: with {some.model_rms.max() * scale:.2g} {unit} at most they are too small in "
        f"{'this frame' if len(some.frames) == 1 else 'these frames'}"
    )
