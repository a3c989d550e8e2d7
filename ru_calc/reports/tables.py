"""Tables of text, on the terminal and in Markdown, from the same rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table as RichTable

NONE, WIDTH = "–", 160
Record = Mapping[str, Any]
Cell = Callable[[Record], str]


@dataclass(frozen=True)
class Table:
    """Headings and rows of text; columns of numbers are set to the right.

    Attributes:
        head: one heading per column; a line break in it counts on the terminal only.
        rows: as many cells each.
        title: over the table, on the terminal only.
        sections: a value per row; a line separates rows whose values differ, on the terminal only.
        marked: indices of rows printed in red, on the terminal only.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    sections: Sequence[Any] = ()
    marked: Sequence[int] = ()

    def markdown(self) -> str:
        """The table in Markdown, without a line break at its end."""
        rule = ["---:" if right else "---" for right in self._right()]
        head = [" ".join(heading.split()) for heading in self.head]
        lines = [f"| {' | '.join(cells)} |" for cells in (head, *self.rows)]
        return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])

    def rich(self) -> RichTable:
        """The table for a console of rich."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as RichTable

        table = RichTable(
            title=self.title or None, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False
        )
        for heading, right in zip(self.head, self._right(), strict=True):
            table.add_column(heading, no_wrap=True, justify="right" if right else "left")
        for k, row in enumerate(self.rows):
            ends = k + 1 < len(self.sections) and self.sections[k] != self.sections[k + 1]
            table.add_row(*row, end_section=ends, style="red" if k in self.marked else None)
        return table

    def text(self) -> str:
        """The table as lines of text, as on the terminal."""
        from rich.console import Console

        console = Console(width=WIDTH, color_system=None)
        with console.capture() as captured:
            console.print(self.rich())
        return "\n".join(line.rstrip() for line in captured.get().splitlines())

    def show(self) -> None:
        """Prints the table."""
        from rich.console import Console

        Console(width=WIDTH, highlight=False).print(self.rich())

    def _right(self) -> list[bool]:
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.head)
        return [any(cells) and all(map(_is_number, cells)) for cells in columns]


def tabulate(records: Iterable[Record], columns: Mapping[str, Cell], title: str = "", section: str = "") -> Table:
    """One row per record.

    Args:
        columns: heading → what makes a cell of a record; see `text`, `value` and `share`.
        section: key whose values separate sections.
    """
    records = list(records)
    rows = [[cell(record) for cell in columns.values()] for record in records]
    return Table([*columns], rows, title, [record[section] for record in records] if section else ())


def text(key: str) -> Cell:
    """A column of words or counts as they are, "–" for none; a dot in the key leads into a nested record."""
    return lambda record: NONE if (found := _find(record, key)) is None else str(found)


def value(key: str, scale: float = 1.0) -> Cell:
    """A column of numbers, see `number` and `text`."""
    return lambda record: NONE if (found := _find(record, key)) is None else number(scale * found)


def share(key: str) -> Cell:
    """A column in percent, see `percent` and `text`."""
    return lambda record: percent(_find(record, key))


def _find(record: Record, key: str) -> Any:
    for part in key.split("."):
        record = (record or {}).get(part)  # type: ignore[assignment]
    return record


def number(value: float | None, digits: int = 3) -> str:
    """So many significant digits, or all before the decimal point from 1000 on; "–" where there is no value."""
    if value is None or value != value:
        return NONE
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction in percent; "–" where there is no value."""
    return NONE if value is None or value != value else f"{100 * value:.{digits}f} %"


def spelled(unit: str) -> str:
    """A unit as a reader writes it: `meV_per_A` as meV/Å."""
    return unit.replace("_per_A", "/Å").replace("_per_", "/").replace("2", "²")


def page(*sections: str) -> str:
    """A text in Markdown from its paragraphs, without the empty ones."""
    return "\n\n".join(section.strip("\n") for section in sections if section) + "\n"


def bullets(lines: Iterable[str]) -> str:
    """A list in Markdown."""
    return "\n".join(f"- {line}" for line in lines)


def _is_number(cell: str) -> bool:
    return not cell or cell == NONE or cell.lstrip("+-−~(")[:1].isdigit()
