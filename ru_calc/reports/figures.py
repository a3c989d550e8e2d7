"""The figures: parity with residuals, learning curves, lines, named points and dots per name.

A path ends in .png, .pdf or .svg; another suffix, or a file that cannot be written, raises `OutputError`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ru_calc.reports.labels import name_lines, name_points
from ru_calc.reports.style import BLACK, BLUE, COLORS, GREY, VERMILLION, drawn, plain_numbers, say_empty

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Panels = Mapping[str, tuple[np.ndarray, np.ndarray, str]]
CURVES = {
    "energy_meV_per_atom": "energy, MAE (meV/atom)",
    "forces_meV_per_A": "forces, MAE (meV/Å)",
    "stress_GPa": "stress, MAE (GPa)",
}
SPLIT_COLORS = {"train": BLUE, "validation": VERMILLION}
ERROR_UNITS = {"eV/atom": ("meV/atom", 1e3), "eV/Å": ("meV/Å", 1e3)}
Extent = tuple[float, float, float, float]
DENSE = 4000
RESIDUALS_SHOWN = 5.0  # times the RMSE
MOST_LINES = len(COLORS)


def parity_plot(path: str | Path, panels: Panels, title: str = "") -> None:
    """Predicted against reference values and, below, predicted − reference; with MAE and RMSE of what is drawn.

    Args:
        panels: quantity → (reference, predicted, unit), arrays of equal shape; points with a NaN are left out.

    Raises:
        ValueError: no panels, or arrays of unlike shape.
    """
    if not panels:
        raise ValueError("a parity plot needs at least one panel")
    with drawn(path, (3.9 * len(panels), 5.2), title) as figure:
        grid = figure.subplots(2, len(panels), squeeze=False, sharex="col", height_ratios=(3, 1))
        for (axes, below), (name, (reference, predicted, unit)) in zip(grid.T, panels.items(), strict=True):
            _parity_panel(axes, below, np.asarray(reference, float), np.asarray(predicted, float), unit)
            axes.set_title(name)
        figure.align_ylabels(grid)


def _parity_panel(axes: Axes, below: Axes, reference: np.ndarray, predicted: np.ndarray, unit: str) -> None:
    if reference.shape != predicted.shape:
        raise ValueError(f"reference has shape {reference.shape}, predicted {predicted.shape}; they must be equal")
    known = np.isfinite(reference) & np.isfinite(predicted)
    error_unit, scale = ERROR_UNITS.get(unit, (unit, 1.0))
    axes.set(ylabel=f"predicted ({unit})")
    below.set(xlabel=f"reference ({unit})", ylabel=f"residual\n({error_unit})")
    if not known.any():
        say_empty(axes, "no labels")
        return
    x, y = reference[known], predicted[known]
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    margin = 0.03 * (high - low) or 1.0
    window = (low - margin, high + margin)
    axes.plot(window, window, color=BLACK, linewidth=0.8, zorder=3)
    _cloud(axes, x, y, (*window, *window), (120, 70))
    axes.set(xlim=window, ylim=window)
    error = scale * (y - x)
    rmse = float(np.sqrt((error**2).mean()))
    text = f"MAE {np.abs(error).mean():.3g} {error_unit}\nRMSE {rmse:.3g} {error_unit}\n{len(x)} values"
    axes.text(0.04, 0.96, text, va="top", transform=axes.transAxes)
    _residuals(below, x, error, RESIDUALS_SHOWN * rmse or 1.0)


def _residuals(axes: Axes, x: np.ndarray, error: np.ndarray, limit: float) -> None:
    """Differences up to a limit; those beyond it stand at the edge as triangles."""
    axes.axhline(0.0, color=BLACK, linewidth=0.8, zorder=3)
    shown = np.abs(error) <= limit
    _cloud(axes, x[shown], error[shown], (*axes.get_xlim(), -limit, limit), (120, 20))
    for beyond, edge, marker in ((error > limit, limit, "^"), (error < -limit, -limit, "v")):
        if beyond.any():
            axes.plot(x[beyond], np.full(beyond.sum(), edge), marker, color=VERMILLION, markersize=4)
    axes.set(ylim=(-1.1 * limit, 1.1 * limit))


def _cloud(axes: Axes, x: np.ndarray, y: np.ndarray, extent: Extent, bins: tuple[int, int]) -> None:
    if len(x) > DENSE:
        axes.hexbin(x, y, gridsize=bins, bins="log", extent=extent, cmap="cividis", linewidths=0.1)
    else:
        axes.scatter(x, y, s=8, alpha=0.5, linewidths=0, color=BLUE)


def learning_curves(path: str | Path, rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Errors of the training and validation sets against the epoch, on logarithmic axes.

    Args:
        rows: one per epoch, with `epoch` and `train_` or `validation_` followed by `energy_meV_per_atom`,
            `forces_meV_per_A` or `stress_GPa`; values that are absent, NaN or not positive are left out.
    """
    with drawn(path, (4.6 * len(CURVES), 3.6), title) as figure:
        for axes, (key, label) in zip(figure.subplots(1, len(CURVES)), CURVES.items(), strict=True):
            series = {split: curve(rows, f"{split}_{key}") for split in SPLIT_COLORS}
            _lines(axes, series, [*SPLIT_COLORS.values()])
            axes.set(xlabel="epoch", ylabel=label)


def curve(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values of one column, without those that a logarithmic axis cannot show."""
    points = np.array([(float(row["epoch"]), float(row.get(key, np.nan))) for row in rows]).reshape(-1, 2)
    shown = np.isfinite(points[:, 1]) & (points[:, 1] > 0)
    return points[shown, 0], points[shown, 1]


def line_plot(
    path: str | Path, series: Mapping[str, tuple[Sequence[float], Sequence[float]]], labels: tuple[str, str], title: str
) -> None:
    """A line per series on logarithmic axes, each named at its end, as cost against size.

    Args:
        series: name → (x, y), at most six; points that are not positive are left out.
        labels: of the two axes, with their units.

    Raises:
        ValueError: more than six series.
    """
    if len(series) > MOST_LINES:
        raise ValueError(f"{len(series)} lines cannot be told apart; draw at most {MOST_LINES}")
    with drawn(path, (7.2, 4.4), title) as figure:
        axes = figure.subplots()
        axes.set(xlabel=labels[0], ylabel=labels[1], xscale="log")
        _lines(axes, series, COLORS)


def _lines(axes: Axes, series: Mapping[str, tuple[Any, Any]], colors: Sequence[str]) -> None:
    for (name, (x, y)), color in zip(series.items(), colors, strict=False):
        points = np.array([x, y], dtype=float)
        points = points[:, (points > 0).all(axis=0)]
        if points.size:
            axes.plot(*points, marker="o" if points.shape[1] < 30 else "", color=color, label=name)
    if not axes.lines:
        say_empty(axes)
        return
    axes.set_yscale("log")
    axes.margins(y=0.08)
    axes.autoscale_view()
    plain_numbers(axes)
    name_lines(axes)


def labelled_points(
    path: str | Path,
    points: Mapping[str, tuple[float, float]],
    labels: tuple[str, str],
    title: str,
    front: Collection[str] | None = None,
) -> None:
    """Named points over a logarithmic axis, as error against cost.

    Args:
        points: name → (x, y); points of which one is not positive are left out.
        labels: of the two axes, with their units.
        front: points that a line joins; the others are then grey and without their names.
    """
    shown = {name: point for name, point in points.items() if min(point) > 0}
    named = [name for name in shown if front is None or name in front]
    with drawn(path, (7.2, 4.8), title) as figure:
        axes = figure.subplots()
        axes.set(xlabel=labels[0], ylabel=labels[1], xscale="log")
        axes.margins(0.12)
        if not shown:
            say_empty(axes)
            return
        places = np.array([*shown.values()])
        chosen = np.array([shown[name] for name in named]).reshape(-1, 2)
        axes.scatter(places[:, 0], places[:, 1], s=30, color=GREY, linewidths=0)
        axes.scatter(chosen[:, 0], chosen[:, 1], s=36, color=BLUE, linewidths=0, zorder=3)
        if front is not None:
            axes.plot(*np.array(sorted(map(tuple, chosen))).reshape(-1, 2).T, color=BLUE, linewidth=0.9)
        plain_numbers(axes)
        name_points(axes, named, chosen, places)


def dots(axes: Axes, names: Sequence[str], series: Mapping[str, Sequence[float]], lines: Sequence[float] = ()) -> None:
    """A row per name with a dot of each series; the first row's dots carry the names of the series.

    Args:
        names: of the rows, from the top.
        series: name → a value per row, NaN for none.
        lines: a value for each series, or one for all, where a dashed line stands.
    """
    rows = np.arange(len(names))
    order = sorted(series, key=lambda name: series[name][0])
    for (name, values), color in zip(series.items(), COLORS, strict=False):
        axes.plot(values, rows, "o", color=color, markersize=7)
        side = -1 if name == order[0] else 1
        axes.annotate(
            name, (values[0], 0), xytext=(4 * side, 9), textcoords="offset points", color=color,
            ha="right" if side < 0 else "left", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip
    for line, color in zip(lines, COLORS if len(lines) > 1 else (BLACK,), strict=False):
        axes.axvline(line, color=color, linestyle="--", linewidth=0.9)
    axes.set_yticks(rows, names)
    axes.set(ylim=(len(names) - 0.5, -0.8))
    axes.set_xlim(left=0.0)
