"""Times when cameras were offline, from ingest's status events. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import NamedTuple

from shared.contract.events import CameraStatus

# A camera that reconnects often sends many status events.
MOST_OF_A_CAMERA = 2000
MOST = 50_000


class Gap(NamedTuple):
    """since, until: Unix seconds; None: it lasts. reason: the latest, in words."""

    since: float
    until: float | None
    reason: str


class Status(NamedTuple):
    """A camera's status from `time` on, Unix seconds."""

    time: float
    offline: bool
    reason: str


class Statuses:
    """Status events of all cameras, recorded in any order. Bounded: the oldest are dropped first."""

    def __init__(self) -> None:
        self._of: dict[str, list[Status]] = {}
        self._count = 0

    def record(self, event: CameraStatus) -> None:
        """Record a status event; a repetition changes nothing."""
        status = Status(event.time.timestamp(), event.state == "offline", event.reason[:500])
        statuses = self._of.setdefault(event.camera, [])
        n = bisect.bisect_left(statuses, status)
        if statuses[n : n + 1] == [status]:
            return
        statuses.insert(n, status)
        self._count += 1
        if len(statuses) > MOST_OF_A_CAMERA:
            del statuses[0]
            self._count -= 1
        elif self._count > MOST:
            self._trim()

    def forget(self, before: float) -> None:
        """Drop events before a time in Unix seconds, except each camera's last one, which still holds."""
        for statuses in self._of.values():
            n_removed = max(0, min(bisect.bisect_left(statuses, (before,)), len(statuses) - 1))
            del statuses[:n_removed]
            self._count -= n_removed

    def cameras(self) -> list[str]:
        return list(self._of)

    def gaps(self, camera: str, since: float, until: float) -> list[Gap]:
        """Return the gaps that overlap the time from `since` to `until`, oldest first."""
        return [gap for gap in _gaps(self._of.get(camera, [])) if gap.since < until and (gap.until or until) > since]

    def _trim(self) -> None:
        """Drop a tenth: the oldest of the cameras with the most events; then the cameras that are longest silent.

        A tenth, as it takes a look at every camera.
        """
        excess = self._count - MOST * 9 // 10
        most = max(map(len, self._of.values()))
        while excess > 0 and most > 1:
            most = max(1, most * 3 // 4)
            for statuses in self._of.values():
                n_removed = max(0, min(len(statuses) - most, excess))
                del statuses[:n_removed]
                excess -= n_removed
        for camera in sorted(self._of, key=lambda camera: self._of[camera][-1].time)[: max(0, excess)]:
            del self._of[camera]
        self._count = sum(map(len, self._of.values()))


def _gaps(statuses: list[Status]) -> Iterator[Gap]:
    offline: Status | None = None
    reason = ""
    for status in statuses:
        if status.offline:
            offline, reason = offline or status, status.reason
        elif offline:
            yield Gap(offline.time, status.time, reason)
            offline = None
    if offline:
        yield Gap(offline.time, None, reason)
