"""A site file as people give it to a browser: its site, or its mistakes. Pure.

It reads no file, and no variable has a value: a web request must get neither those of the server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice, repeat
from typing import Any, NamedTuple

import msgspec
import yaml

from shared.contract.reading.handwritten import items
from shared.contract.reading.mistakes import MOST as MOST_MISTAKES
from shared.contract.reading.mistakes import Mistake, Mistakes, join
from shared.runtime.redact import split_credentials
from shared.site import format as site_format
from shared.site import references
from shared.site.format import REFERENCE, Site
from shared.site.references import Login

WHERE = "the site file"
# The sections that only `tidegate apply` changes, as sentences name them.
ELSEWHERE = {"readers": "readers are", "webhook": "the webhook is"}
# Characters of a file: thousands of cameras. Parsing that many takes 8 s of a core.
MOST = 1024 * 1024
_FILES = ("password_file", "rules_file")
_LINE_END = re.compile(r"\r\n?|\n")
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


class Wanted(NamedTuple):
    """site, sections: without those of ELSEWHERE. elsewhere: the sections of these that the file has."""

    site: Site
    sections: frozenset[str]
    logins: dict[str, Login]
    elsewhere: tuple[str, ...]


class Unreadable(Mistakes):
    """The text is no YAML and no JSON. line: where, from 1; None if unknown."""

    def __init__(self, text: str, line: int | None) -> None:
        super().__init__(WHERE, [Mistake("", text)])
        self.line = line


def read(text: str) -> Wanted:
    """Return what a file declares. Raises Mistakes, none of which repeats a password."""
    value, doubled = _parsed(text)
    if not isinstance(value, dict):
        raise Mistakes(WHERE, [Mistake("", "it is no site file: it has no sections, such as 'cameras'")])
    if refused := list(islice(chain(_refused(value), _no_cameras(value)), MOST_MISTAKES)):
        raise Mistakes(WHERE, refused)
    site = site_format.site_of(value, WHERE, doubled)
    logins = {id: references.resolve(camera, {}) for id, camera in site.cameras.items()}
    own = msgspec.structs.replace(site, readers={}, webhook=None)
    elsewhere = tuple(section for section in ELSEWHERE if getattr(site, section))
    return Wanted(own, frozenset(value) - {*ELSEWHERE, "defaults"}, logins, elsewhere)


def _parsed(text: str) -> tuple[Any, list[Mistake]]:
    try:
        return site_format.parse(text.encode(errors="replace"), WHERE)
    except Mistakes as e:
        cause = e.__cause__
        if cause is None:
            raise
        raise _unreadable(cause, text) from None


def _unreadable(cause: BaseException, text: str) -> Unreadable:
    """Return the place and the reason, without a word of the text: it may be a password."""
    mark = getattr(cause, "problem_mark", None)
    reason = "it is neither YAML nor JSON"
    if isinstance(cause, yaml.scanner.ScannerError | yaml.parser.ParserError):
        reason = f"{reason}: {cause.problem}"
    elif str(cause).startswith("aliases"):
        reason = str(cause)
    # YAML ends lines at more characters than a browser's text area does.
    return Unreadable(reason, len(_LINE_END.findall(text[: mark.index])) + 1 if mark else None)


def _refused(value: Any) -> Iterator[Mistake]:
    """Yield a mistake for each literal password and each reference to a file, wherever it is."""
    left = [_named("", value)]
    while left:
        at, name, item = next(left[-1], ("", None, None))
        if name is None:
            left.pop()
        elif name in _FILES:
            yield Mistake(at, "the console reads no files: write the content here, or use 'tidegate apply'")
        elif name == "password" and item is not None and not _is_reference(item):
            yield Mistake(at, "give a variable, such as ${LOBBY_PASSWORD}: no password here")
        elif isinstance(item, str) and _has_password(item):
            yield Mistake(at, "it has a password: give 'user' and 'password', or a variable for all of it")
        elif isinstance(item, tuple | set | bytes):
            yield Mistake(at, "a text, a number, a list or an object is expected")
        elif isinstance(item, dict | list):
            left.append(_named(at, item))


def _no_cameras(value: dict[Any, Any]) -> Iterator[Mistake]:
    """Yield a mistake for each camera that is no object: the usual one repeats it, and it may be a password."""
    cameras = value.get("cameras")
    for id, camera in cameras.items() if isinstance(cameras, dict) else ():
        if not isinstance(camera, dict):
            yield Mistake(join("cameras", id), "an object is expected, with 'url'")


def _named(path: str, part: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield (path, lower-case name, value) of each item; a list's have no names."""
    names: Iterable[str] = (str(key).lower() for key in part) if isinstance(part, dict) else repeat("")
    return ((at, name, item) for name, (at, item) in zip(names, items(path, part), strict=False))


def _is_reference(item: Any) -> bool:
    return isinstance(item, str) and re.search(REFERENCE, item) is not None


def _has_password(text: str) -> bool:
    if "://" not in text:
        return False
    try:
        secret = split_credentials(_VARIABLE.sub("", text))[1]
    except ValueError:
        return "@" in text
    return bool((secret or "").partition(":")[2])
