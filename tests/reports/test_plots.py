"""Plots: whole files of the right kind, the numbers that they print, and no side effect on matplotlib."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from ru_calc.errors import OutputError
from ru_calc.reports.plots import (
    _figure,
    _parity_panel,
    check_plottable,
    curve,
    labelled_points,
    learning_curves,
    parity_plot,
    scaling_plot,
)

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


def test_a_panel_prints_the_errors_of_its_points():
    (axes,) = _figure(1).axes
    _parity_panel(axes, np.array([1.0, 2.0, np.nan]), np.array([1.5, 2.0, 7.0]), "eV")
    (text,) = axes.texts
    assert text.get_text() == "MAE 0.25 eV\nRMSE 0.354 eV\n2 values"


def test_a_panel_without_labels_says_so():
    (axes,) = _figure(1).axes
    _parity_panel(axes, np.full(3, np.nan), np.ones(3), "GPa")
    assert axes.texts[0].get_text() == "no labels"


def test_every_point_is_within_the_axes():
    for n in (10, 9000):
        (axes,) = _figure(1).axes
        _parity_panel(axes, np.linspace(-1, 3, n), np.linspace(-4, 2, n), "eV")
        assert axes.get_xlim()[0] < -4 and axes.get_xlim()[1] > 3
        assert axes.get_xlim() == axes.get_ylim()


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
def test_a_scaling_plot_is_a_whole_file_with_every_name_in_it(tmp_path, kind):
    path = tmp_path / f"scaling.{kind}"
    series = {f"way {k}": ([64, 500], [1.0 + k, float("nan")]) for k in range(12)}
    scaling_plot(path, series, ("atoms", "µs"), "title")
    assert path.read_bytes().startswith(SIGNATURES[kind]) and list(tmp_path.iterdir()) == [path]


def test_a_scaling_plot_of_nothing_is_drawn(tmp_path):
    scaling_plot(tmp_path / "scaling.svg", {}, ("atoms", "µs"), "title")
    assert "no values" in (tmp_path / "scaling.svg").read_text()


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
        "import sys, numpy as np, ru_calc.reports.plots as plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"plots.parity_plot({str(tmp_path / 'p.png')!r}, {{'e': (np.ones(2), np.ones(2), 'eV')}})\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
