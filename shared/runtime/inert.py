"""Text that others wrote, made inert: a terminal shows it, and does nothing that it says. Pure.

A camera's reason, a label, a letter or an answer may hold escape sequences, which move the cursor, hide lines and set
the clipboard, or marks that turn the direction of writing.
"""

from __future__ import annotations

import unicodedata

# Controls, formats, lone surrogates, and what ends a line or a paragraph: a terminal may act on these.
_ACTIVE = ("Cc", "Cf", "Cs", "Zl", "Zp")
# What ends our own lines and fields, and what joins the letters of some scripts and the parts of emoji.
_HARMLESS = "\n\t\u200c\u200d"


def inert(text: str) -> str:
    """`text` with each character that a terminal may act on as `\\u001b`, which JSON reads as that character."""
    return text if text.isprintable() else "".join(map(_inert, text))


def _inert(char: str) -> str:
    if char.isprintable() or char in _HARMLESS or unicodedata.category(char) not in _ACTIVE:
        return char
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
