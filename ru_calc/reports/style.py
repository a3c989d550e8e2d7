"""The one style of all figures: colours told apart by colour-blind readers (Okabe and Ito), names beside their lines.

matplotlib is imported when a figure is drawn; pyplot is never touched, and no window opens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ru_calc.errors import OutputError
from ru_calc.files import check_writable, whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

FORMATS = ("png", "pdf", "svg")
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000"
COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, BLACK)
GREY = "#B0B0B0"
DPI = 150
STYLE: dict[RcKeyType, Any] = {
    "font.size": 10.0, "axes.titlesize": 11.0, "figure.titlesize": 12.0, "axes.spines.top": False,
    "axes.spines.right": False, "axes.linewidth": 0.7, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#E4E4E4", "grid.linewidth": 0.6, "lines.linewidth": 1.8, "lines.markersize": 5.0,
    "xtick.major.width": 0.7, "ytick.major.width": 0.7, "xtick.minor.width": 0.5, "ytick.minor.width": 0.5,
}  # fmt: skip


def format_of(path: str | Path) -> str:
    """The format that a suffix names.

    Raises:
        OutputError: it is none of `FORMATS`.
    """
    kind = Path(path).suffix.lstrip(".").lower()
    if kind not in FORMATS:
        raise OutputError(f"cannot plot to {path}: the suffix must be one of .{', .'.join(FORMATS)}")
    return kind


def check_plottable(path: str | Path) -> None:
    """Refuses early a file that could not be drawn later.

    Raises:
        OutputError: an unknown suffix, or a folder that is missing or not writable.
    """
    format_of(path)
    check_writable(path)


@contextmanager
def drawn(path: str | Path, size: tuple[float, float], title: str = "") -> Iterator[Figure]:
    """An empty figure of so many inches, which is written to `path` at the end.

    Raises:
        OutputError: an unknown suffix, or a file that cannot be written.
    """
    kind = format_of(path)
    # A bare Figure has its own Agg canvas: the user's choice of backend is left alone.
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        if title:
            figure.suptitle(title)
        with whole_file(path) as unfinished:
            figure.savefig(unfinished, format=kind, dpi=DPI)


def plain_numbers(axes: Axes) -> None:
    """Writes 10, 20, 30 and not powers of ten at the ticks of logarithmic axes."""
    from matplotlib.ticker import LogFormatter

    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(LogFormatter(minor_thresholds=(1.2, 0.6)))


def say_empty(axes: Axes, words: str = "no values") -> None:
    """A panel without points says so."""
    axes.text(0.5, 0.5, words, ha="center", transform=axes.transAxes)
