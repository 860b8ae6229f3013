"""Tables and paragraphs of Markdown. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence

WRITTEN_BY = "<!-- Written by `make reference` from the code: change the code, then run it again. -->"


def page(title: str, *blocks: str) -> str:
    """A whole page: its title, the note that a command writes it, and its blocks, a blank line between them."""
    return "\n\n".join([f"# {title}", WRITTEN_BY, *(block for block in blocks if block)]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table. Cells are Markdown of one line; columns that are empty are left out."""
    rows = [*rows]
    kept = [i for i, _ in enumerate(head) if any(row[i] for row in rows)]
    head, rows = [head[i] for i in kept], [[row[i] for i in kept] for row in rows]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def code(text: str) -> str:
    """`text` in backticks; nothing for nothing."""
    return f"`{text}`" if text else ""


def prose(docstring: str | None) -> str:
    """A docstring's paragraphs, each on one line."""
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _cell(text: str) -> str:
    """One line in which neither a vertical bar nor, outside of backticks, a `<` means anything."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)
