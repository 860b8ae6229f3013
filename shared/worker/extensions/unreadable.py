"""Cameras with unreadable segments in a row: which segments are dead-lettered, and what is reported. Pure.

One such segment is an accident, and its dead letter is the evidence. A camera with an undecodable setting would fill
DLQ with one per second. So of segments in a row, the first of each cause is dead-lettered, and the others are counted.
After some segments the camera is reported as unreadable, repeatedly while that lasts, and as readable once it is over.
A camera that alternates between good and bad segments begins a row with each bad one, so its dead letters are bounded,
too. The number of cameras is bounded, since a publisher of segments may invent names.

    cameras = UnreadableCameras(clock)
    cameras.record_failure("lobby", error) # whether to dead-letter the segment
    cameras.record_success("lobby")
    for trouble in cameras.due(): ...      # to be published now
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import msgspec

from shared.runtime.errors import BadSegment, OverBudget

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_LONGEST = 500
# Maximum number of causes per camera that are distinguished.
_MOST_CAUSES = 8
_REMEDY = (
    "set H.264 or H.265 in the camera, with a keyframe (I-frame) interval of 1 to 2 s, and turn intra refresh and "
    "smart codecs (H.264+, H.265+, Zipstream) off"
)

Cause = Literal["budget", "undecodable"]


class UnreadableTuning(msgspec.Struct, frozen=True, kw_only=True):
    """in_a_row: that many segments in a row are no accident. again_s: seconds between reports. letters: maximum dead
    letters per camera in `letters_s` seconds. cameras: maximum number of tracked cameras. More evict those with the
    oldest failures, and get no dead letter while that many have had one.
    """

    in_a_row: int = 3
    again_s: float = 30.0
    letters: int = 8
    letters_s: float = 300.0
    cameras: int = 2000


class Trouble(msgspec.Struct, frozen=True):
    """A report. since: when the first segment in a row failed, by the clock. segments: in a row so far."""

    camera: str
    state: Literal["unreadable", "readable"]
    cause: Cause
    reason: str
    since: float
    segments: int


class _Row(msgspec.Struct):
    """Failures in a row. said_at: time of the last report, or None. fresh: whether one failed since."""

    since: float
    causes: set[str]
    segments: int = 0
    cause: Cause = "undecodable"
    reason: str = ""
    said_at: float | None = None
    fresh: bool = False


class UnreadableCameras:
    """clock: seconds, for `Trouble.since`."""

    def __init__(self, clock: Callable[[], float], tuning: UnreadableTuning | None = None) -> None:
        self._clock = clock
        self._tuning = tuning or UnreadableTuning()
        self._rows: dict[str, _Row] = {}
        self._dead_letter_times: dict[str, list[float]] = {}
        self._over: list[Trouble] = []

    def record_failure(self, camera: str, error: BadSegment) -> bool:
        """Record an unreadable segment. Return whether it is new evidence, to be dead-lettered whole."""
        row = self._rows.pop(camera) if camera in self._rows else _Row(self._clock(), set())
        self._rows[camera] = row
        if len(self._rows) > self._tuning.cameras:
            del self._rows[next(iter(self._rows))]
        # Reasons of one kind differ only in their numbers; all refusals for cost are one kind.
        cause = "" if isinstance(error, OverBudget) else _NUMBER.sub("#", str(error))
        is_new = cause not in row.causes and len(row.causes) < _MOST_CAUSES
        if is_new:
            row.causes.add(cause)
            is_new = self._may_dead_letter(camera)
        row.segments += 1
        row.fresh = True
        row.cause = "budget" if isinstance(error, OverBudget) else "undecodable"
        reason = str(error)[:_LONGEST]
        row.reason = reason if isinstance(error, OverBudget) else f"{reason}: {_REMEDY}"
        return is_new

    def _may_dead_letter(self, camera: str) -> bool:
        """Whether the camera has had few dead letters recently; if so, count this one."""
        now = self._clock()
        past = now - self._tuning.letters_s
        # In the order of each camera's last dead letter.
        while (
            self._dead_letter_times
            and not past < self._dead_letter_times[first := next(iter(self._dead_letter_times))][-1] <= now
        ):
            del self._dead_letter_times[first]
        recent = [t for t in self._dead_letter_times.get(camera, ()) if past < t <= now]
        is_over = camera not in self._dead_letter_times and len(self._dead_letter_times) >= self._tuning.cameras
        if is_over or len(recent) >= self._tuning.letters:
            return False
        self._dead_letter_times.pop(camera, None)
        self._dead_letter_times[camera] = [*recent, now]
        return True

    def record_success(self, camera: str) -> None:
        """Record a readable segment."""
        row = self._rows.pop(camera, None)
        if row and row.said_at is not None:
            self._over.append(self._trouble(camera, row, "readable"))

    def due(self) -> list[Trouble]:
        """Return the reports to publish now, each once."""
        found, self._over = self._over, []
        now = self._clock()
        for camera, row in self._rows.items():
            waits = row.said_at is not None and now - row.said_at < self._tuning.again_s
            if row.fresh and row.segments >= self._tuning.in_a_row and not waits:
                row.said_at, row.fresh = now, False
                found.append(self._trouble(camera, row, "unreadable"))
        return found

    def _trouble(self, camera: str, row: _Row, state: Literal["unreadable", "readable"]) -> Trouble:
        reason = row.reason if state == "unreadable" else "its segments can be read again"
        return Trouble(camera, state, row.cause, reason, row.since, row.segments)
