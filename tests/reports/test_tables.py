"""Tables: the same rows in Markdown and on the terminal."""

from __future__ import annotations

import pytest

from ru_calc.reports.tables import NONE, Table, bullets, number, page, percent, share, spelled, tabulate, text, value

ROWS = [{"name": "a", "error": 0.012345, "part": 0.0767, "n": 3}, {"name": "b", "error": None, "part": None, "n": 3}]
COLUMNS = {"name": text("name"), "error\n(eV)": value("error", 1e3), "share": share("part"), "n": text("n")}


def test_markdown_has_a_heading_a_rule_and_a_line_per_row_with_numbers_to_the_right() -> None:
    assert tabulate(ROWS, COLUMNS).markdown() == (
        "| name | error (eV) | share | n |\n|---|---:|---:|---:|\n| a | 12.3 | 7.7 % | 3 |\n| b | – | – | 3 |"
    )
    assert Table(["a", "b"], []).markdown() == "| a | b |\n|---|---|"


def test_the_terminal_shows_title_sections_and_the_same_cells() -> None:
    table = tabulate(ROWS, COLUMNS, title="errors", section="name")
    lines = table.text().splitlines()
    assert lines[0].strip() == "errors" and [line.split() for line in lines[-3:]] == [
        ["a", "12.3", "7.7", "%", "3"], [], ["b", "–", "–", "3"],
    ]  # fmt: skip
    rich = Table(table.head, table.rows, sections=table.sections, marked=[1]).rich()
    assert [row.end_section for row in rich.rows] == [True, False] and rich.rows[1].style == "red"
    assert [column.justify for column in rich.columns] == ["left", "right", "right", "right"]


def test_numbers_have_three_significant_digits_and_a_missing_one_is_a_dash() -> None:
    assert [number(one) for one in (0.012345, 12.345, 12345.6)] == ["0.0123", "12.3", "12346"]
    assert {shown(one) for shown in (number, percent) for one in (None, float("nan"))} == {NONE}
    assert percent(0.0767) == "7.7 %"
    assert number(2.7264, 4) == "2.726" and percent(0.08, 0) == "8 %"


@pytest.mark.parametrize(("unit", "words"), [("meV_per_atom", "meV/atom"), ("meV_per_A", "meV/Å"), ("GPa2", "GPa²")])
def test_units_are_spelled_as_a_reader_writes_them(unit: str, words: str) -> None:
    assert spelled(unit) == words


def test_a_page_leaves_out_what_is_empty() -> None:
    assert page("# Title", "", bullets(["one", "two"])) == "# Title\n\n- one\n- two\n"
