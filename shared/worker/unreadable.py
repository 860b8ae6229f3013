"""Cameras whose segments can't be read, one after the other: what is buried of them, and what is said. Pure.

One such segment is an accident, and its dead letter is the evidence. A camera with a setting that nobody can decode
would fill DLQ with one a second. So of segments in a row, the first of each cause is buried, and the others are
counted; after some the camera is said to be unreadable, again and again while that lasts, and once it is over. A camera
that sends good and bad segments by turns begins a row with each bad one: there is a bound on its letters, too. The
number of cameras is bounded, since who may publish segments may invent names.

    cameras = UnreadableCameras(clock)
    cameras.failed("lobby", error)         # whether to bury the segment
    cameras.worked("lobby")
    for trouble in cameras.due(): ...      # to be said now
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import msgspec

from shared.runtime.errors import BadSegment, OverBudget

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_LONGEST = 500
# So many causes of one camera are told apart.
_MOST_CAUSES = 8
_REMEDY = (
    "set H.264 or H.265 in the camera, with a keyframe (I-frame) interval of 1 to 2 s, and turn intra refresh and "
    "smart codecs (H.264+, H.265+, Zipstream) off"
)

Cause = Literal["budget", "undecodable"]


class UnreadableTuning(msgspec.Struct, frozen=True, kw_only=True):
    """in_a_row: so many segments in a row are no accident. again_s: how often it is said again, in seconds. letters: of
    one camera, in `letters_s` seconds. cameras: maximum number that is followed. More push out those that failed
    longest ago, and get no letter while so many have had one.
    """

    in_a_row: int = 3
    again_s: float = 30.0
    letters: int = 8
    letters_s: float = 300.0
    cameras: int = 2000


class Trouble(msgspec.Struct, frozen=True):
    """What is said. since: when the first segment in a row failed, by the clock. segments: in a row so far."""

    camera: str
    state: Literal["unreadable", "readable"]
    cause: Cause
    reason: str
    since: float
    segments: int


class _Row(msgspec.Struct):
    """Failures in a row. said_at: None if it was not said yet. fresh: whether one came since."""

    since: float
    causes: set[str]
    segments: int = 0
    cause: Cause = "undecodable"
    reason: str = ""
    said_at: float | None = None
    fresh: bool = False


class UnreadableCameras:
    """clock: seconds, as `Trouble.since` shall have them."""

    def __init__(self, clock: Callable[[], float], tuning: UnreadableTuning | None = None) -> None:
        self._clock = clock
        self._tuning = tuning or UnreadableTuning()
        self._rows: dict[str, _Row] = {}
        self._letters: dict[str, list[float]] = {}
        self._over: list[Trouble] = []

    def failed(self, camera: str, error: BadSegment) -> bool:
        """A segment can't be read. Returns whether it is evidence, to be buried whole: others are like it otherwise."""
        row = self._rows.pop(camera) if camera in self._rows else _Row(self._clock(), set())
        self._rows[camera] = row
        if len(self._rows) > self._tuning.cameras:
            del self._rows[next(iter(self._rows))]
        # Reasons of one kind differ by their numbers; all that is refused for its cost is of one.
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
        """Whether the camera has had few letters of late; this one counts then."""
        now = self._clock()
        past = now - self._tuning.letters_s
        # In the order of each camera's last letter.
        while self._letters and not past < self._letters[first := next(iter(self._letters))][-1] <= now:
            del self._letters[first]
        recent = [t for t in self._letters.get(camera, ()) if past < t <= now]
        is_over = camera not in self._letters and len(self._letters) >= self._tuning.cameras
        if is_over or len(recent) >= self._tuning.letters:
            return False
        self._letters.pop(camera, None)
        self._letters[camera] = [*recent, now]
        return True

    def worked(self, camera: str) -> None:
        """A segment could be read."""
        row = self._rows.pop(camera, None)
        if row and row.said_at is not None:
            self._over.append(self._trouble(camera, row, "readable"))

    def due(self) -> list[Trouble]:
        """What is to be said now, each once."""
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
