"""Which incidents somebody asks for, and where a page of them begins. Pure."""

from __future__ import annotations

import math
import re
from typing import get_args

import msgspec

from services.console.review.index import Entry, Place
from services.console.web.refused import Refused
from shared.contract.events import Severity, Verification

_CURSOR = re.compile(r"(-?\d{1,12}(?:\.\d{1,9})?)-([0-9a-f]{32})", re.ASCII)
STATES = ("lasting", "ended")
SEVERITIES: tuple[str, ...] = get_args(Severity)
VERDICTS: tuple[str, ...] = (*get_args(Verification), "not_found")


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Each is None, or empty, where it does not matter. since, until: Unix seconds; it happens in between somewhere.

    incident: its own id, which more than one camera may have. verdicts: `not_found` is a false alarm by a second look.
    reviewed: by whoever asks.
    """

    cameras: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()
    severities: frozenset[str] = frozenset()
    verdicts: frozenset[str] = frozenset()
    incident: str = ""
    state: str = ""
    alert: bool | None = None
    reviewed: bool | None = None
    since: float = -math.inf
    until: float = math.inf

    def fits(self, entry: Entry) -> bool:
        """Whether it is one of those, reviewed or not."""
        return (
            entry.start < self.until
            and entry.last >= self.since
            and (not self.cameras or entry.camera in self.cameras)
            and (not self.rules or entry.rule in self.rules)
            and (not self.severities or entry.severity in self.severities)
            and (not self.verdicts or verdict_of(entry) in self.verdicts)
            and (not self.incident or entry.incident == self.incident)
            and (not self.state or entry.lasts == (self.state == "lasting"))
            and (self.alert is None or entry.told.alert == self.alert)
        )


EVER = Filters()


def verdict_of(entry: Entry) -> str:
    return "not_found" if entry.told.not_found else entry.verification


def names(text: str) -> frozenset[str]:
    """What is between commas."""
    return frozenset(filter(None, (part.strip() for part in text.split(","))))


def among(text: str, known: tuple[str, ...], what: str) -> frozenset[str]:
    """The same, each of which must be known. what: how the error calls it. Raises Refused."""
    found = names(text)
    if strange := sorted(found - set(known)):
        raise Refused(400, f"there is no {what} {strange[0][:64]!r}: take of {', '.join(known)}")
    return found


def cursor(place: Place | None) -> str | None:
    return None if place is None else f"{place.start!r}-{place.id}"


def place(text: str) -> Place | None:
    """What `cursor` made. Raises Refused."""
    if not text:
        return None
    found = _CURSOR.fullmatch(text)
    if not found:
        raise Refused(400, "this cursor is none: give `next` of the page before as it is")
    return Place(float(found[1]), found[2])
