"""Times in users' notation."""

from __future__ import annotations

import datetime as dt

from shared.runtime.times import instant, now_here

__all__ = ["clock", "instant", "length", "now_here"]


def clock(time: dt.datetime, now: dt.datetime) -> str:
    """Return `13:05:00` in `now`'s zone, with the date if it is not today's."""
    local = time.astimezone(now.tzinfo)
    return f"{local:%H:%M:%S}" if local.date() == now.date() else f"{local:%Y-%m-%d %H:%M:%S}"


def length(seconds: float) -> str:
    """Return `4 s`, `1:05`, `1:02:05`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole else f"{seconds:.1f} s"
    minutes, s = divmod(whole, 60)
    return f"{minutes}:{s:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{s:02}"
