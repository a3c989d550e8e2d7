"""Names beside lines and points, placed so that they do not cover each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from ru_calc.reports.style import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

GAP = 0.065  # between names at the ends of lines, as a fraction of the panel's height
DISTANCES_PT = (7, 14, 24, 36, 50, 66)
ANGLES = (0, 180, 90, 270, 45, 135, 315, 225)


def name_lines(axes: Axes) -> None:
    """Writes each line's label at its right end, in its colour.  Call it when scales and limits are set."""
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = [(line, *to_axes.transform(np.asarray(line.get_xydata())[-1])) for line in axes.lines]
    ends.sort(key=lambda end: float(end[2]))
    heights = spread([(x, y) for _, x, y in ends])
    for (line, x, _), y in zip(ends, heights, strict=True):
        axes.annotate(
            str(line.get_label()), (x, y), xycoords="axes fraction", xytext=(7, 0), textcoords="offset points",
            va="center", color=line.get_color(), annotation_clip=False,
        )  # fmt: skip


def spread(ends: Sequence[tuple[float, float]]) -> list[float]:
    """Heights at least `GAP` apart for labels that start at the same x, each group centred on its lines' ends.

    Args:
        ends: (x, y) of each label, sorted by y.
    """
    heights = np.array([y for _, y in ends], dtype=float)
    columns = np.round([x for x, _ in ends], 1)
    for x in np.unique(columns):
        here, groups = np.flatnonzero(columns == x), []
        for y in heights[here]:
            groups.append([y])
            while len(groups) > 1 and _span(groups[-1])[0] - _span(groups[-2])[-1] < GAP:
                groups[-2:] = [groups[-2] + groups[-1]]
        heights[here] = np.concatenate([_span(group) for group in groups])
    return heights.tolist()


def _span(group: Sequence[float]) -> np.ndarray:
    return np.mean(group) + GAP * (np.arange(len(group)) - 0.5 * (len(group) - 1))


def name_points(axes: Axes, names: Sequence[str], points: np.ndarray, obstacles: np.ndarray) -> None:
    """Writes names beside points where they cover no other name and no point; a thin line leads to a distant one.

    Args:
        points: (n, 2) of the names.
        obstacles: (m, 2) points to be left uncovered.
    """
    from matplotlib.transforms import Bbox

    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    corners, taken = axes.get_window_extent().corners(), []
    for x, y in axes.transData.transform(obstacles):
        taken.append(Bbox([(x - 5, y - 5), (x + 5, y + 5)]))
    for name, point in zip(names, points, strict=True):
        for distance, angle in product(DISTANCES_PT, np.radians(ANGLES)):
            text = _annotated(axes, name, point, distance * np.array([np.cos(angle), np.sin(angle)]))
            box = text.get_window_extent()
            inside = (corners.min(axis=0) <= box.min).all() and (box.max <= corners.max(axis=0)).all()
            if inside and not box.count_overlaps(taken):
                taken.append(box)
                break
            text.remove()


def _annotated(axes: Axes, name: str, point: np.ndarray, offset_pt: np.ndarray) -> Annotation:
    x, y = np.where(np.abs(offset_pt) < 1, 0, np.sign(offset_pt)).astype(int)
    far = np.linalg.norm(offset_pt) > 14
    return axes.annotate(
        name, tuple(point), tuple(offset_pt), textcoords="offset points", fontsize=9, ha=("center", "left", "right")[x],
        va=("center", "bottom", "top")[y], arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.7} if far else None,
    )  # fmt: skip
