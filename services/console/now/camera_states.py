"""The state of each camera: whether it delivers, what, and the share that is analysed. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

import msgspec

from services.console.cameras.state_tracker import CameraReport
from services.console.now.rates import Flow
from shared.contract.events import Quality

# Segments come about once a second.
OVER_S = 10.0
# Cameras in one answer, and cameras in memory.
MOST_LISTED = 500
MOST = 20_000
# A camera with a larger deferred share ranks higher.
LITTLE = 0.5
# Segments that can't be backfilled are reported for this long.
LOST_S = 3600.0


class CameraNow(msgspec.Struct, frozen=True, kw_only=True):
    """state: connecting, online, unreadable, offline or disabled; reason: why, since: time of its last report.

    segments, bytes: a second, as stored. deferred_share: of its frames, of the last seconds. lost: deferred
    segments of the last hour that can't be backfilled; lost_because: why.
    """

    id: str
    state: str
    reason: str = ""
    since: dt.datetime | None = None
    segments: float = 0.0
    bytes: float = 0.0
    deferred_share: float = msgspec.field(default=0.0, name="left_out")
    lost: int = 0
    lost_because: str = ""

    @property
    def rank(self) -> tuple[int, str]:
        """The sort key: cameras with trouble first."""
        trouble = {"unreadable": 0, "offline": 1}.get(self.state, 2 if self.lost else 3)
        return (3 if trouble == 3 and self.deferred_share > LITTLE else 4 if trouble == 3 else trouble), self.id


class _Camera:
    def __init__(self, began: float) -> None:
        self.segments, self.bytes, self.wanted, self.analysed = (Flow(began, OVER_S) for _ in range(4))
        self.lost: list[float] = []
        self.lost_because = ""

    def now(self, id: str, report: CameraReport, at: float) -> CameraNow:
        wanted = self.wanted.per_second(at)
        lost = sum(at - time <= LOST_S for time in self.lost)
        return CameraNow(
            id=id,
            state="disabled" if report.state == "unusable" else report.state,
            reason=report.reason if report.state in ("offline", "unreadable") else "",
            since=report.since,
            segments=round(self.segments.per_second(at), 3),
            bytes=round(self.bytes.per_second(at)),
            deferred_share=round(max(0.0, 1 - self.analysed.per_second(at) / wanted), 4) if wanted > 1e-6 else 0.0,
            lost=lost,
            lost_because=self.lost_because if lost else "",
        )


class CameraStates:
    """See the module. `at`: seconds of a monotonic clock."""

    def __init__(self, began: float) -> None:
        self.segments, self.bytes = Flow(began), Flow(began)
        self._began = began
        self._cameras: dict[str, _Camera] = {}

    def add_segment(self, camera: str, size: int, at: float) -> None:
        """Record a stored segment of `size` bytes."""
        self.segments.add(at)
        self.bytes.add(at, size)
        if one := self._camera(camera):
            one.segments.add(at)
            one.bytes.add(at, size)

    def add_detections(self, camera: str, frames: int, quality: Quality | None, at: float) -> None:
        """Record detections of `frames` frames."""
        if one := self._camera(camera):
            one.analysed.add(at, frames)
            one.wanted.add(at, quality.frames_wanted(frames) if quality else frames)

    def add_lost(self, camera: str, reason: str, at: float) -> None:
        """Record a segment whose deferred frames can't be backfilled."""
        if one := self._camera(camera):
            one.lost = [time for time in one.lost if at - time <= LOST_S][-999:]
            one.lost.append(at)
            one.lost_because = reason

    def forget_removed(self, existing: Iterable[str]) -> None:
        """Forget removed cameras. existing: all others."""
        current = set(existing)
        for camera in self._cameras.keys() - current:
            del self._cameras[camera]

    def cameras(self, reports: Mapping[str, CameraReport], at: float) -> list[CameraNow]:
        """Return these cameras, by rank."""
        found = [(self._cameras.get(id) or _Camera(self._began)).now(id, report, at) for id, report in reports.items()]
        return sorted(found, key=lambda camera: camera.rank)

    def _camera(self, id: str) -> _Camera | None:
        if id not in self._cameras and len(self._cameras) >= MOST:
            return None
        return self._cameras.setdefault(id, _Camera(self._began))
