"""What a data set holds, to be read before a fit."""

from __future__ import annotations

import numpy as np

from ru_calc.dataset import LABELS, Dataset
from ru_calc.structures.neighbors import find_pairs
from ru_calc.units import in_gpa

PROBE_A = 3.5


def summary(dataset: Dataset) -> str:
    """Frames, atoms, labels with their ranges and units, nearest distances and duplicates, one per line."""
    s = dataset.structures
    lines = [
        f"{len(dataset)} frames, {s.n_atoms} atoms ({s.counts.min()}–{s.counts.max()} per frame), "
        f"{len(np.unique(dataset.config_type))} config types, {len(np.unique(dataset.group_id))} groups",
        f"level of theory: {dataset.level_of_theory}; energies: {dataset.energy_reference}",
    ]
    ranges = _ranges(dataset)
    for label in LABELS:
        present = int(dataset.has(label).sum())
        missing = f", {len(dataset) - present} without" if present < len(dataset) else ""
        lines.append(f"{label}: {present} frames{missing}{ranges[label] if present else ''}")
    lines.append(f"nearest distance: {_nearest(dataset)}")
    lines.append(f"duplicates: {_duplicates(dataset)}")
    return "\n".join(lines)


def _duplicates(dataset: Dataset) -> str:
    copies = duplicates(dataset)
    if not copies:
        return "0"
    text = f"{len(copies)}, all kept (frame {copies[0][1]} repeats frame {copies[0][0]} …)"
    apart = sum(dataset.group_id[first] != dataset.group_id[second] for first, second in copies)
    if apart:
        text += (
            f"; {apart} belong to another group than the frame they repeat, so a split may put "
            "training frames into the test set: remove them, or give both the same group_id"
        )
    return text


def _ranges(dataset: Dataset) -> dict[str, str]:
    per_atom = dataset.energy / dataset.structures.counts
    force = np.linalg.norm(dataset.forces, axis=1)
    pressure = -in_gpa(dataset.stress[:, :3].mean(axis=1))

    def span(values: np.ndarray, unit: str, digits: int) -> str:
        values = values[np.isfinite(values)]
        return f", {values.min():.{digits}f} to {values.max():.{digits}f} {unit}" if len(values) else ""

    return {
        "energy": span(per_atom, "eV/atom", 3),
        "forces": span(force, "eV/Å", 2),
        "stress": span(np.asarray(pressure), "GPa pressure", 1),
    }


def nearest_distances(dataset: Dataset) -> np.ndarray:
    """(n_frames,) shortest distance in Å; infinite where no two atoms are within 3.5 Å."""
    pairs = find_pairs(dataset.structures, PROBE_A)
    nearest = np.full(len(dataset), np.inf)
    np.minimum.at(nearest, pairs.frames, np.linalg.norm(pairs.vectors(dataset.structures), axis=1))
    return nearest


def _nearest(dataset: Dataset) -> str:
    nearest = nearest_distances(dataset)
    close = nearest[np.isfinite(nearest)]
    if not len(close):
        return f"no two atoms within {PROBE_A} Å"
    return f"{close.min():.3f} Å, {np.median(close):.3f} Å in the median frame"


def duplicates(dataset: Dataset) -> list[tuple[int, int]]:
    """Pairs (earlier, later) of frames with the same atoms, cell and positions to 1e-5 Å."""
    seen: dict[bytes, int] = {}
    found, offsets = [], dataset.structures.offsets
    for k in range(len(dataset)):
        atoms = dataset.structures.positions[offsets[k] : offsets[k + 1]]
        key = np.round(np.concatenate([dataset.structures.cells[k], atoms]) * 1e5).astype(np.int64).tobytes()
        if key in seen:
            found.append((seen[key], k))
        seen.setdefault(key, k)
    return found
