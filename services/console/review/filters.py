"""Filters of incidents, and the cursor of a page. Pure."""

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
    """Each is None or empty if it does not filter. since, until: Unix seconds; the incident overlaps this time.

    incident: its own id, which cameras may share. verdicts: `not_found` is a false alarm by a second pass. reviewed: by
    the user.
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
        """Whether the incident passes all filters except `reviewed`."""
        return (
            entry.start < self.until
            and entry.last >= self.since
            and (not self.cameras or entry.camera in self.cameras)
            and (not self.rules or entry.rule in self.rules)
            and (not self.severities or entry.severity in self.severities)
            and (not self.verdicts or verdict_of(entry) in self.verdicts)
            and (not self.incident or entry.incident == self.incident)
            and (not self.state or entry.lasts == (self.state == "lasting"))
            and (self.alert is None or entry.report.alert == self.alert)
        )


EVER = Filters()


def verdict_of(entry: Entry) -> str:
    return "not_found" if entry.report.not_found else entry.verification


def names(text: str) -> frozenset[str]:
    """Split a list at its commas."""
    return frozenset(filter(None, (part.strip() for part in text.split(","))))


def among(text: str, choices: tuple[str, ...], what: str) -> frozenset[str]:
    """Split a list whose parts must be among `choices`. what: its name in the error. Raises Refused."""
    found = names(text)
    if strange := sorted(found - set(choices)):
        raise Refused(400, f"there is no {what} {strange[0][:64]!r}: take of {', '.join(choices)}")
    return found


def cursor(place: Place | None) -> str | None:
    return None if place is None else f"{place.start!r}-{place.id}"


def place(text: str) -> Place | None:
    """Parse a `cursor`. Raises Refused."""
    if not text:
        return None
    found = _CURSOR.fullmatch(text)
    if not found:
        raise Refused(400, "this cursor is none: give `next` of the page before as it is")
    return Place(float(found[1]), found[2])
