"""The examination of a data set: a quick part, which `convert` and all that fit run, and the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.doctor.broken import check_density, check_distances, check_finite, check_missing, check_sum
from ru_calc.doctor.copies import alike, check_copies, check_split
from ru_calc.doctor.energies import check_energies
from ru_calc.doctor.findings import Finding, Report, in_order, named
from ru_calc.doctor.lengths import check_lengths, scaled
from ru_calc.doctor.outliers import check_outliers
from ru_calc.doctor.scales import check_scale
from ru_calc.doctor.survey import Survey, sample, survey
from ru_calc.doctor.work import check_work
from ru_calc.doctor.zeros import check_zeros

QUICK_FRAMES, QUICK_ATOMS = 40, 500
QUICK_LENGTHS, LENGTHS = (12, 200), (300, 5000)  # frames and atoms whose distances are looked at


def examine(dataset: Dataset, quick: bool = False, split: Mapping[str, np.ndarray] | None = None) -> Report:
    """What is wrong with a data set.

    Args:
        quick: look at some 48 frames only, and for what spoils a fit: units, signs, broken labels.
        split: name of a part → indices of its frames, to look for frames that parts share.
    """
    findings = check_finite(dataset) + ([] if quick else check_missing(dataset))
    frames = sample(dataset, QUICK_FRAMES, QUICK_ATOMS) if quick else np.arange(len(dataset))
    few = frames[sample(dataset.select(frames), *(QUICK_LENGTHS if quick else LENGTHS))]
    found, factor, known = check_lengths(dataset, few)
    findings += found
    whole = replace(dataset, structures=scaled(dataset.structures, factor))
    part = whole.select(frames)
    mixed = bool(found) and factor == 1.0
    strange = np.isin(frames, found[0].frames) if mixed else np.zeros(len(frames), dtype=bool)
    frames, part = frames[~strange], part.select(np.flatnonzero(~strange))
    too_dense, sound = check_density(part)
    findings += [] if mixed else _of(too_dense, frames)
    undecided = [] if known else ["unit of lengths: no frame has atoms enough for distances to tell"]
    if len(sound):
        more, doubts = _against_model(part.select(sound), quick or mixed or not known, split)
        findings += _of(more, frames[sound])
        undecided += doubts
    return Report(dataset, in_order(findings), tuple(undecided), len(strange))


def _against_model(
    part: Dataset, quick: bool, split: Mapping[str, np.ndarray] | None
) -> tuple[list[Finding], list[str]]:
    seen = survey(part.structures)
    zeros, part = check_zeros(part, seen)
    findings, undecided = check_distances(part, seen) + zeros, []
    for more, doubts in (
        check_energies(part, seen), check_scale("forces", part, seen), check_scale("stress", part, seen)
    ):  # fmt: skip
        findings += more
        undecided += doubts
    if quick:
        return findings, undecided
    if not any(found.severity == "error" for found in findings):
        findings += check_outliers(part, seen) + check_work(part) + check_sum(part)
    pairs = alike(part, seen)
    findings += check_copies(part, pairs)
    if split is not None:
        findings += check_split(pairs, split, part.group_id)
    return findings, undecided


def examine_together(datasets: Mapping[str, Dataset]) -> list[str]:
    """Frames that data sets of one level of theory share, one sentence for each two sets; and levels that differ."""
    found = []
    seen = {name: survey(dataset.structures) for name, dataset in datasets.items()}
    names = list(datasets)
    for k, one in enumerate(names):
        for two in names[k + 1 :]:
            if datasets[one].level_of_theory == datasets[two].level_of_theory:
                found += _shared(one, two, datasets, seen)
            else:
                levels = " and ".join(repr(datasets[name].level_of_theory) for name in (one, two))
                found.append(f"{one} and {two} are of different levels of theory, {levels}: fit them as two levels")
    return found


def _shared(one: str, two: str, datasets: Mapping[str, Dataset], seen: Mapping[str, Survey]) -> list[str]:
    pairs = alike(Dataset.joined([datasets[one], datasets[two]]), Survey.joined([seen[one], seen[two]]))
    first = len(datasets[one])
    across = pairs[(pairs[:, 0] < first) & (pairs[:, 1] >= first)]
    if not len(across):
        return []
    frames = np.unique(across[:, 1] - first)
    return [
        f"{len(frames)} frames of {two} are also in {one} ({named(datasets[two], frames.tolist())}): a leak, if these "
        "are parts of a split; remove them from one file"
    ]


def _of(findings: list[Finding], frames: np.ndarray) -> list[Finding]:
    """The same findings, with the frames counted as in the whole data set."""
    return [replace(found, frames=tuple(frames[list(found.frames)].tolist())) for found in findings]
