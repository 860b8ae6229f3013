"""Counts gaps and duplicates of a camera's stored video. Pure.

Example:
    ledger = Ledger()
    ledger.segment(Piece("lobby", "k3f9", 0, start=100.0, end=101.0, seq=1))
    ledger.event(1)
    ledger.account(["lobby"])              # Account(missing_s=0.0, doubled_s=0.0, repeated=0, ...)
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Wall clocks of two connections to a camera differ by at most this, and segments of one by less.
TOLERATED_S = 0.5


class Piece(NamedTuple):
    """A stored segment. start, end: of its video, Unix seconds. seq: in MEDIA.

    dated: whether its times are right: not with a stepped clock.
    """

    camera: str
    epoch: str
    n: int
    start: float
    end: float
    seq: int
    dated: bool = True

    @property
    def id(self) -> str:
        """Return the segment's id: `Segment.message_id`."""
        return f"{self.camera}/{self.epoch}/{self.n}"


class Account(NamedTuple):
    """missing_s: seconds of video without a segment, over all cameras. doubled_s: seconds that two connections have,
    without each one's last segment: the next connection begins within it.

    longest_s: the longest gap. skipped: segments that are not stored, by gaps in their numbers. repeated: segments that
    are stored twice.
    """

    missing_s: float = 0.0
    longest_s: float = 0.0
    doubled_s: float = 0.0
    skipped: int = 0
    repeated: int = 0


class Ledger:
    """segments: by sequence. events: count for each segment, by its sequence. followed: segments with tracks. begun,
    ended, alerts: counts of starts, ends and alerts for each incident, by its id. deferred: ids of events with deferred
    frames. revised: count of revisions for each event, by its id, including those that announce that there is none.
    dated: whether the cameras' clock is right.
    """

    def __init__(self) -> None:
        self.segments: dict[int, Piece] = {}
        self.events: Counter[int] = Counter()
        self.begun: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.alerts: Counter[str] = Counter()
        self.followed: set[int] = set()
        self.deferred: set[str] = set()
        self.revised: Counter[str] = Counter()
        self.dated = True
        self._of: dict[str, list[Piece]] = {}

    def segment(self, piece: Piece) -> None:
        """Record a stored segment. Call it in the order of their sequences."""
        piece = piece._replace(dated=self.dated)
        self.segments[piece.seq] = piece
        self._of.setdefault(piece.camera, []).append(piece)

    def event(self, seq: int) -> None:
        """Record a stored event of the segment with that sequence."""
        self.events[seq] += 1

    def revision(self, first: str) -> None:
        """Record a stored revision of the event with that id, or why there is none."""
        self.revised[first] += 1

    def incident(self, id: str, state: str) -> None:
        """Record a stored event about an incident: its start, an update, or its end."""
        if state != "update":
            (self.begun if state == "start" else self.ended)[id] += 1

    def alert(self, id: str) -> None:
        """Record a stored alert about an incident."""
        self.alerts[id] += 1

    @property
    def twice(self) -> int:
        """Return how many segments have more than one event."""
        return sum(1 for n in self.events.values() if n > 1)

    @property
    def unrevised(self) -> int:
        """Return how many deferred events have neither a revision nor the reason for its absence."""
        return len(self.deferred - self.revised.keys())

    @property
    def revised_twice(self) -> int:
        """Return how many events have more than one revision."""
        return sum(1 for n in self.revised.values() if n > 1)

    @property
    def unalerted(self) -> int:
        """Return how many incidents have no alert, and alerts no incident."""
        return len(self.begun.keys() ^ self.alerts.keys())

    @property
    def repeated_incidents(self) -> int:
        """Return how many incidents have begun, ended or been alerted about more than once."""
        return len({id for counts in (self.begun, self.ended, self.alerts) for id, n in counts.items() if n > 1})

    def newest(self, camera: str) -> float:
        """Return when the camera's newest stored video ends; 0 without any."""
        return max((p.end for p in self._of.get(camera, ())[-100:] if p.dated), default=0.0)

    def newest_seen(self, camera: str) -> float:
        """Return when the newest video with an event ends."""
        return next((p.end for p in reversed(self._of.get(camera, [])) if p.dated and p.seq in self.events), 0.0)

    def newest_followed(self, camera: str) -> float:
        """Return when the newest video with tracks ends."""
        return next((p.end for p in reversed(self._of.get(camera, [])) if p.dated and p.seq in self.followed), 0.0)

    def account(self, cameras: Iterable[str], since: float = 0.0, until: float = math.inf) -> Account:
        """Account for the video between `since` and `until`, in Unix seconds, as far as it is stored."""
        parts = [of_camera(self._of.get(camera, []), since, until) for camera in cameras]
        return Account(
            missing_s=sum(p.missing_s for p in parts),
            longest_s=max((p.longest_s for p in parts), default=0.0),
            doubled_s=sum(p.doubled_s for p in parts),
            skipped=sum(p.skipped for p in parts),
            repeated=sum(p.repeated for p in parts),
        )


def of_camera(pieces: Sequence[Piece], since: float = 0.0, until: float = math.inf) -> Account:
    """Account for one camera's segments, in the order of storage. Gaps count that end between these times."""
    once = list({(p.epoch, p.n): p for p in pieces}.values())
    gaps = []
    ordered = sorted((p for p in once if p.dated), key=lambda p: p.start)
    reached = ordered[0].start if ordered else 0.0
    for piece in ordered:
        if piece.end > since and piece.start <= until and piece.start - reached > TOLERATED_S:
            gaps.append(piece.start - reached)
        reached = max(reached, piece.end)
    return Account(
        missing_s=sum(gaps),
        longest_s=max(gaps, default=0.0),
        doubled_s=_doubled(ordered, since, until),
        skipped=_skipped(once),
        repeated=len(pieces) - len(once),
    )


def _doubled(ordered: Sequence[Piece], since: float, until: float) -> float:
    last = {p.epoch: p.n for p in sorted(ordered, key=lambda p: p.n)}
    reached: dict[str, float] = {}
    doubled: defaultdict[str, float] = defaultdict(float)
    for piece in ordered:
        others = max((end for epoch, end in reached.items() if epoch != piece.epoch), default=0.0)
        if piece.end > since and piece.start <= until:
            doubled[piece.epoch] += max(0.0, min(others, piece.end) - piece.start)
        if piece.n < last[piece.epoch]:
            reached[piece.epoch] = max(reached.get(piece.epoch, 0.0), piece.end)
    return sum(seconds for seconds in doubled.values() if seconds > TOLERATED_S)


def _skipped(once: Sequence[Piece]) -> int:
    """Return how many numbers are missing before the last of each connection."""
    last: Counter[str] = Counter()
    for piece in once:
        last[piece.epoch] = max(last[piece.epoch], piece.n + 1)
    return sum(last.values()) - len(once)
