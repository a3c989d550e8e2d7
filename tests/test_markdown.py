"""Tables in Markdown."""

from __future__ import annotations

from ru_calc.markdown import markdown_table


def test_a_table_has_a_heading_a_rule_and_a_line_per_row() -> None:
    assert markdown_table(["a", "b"], [["1", "2"], ["3", "4"]]) == "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |"


def test_numbers_are_set_to_the_right_of_the_names() -> None:
    assert markdown_table(["a", "b"], [], numbers=True) == "| a | b |\n|---|---:|"
