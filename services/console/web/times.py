"""Times in requests."""

from __future__ import annotations

import datetime as dt

from services.console.web.refused import Refused
from shared.contract.reading.bounds import EARLIEST, LATEST, in_time


def instant(text: str, what: str) -> dt.datetime:
    """Parse a time of RFC 3339 with its zone, into UTC. what: the parameter. Raises Refused."""
    try:
        # A plus sign that was not encoded arrives as a space.
        found = dt.datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise Refused(400, f"{what} is no time: give one such as 2026-11-24T13:05:00Z") from None
    if found.tzinfo is None:
        raise Refused(400, f"{what} has no time zone: give one such as 2026-11-24T13:05:00Z")
    if not in_time(found):
        raise Refused(400, f"{what} is not between {EARLIEST:%Y} and {LATEST:%Y}")
    return found.astimezone(dt.UTC)
