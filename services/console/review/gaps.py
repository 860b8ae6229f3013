"""When cameras were offline, out of what ingest says of them. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import NamedTuple

from shared.contract.events import CameraStatus

# A camera that comes and goes says so again and again.
MOST_OF_A_CAMERA = 2000
MOST = 50_000


class Gap(NamedTuple):
    """since, until: Unix seconds; None: it lasts. reason: the last one given, in words."""

    since: float
    until: float | None
    reason: str


class Status(NamedTuple):
    """time: Unix seconds."""

    time: float
    offline: bool
    reason: str


class Statuses:
    """What was said of all cameras, in whatever order it is heard. Within bounds: the oldest go first."""

    def __init__(self) -> None:
        self._of: dict[str, list[Status]] = {}
        self._count = 0

    def tell(self, event: CameraStatus) -> None:
        status = Status(event.time.timestamp(), event.state == "offline", event.reason[:500])
        known = self._of.setdefault(event.camera, [])
        n = bisect.bisect_left(known, status)
        if known[n : n + 1] == [status]:
            return
        known.insert(n, status)
        self._count += 1
        if len(known) > MOST_OF_A_CAMERA:
            del known[0]
            self._count -= 1
        elif self._count > MOST:
            self._forget_oldest()

    def forget(self, before: float) -> None:
        """What was said before a time in Unix seconds, but for the last of each camera: that still holds."""
        for known in self._of.values():
            gone = max(0, min(bisect.bisect_left(known, (before,)), len(known) - 1))
            del known[:gone]
            self._count -= gone

    def cameras(self) -> list[str]:
        return list(self._of)

    def gaps(self, camera: str, since: float, until: float) -> list[Gap]:
        """Those that touch the time from `since` to `until`, oldest first."""
        return [gap for gap in _gaps(self._of.get(camera, [])) if gap.since < until and (gap.until or until) > since]

    def _forget_oldest(self) -> None:
        """Of whoever has the most to tell: nobody else's are forgotten for it."""
        camera = max(self._of, key=lambda camera: len(self._of[camera]))
        del self._of[camera][0]
        self._count -= 1
        if not self._of[camera]:
            del self._of[camera]


def _gaps(statuses: list[Status]) -> Iterator[Gap]:
    begun: Status | None = None
    reason = ""
    for status in statuses:
        if status.offline:
            begun, reason = begun or status, status.reason
        elif begun:
            yield Gap(begun.time, status.time, reason)
            begun = None
    if begun:
        yield Gap(begun.time, None, reason)
