"""Frames that are no data: atoms on top of each other, lone atoms, broken or missing labels, forces with a sum."""

from __future__ import annotations

import numpy as np

from ru_calc.dataset import LABELS, Dataset
from ru_calc.doctor.findings import Finding
from ru_calc.doctor.lengths import DENSEST, density, looks_bonded
from ru_calc.doctor.survey import Survey
from ru_calc.structures import Structures

CLOSE_A, ALONE_A = 1.0, 5.0
DRIFT = (0.02, 0.1)  # eV/Å per atom, and the share of the rms force, that a sum of forces may have
FIXED = "look for fixed atoms: convert takes raw forces where a file has them (apply_constraint=False in ASE)"


def check_density(dataset: Dataset) -> tuple[list[Finding], np.ndarray]:
    """Frames with more atoms in their space than any metal has; and the indices of the others."""
    dense = density(dataset.structures) > DENSEST
    frames = np.flatnonzero(dense)
    if not len(frames):
        return [], np.arange(len(dataset))
    words, mend = _cause(dataset.structures.select(frames), "convert with --length-unit, or remove the frames")
    highest = float(density(dataset.structures)[dense].max())
    text = f"{highest:.3g} atoms per Å³, where ruthenium has 0.07{words}"
    return [Finding("error", "density", text, tuple(frames.tolist()), mend, highest)], np.flatnonzero(~dense)


def _cause(structures: Structures, otherwise: str) -> tuple[str, str]:
    """Words for why atoms are too close, and what mends it."""
    if _fractional(structures):
        return ": the positions look like fractional coordinates", "write Cartesian positions in Å"
    return "", otherwise


def _fractional(structures: Structures) -> bool:
    inside = (structures.positions > -0.51).all() and (structures.positions < 1.01).all()
    if not inside or np.isnan(structures.volumes).any():
        return False
    cells = structures.cells[structures.frame_of_atom]
    moved = Structures(
        np.einsum("ia,iab->ib", structures.positions, cells), structures.cells, structures.pbc, structures.counts
    )
    return bool(looks_bonded(moved).mean() > 0.5)


def check_distances(dataset: Dataset, seen: Survey) -> list[Finding]:
    """Atoms that are too close, or alone among others."""
    found = []
    close = np.flatnonzero(seen.nearest_A < CLOSE_A)
    if len(close):
        least = float(seen.nearest_A[close].min())
        words, mend = _cause(dataset.structures.select(close), "remove the frames")
        text = f"atoms {least:.2f} Å apart, where even collisions keep above {CLOSE_A:g} Å{words}"
        found.append(Finding("error", "too-close", text, tuple(close.tolist()), mend, least))
    alone = np.flatnonzero((seen.farthest_A > ALONE_A) & (dataset.structures.counts > 3))
    if len(alone):
        text = f"an atom has no neighbour within {ALONE_A:g} Å"
        mend = "remove the frames if atoms have flown away"
        found.append(Finding("warning", "lone-atom", text, tuple(alone.tolist()), mend))
    return found


def check_finite(dataset: Dataset) -> list[Finding]:
    """Labels with infinite values, or with some components only."""
    found = []
    frame = dataset.structures.frame_of_atom
    values = {
        "energy": (np.arange(len(dataset)), dataset.energy[:, None]), "forces": (frame, dataset.forces),
        "stress": (np.arange(len(dataset)), dataset.stress),
    }  # fmt: skip
    for label, (owner, value) in values.items():
        infinite = np.bincount(owner, np.isinf(value).any(axis=1), minlength=len(dataset)) > 0
        missing = np.bincount(owner, np.isnan(value).sum(axis=1), minlength=len(dataset))
        sizes = np.bincount(owner, minlength=len(dataset)) * value.shape[1]
        partly = infinite | ((missing > 0) & (missing < sizes))
        if partly.any():
            text = f"the {label} {'has' if label != 'forces' else 'have'} components that are not finite"
            frames = tuple(np.flatnonzero(partly).tolist())
            found.append(Finding("error", "not-finite", text, frames, "remove the frames or the labels"))
    return found


def check_missing(dataset: Dataset) -> list[Finding]:
    """Frames without a label that others have."""
    has = {label: dataset.has(label) for label in LABELS}
    bare = np.flatnonzero(~np.any([*has.values()], axis=0))
    found = []
    if len(bare):
        text = "no label at all: a fit learns nothing from them"
        found.append(Finding("warning", "unlabelled", text, tuple(bare.tolist()), "label them, or leave them out"))
    meant = {"stress": dataset.structures.pbc.all(axis=1)}
    for label in LABELS:
        lacking = ~has[label] & np.any([*has.values()], axis=0) & meant.get(label, True)
        if has[label].any() and lacking.any():
            mend = "compute it, or see whether the file has it under another name (--" + f"{label}-key)"
            text = f"no {label}, which other frames have"
            found.append(Finding("warning", "missing-label", text, tuple(np.flatnonzero(lacking).tolist()), mend))
    return found


def check_sum(dataset: Dataset) -> list[Finding]:
    """Forces whose sum over the frame is not zero."""
    has = np.flatnonzero(dataset.has("forces") & (dataset.structures.counts > 1))
    part = dataset.select(has) if len(has) else None
    if part is None:
        return []
    frame, counts = part.structures.frame_of_atom, part.structures.counts
    total = np.stack([np.bincount(frame, part.forces[:, axis]) for axis in range(3)], axis=1)
    size = np.linalg.norm(total, axis=1) / counts
    rms = np.sqrt(np.bincount(frame, np.sum(part.forces**2, axis=1)) / counts)
    bad = np.flatnonzero((size > DRIFT[0]) & (size > DRIFT[1] * rms))
    if not len(bad):
        return []
    fixed = np.bincount(frame, ~part.forces.any(axis=1))[bad].any()
    worst = float(size[bad].max())
    text = f"forces do not sum to zero: {worst:.3g} eV/Å per atom" + ("; some atoms have exactly 0" if fixed else "")
    mend = FIXED if fixed else "look for atoms that were lost, an external field, or forces of another frame"
    return [Finding("warning", "force-sum", text, tuple(has[bad].tolist()), mend, worst)]
