"""Text that others wrote, made inert: a terminal shows it, and does nothing that it says.

A camera's reason, a label, a letter or an answer may hold escape sequences, which move the cursor, hide lines and set
the clipboard, or marks that turn the direction of writing. All that Tidegate prints goes through `inert`: by `echo`,
and by the `Screen` that rich's tables and colours go to. What is laid out there is better made inert before, as it is
longer then.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import click

# Controls, formats, lone surrogates, and what ends a line or a paragraph: a terminal may act on these.
_ACTIVE = ("Cc", "Cf", "Cs", "Zl", "Zp")
# What ends our own lines and fields, and what joins the letters of some scripts and the parts of emoji.
_HARMLESS = "\n\t\u200c\u200d"
_BREAK = re.compile(r"[\n\t\v\f\r\x1c-\x1e\x85\u2028\u2029]")
_SPACES = re.compile(r"\s+")


def inert(text: str) -> str:
    """`text` with each character that a terminal may act on as `\\u001b`, which JSON reads as that character."""
    return text if text.isprintable() else "".join(map(_inert, text))


def one_line(text: str) -> str:
    """The same in one line: what is broken into lines, or into fields, is joined by spaces."""
    return inert(_SPACES.sub(lambda found: " " if _BREAK.search(found[0]) else found[0], text).strip())


def echo(text: str, *, err: bool = False, nl: bool = True, file: Any = None) -> None:
    """Print to standard output, to standard error, or to a file."""
    click.echo(inert(text), err=err, nl=nl, file=file)


def echo_json(value: object) -> None:
    """Print one JSON object in a line."""
    import msgspec

    echo(msgspec.json.encode(value).decode(errors="replace"))


def _inert(char: str) -> str:
    if char.isprintable() or char in _HARMLESS or unicodedata.category(char) not in _ACTIVE:
        return char
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
