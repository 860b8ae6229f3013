"""Counts what a camera's stored video lacks, and what of it is there twice. Pure.

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

# Wall clocks of two connections to a camera differ by as much, and segments of one by less.
TOLERATED_S = 0.5


class Piece(NamedTuple):
    """A stored segment. start, end: of its video, Unix seconds. seq: in MEDIA.

    dated: whether its times are right: by a clock that was stepped they are not.
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
        """As segments are called: `Segment.message_id`."""
        return f"{self.camera}/{self.epoch}/{self.n}"


class Account(NamedTuple):
    """missing_s: seconds of video that no segment has, over all cameras. doubled_s: seconds that two connections have,
    but for each one's last segment: who takes a camera over begins within it.

    longest_s: the longest gap. skipped: segments that were cut and are not stored, by their numbers. repeated: segments
    that are stored twice.
    """

    missing_s: float = 0.0
    longest_s: float = 0.0
    doubled_s: float = 0.0
    skipped: int = 0
    repeated: int = 0


class Ledger:
    """segments: by sequence. events: how many each segment has, by its sequence. followed: segments in which objects
    were followed. begun, ended, alerts: how many starts, ends and alerts each incident has, by its id. deferred: ids of
    events of which less was looked at than is wanted. revised: how many revisions each event has, by its id, those
    included that say why there is none. dated: whether the clock is right by which is filmed.
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
        """A segment is stored. Call it in the order of their sequences."""
        piece = piece._replace(dated=self.dated)
        self.segments[piece.seq] = piece
        self._of.setdefault(piece.camera, []).append(piece)

    def event(self, seq: int) -> None:
        """An event of the segment with that sequence is stored."""
        self.events[seq] += 1

    def revision(self, first: str) -> None:
        """A revision of the event with that id is stored, or why there is none."""
        self.revised[first] += 1

    def incident(self, id: str, state: str) -> None:
        """An event about an incident is stored: its start, an update, or its end."""
        if state != "update":
            (self.begun if state == "start" else self.ended)[id] += 1

    def alert(self, id: str) -> None:
        """An alert about an incident is stored."""
        self.alerts[id] += 1

    @property
    def twice(self) -> int:
        """Segments that have more than one event."""
        return sum(1 for n in self.events.values() if n > 1)

    @property
    def unrevised(self) -> int:
        """Events of which less was looked at than is wanted, and of which no revision says more, or why not."""
        return len(self.deferred - self.revised.keys())

    @property
    def revised_twice(self) -> int:
        """Events that have more than one revision."""
        return sum(1 for n in self.revised.values() if n > 1)

    @property
    def unalerted(self) -> int:
        """Incidents without an alert, and alerts about none."""
        return len(self.begun.keys() ^ self.alerts.keys())

    @property
    def told_twice(self) -> int:
        """Incidents that have begun, ended or been alerted about more than once."""
        return len({id for told in (self.begun, self.ended, self.alerts) for id, n in told.items() if n > 1})

    def newest(self, camera: str) -> float:
        """When the newest video that is stored of it ends; 0 without any."""
        return max((p.end for p in self._of.get(camera, ())[-100:] if p.dated), default=0.0)

    def newest_seen(self, camera: str) -> float:
        """When the newest video ends of which there is an event."""
        return next((p.end for p in reversed(self._of.get(camera, [])) if p.dated and p.seq in self.events), 0.0)

    def newest_followed(self, camera: str) -> float:
        """When the newest video ends in which objects were followed."""
        return next((p.end for p in reversed(self._of.get(camera, [])) if p.dated and p.seq in self.followed), 0.0)

    def account(self, cameras: Iterable[str], since: float = 0.0, until: float = math.inf) -> Account:
        """Of what was filmed between `since` and `until`, in Unix seconds, as far as it is stored by now."""
        parts = [of_camera(self._of.get(camera, []), since, until) for camera in cameras]
        return Account(
            missing_s=sum(p.missing_s for p in parts),
            longest_s=max((p.longest_s for p in parts), default=0.0),
            doubled_s=sum(p.doubled_s for p in parts),
            skipped=sum(p.skipped for p in parts),
            repeated=sum(p.repeated for p in parts),
        )


def of_camera(pieces: Sequence[Piece], since: float = 0.0, until: float = math.inf) -> Account:
    """Of one camera's segments, in the order in which they are stored. Gaps count that end between these times."""
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
    """How many numbers are missing before the last of each connection."""
    last: Counter[str] = Counter()
    for piece in once:
        last[piece.epoch] = max(last[piece.epoch], piece.n + 1)
    return sum(last.values()) - len(once)
