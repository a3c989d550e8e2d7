"""Energies against forces and stresses of the same file: ΔE = −F·Δx + σV:ε between frames that follow each other."""

from __future__ import annotations

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.doctor.findings import Finding
from ru_calc.units import from_voigt

STEP_A, STRAIN = 0.35, 0.05
LEAST_EV = 0.01
PAIRS = 5
OFF = 0.5  # of the logarithm of the ratio


def steps(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbouring frames of a trajectory or a series, by the same atoms slightly moved.

    Returns:
        Index of the earlier frame; the change of energy in eV; the work −F·Δx + σV:ε in eV, with means of both frames.
    """
    found = [(k, *step) for k in range(len(dataset) - 1) if (step := _step(dataset, k, k + 1)) is not None]
    table = np.array(found).reshape(-1, 3)
    return table[:, 0].astype(int), table[:, 1], table[:, 2]


def _step(dataset: Dataset, first: int, second: int) -> tuple[float, float] | None:
    s = dataset.structures
    if s.counts[first] != s.counts[second] or dataset.config_type[first] != dataset.config_type[second]:
        return None
    if not s.pbc[[first, second]].all() or np.isnan(s.volumes[[first, second]]).any():
        return None
    one, two = (slice(s.offsets[k], s.offsets[k + 1]) for k in (first, second))
    cells = s.cells[first], s.cells[second]
    moved = s.positions[two] @ np.linalg.inv(cells[1]) - s.positions[one] @ np.linalg.inv(cells[0])
    moved = (moved - np.rint(moved)) @ (0.5 * (cells[0] + cells[1]))
    gradient = np.linalg.solve(cells[0], cells[1]) - np.eye(3)
    if np.abs(moved).max() > STEP_A or np.abs(gradient).max() > STRAIN or np.abs(gradient - gradient.T).max() > 1e-3:
        return None
    work = -0.5 * np.sum((dataset.forces[one] + dataset.forces[two]) * moved)
    if np.abs(gradient).max() > 1e-9:
        tension = from_voigt(
            0.5 * (dataset.stress[first] * s.volumes[first] + dataset.stress[second] * s.volumes[second])
        )
        work += np.sum(tension * gradient)
    change = dataset.energy[second] - dataset.energy[first]
    return (float(change), float(work)) if np.isfinite(change + work) else None


def check_work(dataset: Dataset) -> list[Finding]:
    """Whether energies, forces and stresses belong together, where frames follow each other closely."""
    first, change, work = steps(dataset)
    large = np.abs(work) + np.abs(change) > LEAST_EV
    first, change, work = first[large], change[large], work[large]
    if len(first) < PAIRS:
        return []
    cosine = np.sum(change * work) / np.sqrt(np.sum(change**2) * np.sum(work**2))
    ratio = np.sqrt(np.sum(change**2) / np.sum(work**2))
    if cosine > 0.5 and abs(np.log(ratio)) < OFF:
        return []
    text = (
        f"energies do not follow forces and stresses: from frame to frame they change by {ratio:.3g} times "
        f"−F·Δx + σV:ε (cosine {cosine:.2f}, {len(first)} steps)"
    )
    mend = "look for labels of another calculation, or in another order than the frames"
    return [Finding("warning", "energy-against-forces", text, tuple(first.tolist()), mend, float(ratio))]
