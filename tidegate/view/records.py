"""Records for a terminal or a pipe; the values that a next command needs are never cut.

    show(screen(), ["letter", "service", Wrapped("reason")], rows, "no dead letters")

A wide terminal gets a table, a narrow one a block of lines for each record, and a pipe a line for each record, with
fields separated by tabs.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tidegate.view.inert import echo, one_line
from tidegate.view.screen import TABLE_WIDTH

# A column of prose is readable from this width on.
PROSE = 24
_GAP = 2


class Wrapped(str):
    """The name of a field that is prose: it may be broken into lines."""


class Right(str):
    """The name of a field that is a number."""


def show(out: Console, fields: Sequence[str], rows: Sequence[Sequence[str | Text]], empty: str) -> None:
    """Print every record. empty: the text if there is none; on standard error in a pipe."""
    texts = [[_cell(cell) for cell in row] for row in rows]
    if not out.is_terminal:
        for row in texts:
            echo("\t".join(" ".join(cell.plain.split()) for cell in row), file=out.file)
        if not rows:
            echo(empty, err=True)
    elif not rows:
        out.print(empty, markup=False, soft_wrap=True)
    elif _least_width(fields, texts) <= out.width:
        out.print(table(fields, texts))
    else:
        _blocks(out, fields, texts)


def show_table(out: Console, fields: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """Print every record, of at least one, as `show` does; in a pipe as a table, too, of TABLE_WIDTH columns."""
    if out.is_terminal:
        show(out, fields, rows, "")
    else:
        out.width = TABLE_WIDTH
        out.print(table(fields, rows))


def _cell(cell: str | Text) -> Text:
    """Return a cell without line or column breaks, which could pass for others."""
    text = cell if isinstance(cell, Text) else Text(cell)
    plain = one_line(text.plain)
    return text if plain == text.plain.strip() else Text(plain, text.style)


def _least_width(fields: Sequence[str], rows: Sequence[Sequence[Text]]) -> int:
    widths = [max(cell_len(field), *(row[n].cell_len for row in rows)) for n, field in enumerate(fields)]
    least = (min(w, PROSE) if isinstance(f, Wrapped) else w for f, w in zip(fields, widths, strict=True))
    return sum(least) + _GAP * (len(fields) - 1)


def table(fields: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Table:
    """Return a table with a column per field. Only prose is broken into lines."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for field in fields:
        wraps = isinstance(field, Wrapped)
        table.add_column(
            str(field),
            no_wrap=not wraps,
            overflow="fold" if wraps else "crop",
            justify="right" if isinstance(field, Right) else "left",
        )
    for row in rows:
        table.add_row(*row)
    return table


def _blocks(out: Console, fields: Sequence[str], rows: Sequence[Sequence[Text]]) -> None:
    """Print a line per field. The terminal breaks a long line, so that it is copied as one."""
    width = max(map(cell_len, fields))
    for n, row in enumerate(rows):
        if n:
            out.print()
        for field, cell in zip(fields, row, strict=True):
            if cell.plain.strip():
                name = Text(f"{field:<{width + _GAP}}", "bold" if field == fields[0] else "dim")
                out.print(name.append_text(cell), soft_wrap=True)
