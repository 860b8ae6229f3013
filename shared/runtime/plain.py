"""Foreign text made harmless, for headers and for terminals. Pure.

A camera's reason, a label, a dead letter or an answer may hold escape sequences, which move the cursor, hide lines and
set the clipboard, or marks that reverse the writing direction.
"""

from __future__ import annotations

import unicodedata

# Control characters, and those that change the writing direction of a line.
_CONTROL = dict.fromkeys([*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], " ")
# Controls, formats, lone surrogates, and what ends a line or a paragraph: a terminal may act on these.
_ACTIVE = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Characters that end our own lines and fields, or join letters of some scripts and parts of emoji.
_HARMLESS = "\n\t\u200c\u200d"


def plain(text: str) -> str:
    """Return the text as one paragraph, without control characters."""
    return " ".join(text.translate(_CONTROL).split())


def inert(text: str) -> str:
    """Return `text` with each active character escaped like `\\u001b`, which JSON reads as that character."""
    return text if text.isprintable() else "".join(map(_inert, text))


def _inert(char: str) -> str:
    if char.isprintable() or char in _HARMLESS or unicodedata.category(char) not in _ACTIVE:
        return char
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
