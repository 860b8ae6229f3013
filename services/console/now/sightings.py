"""What is known of each camera: whether it delivers, what, and how much of that is looked at. Pure.

seen = Sightings(now)
seen.stored("lobby", size=240_000, at=now)
seen.cameras(now, wall, sees)              # those first that somebody should look at
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping

import msgspec

from services.console.now.rates import Flow
from shared.contract.events import CameraStatus, Quality, VideoStatus

# Segments come about once a second.
OVER_S = 10.0
# So many cameras are told of, and no more than this are known.
MOST_TOLD = 500
MOST = 20_000
# A camera of which nothing more is looked at than this share needs a look itself.
LITTLE = 0.5
# What can't be made good any more is told of for so long.
LOST_S = 3600.0


class CameraNow(msgspec.Struct, frozen=True, kw_only=True):
    """state: connecting, online, unreadable, offline or disabled; reason: why, since: when it was last said.

    segments, bytes: a second, as stored. left_out: share of its frames that was left out at first, of the last seconds.
    lost: segments of the last hour that were to be looked at again, and can't be any more; lost_because: why.
    """

    id: str
    state: str
    reason: str = ""
    since: dt.datetime | None = None
    segments: float = 0.0
    bytes: float = 0.0
    left_out: float = 0.0
    lost: int = 0
    lost_because: str = ""

    @property
    def rank(self) -> tuple[int, str]:
        """Those that somebody should look at first."""
        trouble = {"unreadable": 0, "offline": 1}.get(self.state, 2 if self.lost else 3)
        return (3 if trouble == 3 and self.left_out > LITTLE else 4 if trouble == 3 else trouble), self.id


class _Camera:
    def __init__(self, began: float) -> None:
        self.segments, self.bytes, self.wanted, self.looked = (Flow(began, OVER_S) for _ in range(4))
        self.status: CameraStatus | None = None
        self.video: VideoStatus | None = None
        self.lost: list[float] = []
        self.lost_because = ""

    def now(self, id: str, enabled: bool, at: float, wall: dt.datetime) -> CameraNow:
        state, reason, since = "connecting" if enabled else "disabled", "", None
        if enabled and self.status:
            state, since = self.status.state, self.status.time
            reason = self.status.reason if state == "offline" else ""
            if state == "online" and self.video and self.video.lasts(wall):
                state, reason, since = self.video.state, self.video.reason, self.video.since
        wanted = self.wanted.per_second(at)
        lost = sum(at - time <= LOST_S for time in self.lost)
        return CameraNow(
            id=id,
            state=state,
            reason=reason,
            since=since,
            segments=round(self.segments.per_second(at), 3),
            bytes=round(self.bytes.per_second(at)),
            left_out=round(max(0.0, 1 - self.looked.per_second(at) / wanted), 4) if wanted > 1e-6 else 0.0,
            lost=lost,
            lost_because=self.lost_because if lost else "",
        )


class Sightings:
    """See the module. `at`: seconds of a clock that does not step back."""

    def __init__(self, began: float) -> None:
        self.segments, self.bytes = Flow(began), Flow(began)
        self._began = began
        self._cameras: dict[str, _Camera] = {}

    def stored(self, camera: str, size: int, at: float) -> None:
        """A segment of so many bytes."""
        self.segments.add(at)
        self.bytes.add(at, size)
        if one := self._camera(camera):
            one.segments.add(at)
            one.bytes.add(at, size)

    def looked(self, camera: str, frames: int, quality: Quality | None, at: float) -> None:
        """Detections of so many frames."""
        if one := self._camera(camera):
            one.looked.add(at, frames)
            one.wanted.add(at, quality.frames_wanted(frames) if quality else frames)

    def lost(self, camera: str, because: str, at: float) -> None:
        """What was left out of a segment will not be looked at."""
        if one := self._camera(camera):
            one.lost = [time for time in one.lost if at - time <= LOST_S][-999:]
            one.lost.append(at)
            one.lost_because = because

    def said(self, status: CameraStatus | VideoStatus) -> None:
        """What is said of a camera; what is older than what is known changes nothing."""
        one = self._camera(status.camera)
        if one is None:
            return
        if isinstance(status, CameraStatus):
            if one.status is None or status.time >= one.status.time:
                one.status = status
        elif one.video is None or status.time >= one.video.time:
            one.video = status

    def forget(self, there: Iterable[str]) -> None:
        """Cameras that were removed. there: those that are not."""
        kept = set(there)
        for camera in self._cameras.keys() - kept:
            del self._cameras[camera]

    def cameras(
        self, enabled: Mapping[str, bool], at: float, wall: dt.datetime, sees: Callable[[str], bool]
    ) -> list[CameraNow]:
        """All those that `sees` lets through, by rank. enabled: each camera there is, and whether it is."""
        found = [
            (self._cameras.get(id) or _Camera(self._began)).now(id, on, at, wall)
            for id, on in enabled.items()
            if sees(id)
        ]
        return sorted(found, key=lambda camera: camera.rank)

    def _camera(self, id: str) -> _Camera | None:
        if id not in self._cameras and len(self._cameras) >= MOST:
            return None
        return self._cameras.setdefault(id, _Camera(self._began))
