"""Times in a request, and the steps between them. Pure."""

from __future__ import annotations

import datetime as dt
import math
from typing import NamedTuple

from services.console.web.refused import Refused
from services.console.web.times import instant
from shared.contract.reading.bounds import EARLIEST, LATEST
from shared.runtime.settings import shown

# The default period.
USUAL = dt.timedelta(hours=1)
USUAL_POINTS = 300
MOST_POINTS = 2000
LEAST_STEP_S = 5.0
# At most a year.
LONGEST = dt.timedelta(days=366)


class Span(NamedTuple):
    """A period of points. step_s: seconds of each."""

    since: dt.datetime
    until: dt.datetime
    step_s: float


def bounds(
    since: str, until: str, now: dt.datetime, longest: dt.timedelta = LONGEST
) -> tuple[dt.datetime, dt.datetime]:
    """Parse a period; the default is the last hour. Raises Refused."""
    end = instant(until, "until") if until else now
    begin = instant(since, "since") if since else end - USUAL
    if not EARLIEST <= begin < LATEST:
        raise Refused(400, f"until={shown(until)} is too early: give a time of now")
    if begin >= end:
        raise Refused(400, f"since={shown(since)} is not before {_until(until)}: give an earlier one")
    if end - begin > longest:
        raise Refused(400, f"since and until are more than {longest.days} days apart: ask for less")
    return begin, end


def span(since: str, until: str, step: str, now: dt.datetime) -> Span:
    """Parse a period and its step. Raises Refused."""
    begin, end = bounds(since, until, now)
    seconds = (end - begin).total_seconds()
    if not step:
        return Span(begin, end, max(LEAST_STEP_S, _round(seconds / USUAL_POINTS)))
    try:
        step_s = float(step)
    except ValueError:
        step_s = math.nan
    if not math.isfinite(step_s) or step_s <= 0:
        raise Refused(400, f"step={shown(step)} is no length of time: give seconds, such as 60")
    if step_s < LEAST_STEP_S:
        raise Refused(400, f"step={shown(step)} is too short: nothing is kept by less than {LEAST_STEP_S:g} seconds")
    if seconds / step_s > MOST_POINTS:
        least = math.ceil(seconds / MOST_POINTS)
        raise Refused(
            400, f"that is more than {MOST_POINTS} points: give a step of {least} seconds or more, or ask for less"
        )
    return Span(begin, end, step_s)


def _until(until: str) -> str:
    return f"until={shown(until)}" if until else "now, which until is where it is not given"


def _round(step_s: float) -> float:
    """Round up to a familiar step."""
    for nice in (5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 43_200, 86_400):
        if step_s <= nice:
            return float(nice)
    return step_s
