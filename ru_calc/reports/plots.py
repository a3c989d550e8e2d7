"""Parity plots, learning curves and scaling with size, as files.

matplotlib is imported when one is drawn, and no window is opened.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ru_calc.errors import OutputError
from ru_calc.files import check_writable, whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")
CURVES = {
    "energy_meV_per_atom": "energy, MAE (meV/atom)",
    "forces_meV_per_A": "forces, MAE (meV/Å)",
    "stress_GPa": "stress, MAE (GPa)",
}
SPLIT_COLORS = {"train": "tab:blue", "validation": "tab:orange"}
DENSE = 4000
DASHES = ("-", "--")


def parity_plot(path: str | Path, panels: Mapping[str, tuple[np.ndarray, np.ndarray, str]], title: str = "") -> None:
    """Predicted against reference values, one panel per quantity, with MAE and RMSE of what is drawn.

    Args:
        path: .png, .pdf or .svg.
        panels: quantity → (reference, predicted, unit), arrays of equal shape; points with a NaN are left out.
        title: over all panels.

    Raises:
        OutputError: an unknown suffix, or a file that cannot be written.
        ValueError: no panels, or arrays of unlike shape.
    """
    kind = _format_of(path)
    if not panels:
        raise ValueError("a parity plot needs at least one panel")
    figure = _figure(len(panels))
    for axes, (name, (reference, predicted, unit)) in zip(figure.axes, panels.items(), strict=True):
        _parity_panel(axes, np.asarray(reference, float), np.asarray(predicted, float), unit)
        axes.set_title(name)
    _save(figure, path, kind, title)


def learning_curves(path: str | Path, rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Errors of the training and validation sets against the epoch, on logarithmic axes.

    Args:
        path: .png, .pdf or .svg.
        rows: one per epoch, with `epoch` and `train_` or `validation_` followed by `energy_meV_per_atom`,
            `forces_meV_per_A` or `stress_GPa`; values that are absent, NaN or not positive are left out.
        title: over all panels.

    Raises:
        OutputError: an unknown suffix, or a file that cannot be written.
    """
    kind = _format_of(path)
    figure = _figure(len(CURVES))
    for axes, (key, label) in zip(figure.axes, CURVES.items(), strict=True):
        for split, color in SPLIT_COLORS.items():
            epoch, value = curve(rows, f"{split}_{key}")
            if len(epoch):
                axes.plot(epoch, value, color=color, marker="." if len(epoch) < 30 else "", label=split)
        axes.set(xlabel="epoch", ylabel=label)
        if axes.lines:
            axes.set_yscale("log")
            axes.legend(frameon=False)
        else:
            axes.text(0.5, 0.5, "no values", ha="center", transform=axes.transAxes)
    _save(figure, path, kind, title)


def scaling_plot(
    path: str | Path, series: Mapping[str, tuple[Sequence[float], Sequence[float]]], labels: tuple[str, str], title: str
) -> None:
    """One line per series on logarithmic axes, as cost against size.

    Args:
        path: .png, .pdf or .svg.
        series: name → (x, y), in the order of the legend; points that are not positive are left out.
        labels: of the two axes, with their units.
        title: over the plot.

    Raises:
        OutputError: an unknown suffix, or a file that cannot be written.
    """
    kind = _format_of(path)
    figure = _figure(1)
    figure.set_size_inches(8.4, 5.0)
    (axes,) = figure.axes
    for number, (name, (x, y)) in enumerate(series.items()):
        points = np.array([x, y], dtype=float)
        points = points[:, (points > 0).all(axis=0)]
        axes.plot(
            *points, marker="o", markersize=4, color=f"C{number % 10}", linestyle=DASHES[number // 10 % 2], label=name
        )
    axes.set(xlabel=labels[0], ylabel=labels[1])
    if axes.lines:
        axes.set(xscale="log", yscale="log")
        axes.grid(which="major", linewidth=0.4)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    else:
        axes.text(0.5, 0.5, "no values", ha="center", transform=axes.transAxes)
    _save(figure, path, kind, title)


def labelled_points(
    path: str | Path,
    points: Mapping[str, tuple[float, float]],
    labels: tuple[str, str],
    title: str,
    front: Collection[str] | None = None,
) -> None:
    """Named points over a logarithmic axis, as error against cost.

    Args:
        path: .png, .pdf or .svg.
        points: name → (x, y); points of which one is not positive are left out.
        labels: of the two axes, with their units.
        title: over the plot.
        front: points that a line joins; the others are then grey and without their names.

    Raises:
        OutputError: an unknown suffix, or a file that cannot be written.
    """
    kind = _format_of(path)
    figure = _figure(1)
    figure.set_size_inches(6.4, 4.8)
    (axes,) = figure.axes
    axes.set(xlabel=labels[0], ylabel=labels[1])
    shown = {name: point for name, point in points.items() if min(point) > 0}
    for number, (name, point) in enumerate(shown.items()):
        named = front is None or name in front
        axes.plot(*point, marker="o", linestyle="", color=f"C{number % 10}" if named else "silver")
        if named:
            axes.annotate(name, point, xytext=(0, 6), textcoords="offset points", ha="center")
    if front is not None:
        line = sorted(point for name, point in shown.items() if name in front)
        axes.plot([x for x, _ in line], [y for _, y in line], color="black", linewidth=0.8, zorder=0)
    if shown:
        axes.set(xscale="log")
        axes.margins(0.2)
        axes.grid(which="both", linewidth=0.3)
    else:
        axes.text(0.5, 0.5, "no values", ha="center", transform=axes.transAxes)
    _save(figure, path, kind, title)


def check_plottable(path: str | Path) -> None:
    """Refuses early a file that could not be drawn later.

    Raises:
        OutputError: an unknown suffix, or a folder that is missing or not writable.
    """
    _format_of(path)
    check_writable(path)


def curve(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values of one column, without those that a logarithmic axis cannot show."""
    epoch = np.array([float(row["epoch"]) for row in rows])
    value = np.array([float(row.get(key, np.nan)) for row in rows])
    shown = np.isfinite(value) & (value > 0)
    return epoch[shown], value[shown]


def _figure(n_panels: int) -> Figure:
    # A bare Figure has its own Agg canvas: neither pyplot nor the user's choice of backend is touched.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * n_panels, 4.2), layout="constrained")
    figure.subplots(1, n_panels)
    return figure


def _parity_panel(axes: Axes, reference: np.ndarray, predicted: np.ndarray, unit: str) -> None:
    if reference.shape != predicted.shape:
        raise ValueError(f"reference has shape {reference.shape}, predicted {predicted.shape}; they must be equal")
    known = np.isfinite(reference) & np.isfinite(predicted)
    axes.set(xlabel=f"reference ({unit})", ylabel=f"predicted ({unit})")
    if not known.any():
        axes.text(0.5, 0.5, "no labels", ha="center", transform=axes.transAxes)
        return
    x, y = reference[known], predicted[known]
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    margin = 0.03 * (high - low) or 1.0
    window = (low - margin, high + margin)
    if len(x) > DENSE:
        axes.hexbin(x, y, gridsize=120, bins="log", extent=(*window, *window), cmap="viridis", linewidths=0.1)
    else:
        axes.scatter(x, y, s=6, alpha=0.5, linewidths=0)
    axes.plot(window, window, color="black", linewidth=0.8)
    axes.set(xlim=window, ylim=window, aspect="equal")
    error = y - x
    text = f"MAE {np.abs(error).mean():.3g} {unit}\nRMSE {np.sqrt((error**2).mean()):.3g} {unit}\n{len(x)} values"
    axes.text(0.04, 0.96, text, va="top", transform=axes.transAxes)


def _format_of(path: str | Path) -> str:
    kind = Path(path).suffix.lstrip(".").lower()
    if kind not in FORMATS:
        raise OutputError(f"cannot plot to {path}: the suffix must be one of .{', .'.join(FORMATS)}")
    return kind


def _save(figure: Figure, path: str | Path, kind: str, title: str) -> None:
    if title:
        figure.suptitle(title)
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, format=kind, dpi=130)
