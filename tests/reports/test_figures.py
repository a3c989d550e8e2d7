"""Figures: whole files of the right kind, the numbers that they print, and no side effect on matplotlib."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from ru_calc.errors import OutputError
from ru_calc.reports.figures import (
    _lines,
    _parity_panel,
    curve,
    dots,
    labelled_points,
    learning_curves,
    line_plot,
    parity_plot,
)
from ru_calc.reports.labels import GAP, name_points, spread
from ru_calc.reports.style import COLORS, check_plottable, drawn

SIGNATURES = {"png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF", "svg": b"<?xml"}
PANELS = {
    "energy": (np.array([-9.2, -9.0, np.nan]), np.array([-9.1, -9.0, 1.0]), "eV/atom"),
    "forces": (np.linspace(-5, 5, 9000), np.linspace(-5, 5, 9000) + 0.1, "eV/Å"),
    "stress": (np.full(6, np.nan), np.zeros(6), "GPa"),
}


@pytest.mark.parametrize("kind", SIGNATURES)
def test_a_parity_plot_is_a_whole_file_of_its_kind(tmp_path, kind):
    path = tmp_path / f"parity.{kind}"
    parity_plot(path, PANELS, title="test")
    assert path.read_bytes().startswith(SIGNATURES[kind])
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def panel():
    """A parity panel and the one of its residuals."""
    figure = Figure()
    return tuple(figure.subplots(2, 1, sharex=True))


def test_a_panel_prints_the_errors_of_its_points(panel):
    _parity_panel(*panel, np.array([1.0, 2.0, np.nan]), np.array([1.5, 2.0, 7.0]), "eV/Å")
    (text,) = panel[0].texts
    assert text.get_text() == "MAE 250 meV/Å\nRMSE 354 meV/Å\n2 values"


def test_a_panel_without_labels_says_so(panel):
    _parity_panel(*panel, np.full(3, np.nan), np.ones(3), "GPa")
    assert panel[0].texts[0].get_text() == "no labels"


@pytest.mark.parametrize("n", [10, 9000])
def test_every_point_is_within_the_axes(panel, n):
    _parity_panel(*panel, np.linspace(-1, 3, n), np.linspace(-4, 2, n), "eV")
    low, high = panel[0].get_xlim()
    assert low < -4 and high > 3 and panel[0].get_ylim() == (low, high) == panel[1].get_xlim()


def test_residuals_are_predicted_minus_reference_and_far_ones_stand_at_the_edge(panel):
    error = np.zeros(50)
    error[[3, 7]] = 0.1, -9.0
    _parity_panel(*panel, np.arange(50.0), np.arange(50.0) + error, "eV/atom")
    below = panel[1]
    (points,) = below.collections
    shown = points.get_offsets()
    assert len(shown) == 49 and shown[:, 1].max() == pytest.approx(100)  # meV/atom
    (edge,) = (line for line in below.lines if line.get_marker() == "v" and len(line.get_xdata()))
    assert edge.get_xdata().tolist() == [7] and edge.get_ydata()[0] == pytest.approx(-5e3 * 9 / 50**0.5, rel=1e-3)
    assert below.get_ylim()[0] < edge.get_ydata()[0]


def test_learning_curves_leave_out_what_is_missing(tmp_path):
    rows = [{"epoch": 1, "train_energy_meV_per_atom": 30.0}, {"epoch": 2, "train_energy_meV_per_atom": float("nan")}]
    rows.append({"epoch": 3.0, "train_energy_meV_per_atom": 10.0, "validation_energy_meV_per_atom": 12.0})
    epoch, value = curve(rows, "train_energy_meV_per_atom")
    assert epoch.tolist() == [1, 3] and value.tolist() == [30, 10]
    learning_curves(tmp_path / "curves.png", rows)
    assert (tmp_path / "curves.png").read_bytes().startswith(SIGNATURES["png"])


def test_learning_curves_of_no_epoch_are_drawn(tmp_path):
    learning_curves(tmp_path / "curves.svg", [])
    assert (tmp_path / "curves.svg").read_text().count("no values") == 3


@pytest.mark.parametrize("kind", SIGNATURES)
def test_a_line_plot_is_a_whole_file_with_every_name_in_it(tmp_path, kind):
    path = tmp_path / f"scaling.{kind}"
    series = {f"way {k}": ([64, 500], [1.0 + k, float("nan")]) for k in range(6)}
    line_plot(path, series, ("atoms", "µs"), "title")
    assert path.read_bytes().startswith(SIGNATURES[kind]) and list(tmp_path.iterdir()) == [path]


def test_a_line_plot_of_nothing_is_drawn(tmp_path):
    line_plot(tmp_path / "scaling.svg", {}, ("atoms", "µs"), "title")
    assert "no values" in (tmp_path / "scaling.svg").read_text()


def test_more_lines_than_can_be_told_apart_are_refused(tmp_path):
    with pytest.raises(ValueError, match="7 lines cannot be told apart; draw at most 6"):
        line_plot(tmp_path / "scaling.svg", {str(k): ([1], [1]) for k in range(7)}, ("atoms", "µs"), "title")


def test_lines_are_named_in_their_colours_at_their_ends_and_not_in_a_box(tmp_path):
    from matplotlib.colors import to_hex

    with drawn(tmp_path / "lines.svg", (4, 3)) as figure:
        axes = figure.subplots()
        _lines(axes, {"a": ([1, 2], [1.0, 5.0]), "b": ([1, 2], [9.0, 5.01])}, COLORS)
        assert axes.get_legend() is None
        names = {text.get_text(): text for text in axes.texts}
    assert [to_hex(names[name].get_color()).upper() for name in "ab"] == [*COLORS[:2]]
    low, high = names["a"].xy[1], names["b"].xy[1]
    assert high - low == pytest.approx(GAP) and names["a"].xy[0] == names["b"].xy[0]


def test_names_at_one_place_are_moved_apart_about_their_middle_and_others_stay():
    assert spread([(1.0, 0.2), (1.0, 0.5), (1.0, 0.5), (0.4, 0.5)]) == pytest.approx(
        [0.2, 0.5 - GAP / 2, 0.5 + GAP / 2, 0.5]
    )


def test_names_of_points_cover_neither_each_other_nor_a_point():
    axes = Figure(figsize=(6, 4)).subplots()
    points = np.array([(1.0, 1.0), (1.01, 1.0), (1.02, 1.01), (2.0, 2.0)])
    axes.scatter(*points.T)
    axes.margins(0.3)
    name_points(axes, ["first name", "second name", "third name", "far"], points, points)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 4 and not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    places = axes.transData.transform(points)
    assert not any(box.contains(*place) for box in boxes for place in places)


def test_dots_name_their_series_at_the_first_row(tmp_path):
    with drawn(tmp_path / "dots.png", (4, 3)) as figure:
        axes = figure.subplots()
        dots(axes, ["KAN", "ANI"], {"ours": [0.4, 0.5], "paper": [0.3, float("nan")]}, [0.6])
        assert [text.get_text() for text in axes.texts] == ["ours", "paper"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["KAN", "ANI"]


def test_labelled_points_are_a_whole_file_with_every_name_but_those_not_positive(tmp_path):
    path = tmp_path / "points.svg"
    labelled_points(path, {"swift": (1.0, 30.0), "exact": (200.0, 4.0), "absent": (0.0, 5.0)}, ("cost", "error"), "t")
    text = path.read_text()
    assert "<!-- swift -->" in text and "<!-- exact -->" in text and "<!-- absent -->" not in text
    labelled_points(path, {}, ("cost", "error"), "t")
    assert "<!-- no values -->" in path.read_text()


def test_points_off_the_front_have_no_name(tmp_path):
    path, points = tmp_path / "points.svg", {"swift": (1.0, 30.0), "worse": (2.0, 31.0), "exact": (200.0, 4.0)}
    labelled_points(path, points, ("cost", "error"), "t", front={"swift", "exact"})
    text = path.read_text()
    assert "<!-- swift -->" in text and "<!-- exact -->" in text and "<!-- worse -->" not in text
    labelled_points(path, {}, ("cost", "error"), "t", front=set())
    assert "<!-- no values -->" in path.read_text()


def test_what_cannot_be_drawn_is_refused_before(tmp_path):
    check_plottable(tmp_path / "plot.png")
    with pytest.raises(OutputError, match="the suffix must be one of"):
        check_plottable(tmp_path / "plot.bmp")
    with pytest.raises(OutputError, match="does not exist"):
        check_plottable(tmp_path / "missing" / "plot.png")
    assert not list(tmp_path.iterdir())


def test_bad_input_leaves_no_file(tmp_path):
    with pytest.raises(OutputError, match=r"the suffix must be one of \.png, \.pdf, \.svg"):
        parity_plot(tmp_path / "parity.jpeg2", PANELS)
    with pytest.raises(ValueError, match="must be equal"):
        parity_plot(tmp_path / "parity.png", {"energy": (np.zeros(3), np.zeros(2), "eV")})
    with pytest.raises(ValueError, match="at least one panel"):
        parity_plot(tmp_path / "parity.png", {})
    with pytest.raises(OutputError, match="does not exist"):
        parity_plot(tmp_path / "missing" / "parity.png", PANELS)
    assert not list(tmp_path.iterdir())


def test_matplotlib_waits_until_it_is_needed_and_pyplot_is_never_touched(tmp_path):
    code = (
        "import sys, numpy as np, ru_calc.reports.figures as figures\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"figures.parity_plot({str(tmp_path / 'p.png')!r}, {{'e': (np.ones(2), np.ones(2), 'eV')}})\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
