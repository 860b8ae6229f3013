"""A stranger's text as one line, without what no header can carry and what a terminal would obey. Pure."""

from __future__ import annotations

# Control characters, and those that change the direction in which a line is shown.
_CONTROL = dict.fromkeys([*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], " ")


def plain(text: str) -> str:
    """The text in one paragraph, without control characters."""
    return " ".join(text.translate(_CONTROL).split())
