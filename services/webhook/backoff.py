"""How long to wait for the next try. Pure."""

from __future__ import annotations

import datetime as dt
import random
from email.utils import parsedate_to_datetime

FIRST_S, LONGEST_S = 1.0, 300.0
# An endpoint may ask for more, up to this.
MOST_ASKED_S = 600.0


def delay(tries: int, asked_s: float | None = None, *, longest_s: float = LONGEST_S) -> float:
    """Seconds after so many tries, from 1 on: doubling, spread so that what failed together does not return together.

    asked_s: what the endpoint asks for, and gets at least.
    """
    doubled = min(longest_s, FIRST_S * 2.0 ** min(tries - 1, 30)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
    return max(doubled, allowed(asked_s))


def allowed(asked_s: float | None) -> float:
    """What an endpoint gets of the seconds that it asks for."""
    return min(MOST_ASKED_S, asked_s or 0.0)


def retry_after(value: str, now: float) -> float | None:
    """Seconds that a Retry-After header asks for, which gives them or a date (RFC 9110, 10.2.3); None for nonsense.

    now: wall clock, seconds.
    """
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
        return max(0.0, (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None
