"""Foreign text as one line, without characters that no header can carry or that a terminal would execute. Pure."""

from __future__ import annotations

# Control characters, and those that change the writing direction of a line.
_CONTROL = dict.fromkeys([*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], " ")


def plain(text: str) -> str:
    """Return the text as one paragraph, without control characters."""
    return " ".join(text.translate(_CONTROL).split())
