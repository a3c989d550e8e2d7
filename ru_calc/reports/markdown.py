"""Tables in Markdown, and the numbers in them."""

from __future__ import annotations

from collections.abc import Sequence

NONE = "–"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = False) -> str:
    """A table of cells that are text already.

    Args:
        head: one heading per column.
        rows: as many cells each.
        numbers: columns after the first are set to the right.
    """
    rule = ["---", *["---:" if numbers else "---"] * (len(head) - 1)]
    return "\n".join([_row(head), f"|{'|'.join(rule)}|", *map(_row, rows)])


def number(value: float | None) -> str:
    """Three digits that count, or all before the point; "–" where there is no value."""
    if value is None or value != value:
        return NONE
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(value: float | None) -> str:
    """A share in percent, one digit after the point; "–" where there is no value."""
    return NONE if value is None or value != value else f"{100 * value:.1f} %"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
