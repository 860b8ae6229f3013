"""Which files of a camera go: those that are old enough, and the oldest of what is too much. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import NamedTuple

from shared.recordings.policy import Kept

GB = 1_000_000_000


class Aged(NamedTuple):
    """A file of a camera. incident: whether an incident is in it, or beside it."""

    key: str
    end: dt.datetime
    size: int
    incident: bool


def due(files: Iterable[Aged], kept: Kept, now: dt.datetime) -> list[Aged]:
    """Those that go now, the oldest first. Where a camera has too much, what shows incidents goes last."""
    if kept.hold:
        return []
    row = sorted(files, key=lambda file: (file.end, file.key))
    old = [file for file in row if now - file.end > dt.timedelta(days=_days(file, kept))]
    gone = set(old)
    left = [file for file in row if file not in gone]
    over = sum(file.size for file in left) - kept.most_gb * GB if kept.most_gb else 0.0
    for file in sorted(left, key=lambda file: file.incident):
        if over <= 0:
            break
        over -= file.size
        gone.add(file)
    return [file for file in row if file in gone]


def goes(file: Aged, kept: Kept) -> dt.datetime | None:
    """When it goes by its age; None: nothing does."""
    return None if kept.hold else file.end + dt.timedelta(days=_days(file, kept))


def _days(file: Aged, kept: Kept) -> float:
    return max(kept.keep_days, kept.incidents_days) if file.incident else kept.keep_days
