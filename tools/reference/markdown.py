"""Tables and paragraphs of Markdown. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence

WRITTEN_BY = "<!-- Written by `make reference` from the code: change the code, then run it again. -->"


def page(title: str, *blocks: str) -> str:
    """Return a page: its title, the note that a command writes it, and its blocks, separated by blank lines."""
    return "\n\n".join([f"# {title}", WRITTEN_BY, *(block for block in blocks if block)]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table without its empty columns. Cells are Markdown of one line."""
    rows = [*rows]
    used = [i for i, _ in enumerate(head) if any(row[i] for row in rows)]
    head, rows = [head[i] for i in used], [[row[i] for i in used] for row in rows]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def code(text: str) -> str:
    """Return `text` in backticks; empty text stays empty."""
    return f"`{text}`" if text else ""


def prose(docstring: str | None) -> str:
    """Return a docstring's paragraphs, each on one line."""
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _cell(text: str) -> str:
    """Return the text on one line, with `|` escaped, and `<` escaped outside of backticks."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)
