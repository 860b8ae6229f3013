"""Times in users' notation. Pure."""

from __future__ import annotations

import datetime as dt
import re

from shared.runtime.errors import SettingError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGO = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?")


def instant(option: str, text: str, now: dt.datetime) -> dt.datetime:
    """Return the time that `text` means: `1h30m` ago, `13:05` of today by this machine's clock, or a date with a time.

    option: its option, such as `--since`. Raises SettingError.
    """
    try:
        if _AGO.fullmatch(text):
            parts = re.split(r"([smhd])", text)
            lengths = zip(parts[::2], parts[1::2], strict=False)  # nothing comes after the last unit
            return now - sum((dt.timedelta(**{_UNITS[unit]: float(n)}) for n, unit in lengths), dt.timedelta())
        if _CLOCK.fullmatch(text):
            time = dt.time.fromisoformat(text.zfill(len("13:05:00") if text.count(":") == 2 else len("13:05")))
            return dt.datetime.combine(now.astimezone().date(), time).astimezone()
        return dt.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as e:
        raise SettingError(
            f"{option} {text!r} is no time: say how long ago (90s, 15m, 1h30m, 2d), a time of today (13:05), or a date "
            "and time (2026-11-24T13:05:00Z; without a zone, this machine's)"
        ) from e


def now_here() -> dt.datetime:
    """Return the present time with this machine's zone."""
    return dt.datetime.now().astimezone()
