"""Tables in Markdown."""

from __future__ import annotations

from ru_calc.reports.markdown import markdown_table, number, percent


def test_a_table_has_a_heading_a_rule_and_a_line_per_row() -> None:
    assert markdown_table(["a", "b"], [["1", "2"], ["3", "4"]]) == "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |"


def test_numbers_are_set_to_the_right_of_the_names() -> None:
    assert markdown_table(["a", "b"], [], numbers=True) == "| a | b |\n|---|---:|"


def test_numbers_have_three_digits_that_count_and_a_missing_one_is_a_dash() -> None:
    assert [number(value) for value in (0.012345, 12.345, 12345.6, None, float("nan"))] == (
        ["0.0123", "12.3", "12346", "–", "–"]
    )
    assert [percent(value) for value in (0.0767, None, float("nan"))] == ["7.7 %", "–", "–"]
