"""Print text of cameras and models. All output of Tidegate goes through `inert`: by `echo`, and by the `Screen` of
rich's tables and colours. Make text inert before a table lays it out, as escapes make it longer.
"""

from __future__ import annotations

import re
from typing import Any

import click

from shared.runtime.plain import inert

_BREAK = re.compile(r"[\n\t\v\f\r\x1c-\x1e\x85\u2028\u2029]")
_SPACES = re.compile(r"\s+")


def one_line(text: str) -> str:
    """Return the text on one line: breaks of lines and of fields become spaces."""
    return inert(_SPACES.sub(lambda found: " " if _BREAK.search(found[0]) else found[0], text).strip())


def echo(text: str, *, err: bool = False, nl: bool = True, file: Any = None) -> None:
    """Print to standard output, to standard error, or to a file."""
    click.echo(inert(text), err=err, nl=nl, file=file)


def echo_json(value: object) -> None:
    """Print one JSON object on a line."""
    import msgspec

    echo(msgspec.json.encode(value).decode(errors="replace"))
