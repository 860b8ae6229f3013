"""Merges the events of one incident: its start, its updates, its end, its alert and its verdict. Pure.

The result does not depend on the events' order or repetition: EVENTS is read backwards, while new events arrive.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from shared.contract.events import Alert, Incident, SegmentRef, Verdict, Verification

# How much each says: a pending verification says less than a verdict.
_RANK: dict[Verification, int] = {
    "none": 0,
    "pending": 1,
    "unverified": 2,
    "uncertain": 3,
    "rejected": 3,
    "confirmed": 3,
}
# The limits of analytics. Other publishers may send thousands, and a page shows only some of them.
MOST_OBJECTS, MOST_SEGMENTS = 50, 60
_MOST_FRAMES = 20
_LONGEST_REASON = 1000


# The order of fields decides comparisons: the greater tuple says more.


class Newest(NamedTuple):
    """The newest event of an incident. rank: of its verification. event: encoded."""

    has_ended: bool
    time: float
    rank: int
    event: bytes


class Verified(NamedTuple):
    """The verification that says most. confidence: -1 if there is none."""

    rank: int
    time: float
    verification: Verification
    confidence: float
    reason: str


class VerdictEvent(NamedTuple):
    """The model's verdict. time: of its end. event: encoded."""

    time: float
    event: bytes


class IncidentReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An incident's merged events. newest, verified, verdict: empty if there is none."""

    newest: Newest | tuple[()] = ()
    verified: Verified | tuple[()] = ()
    verdict: VerdictEvent | tuple[()] = ()
    alert: bool = False
    late: bool = False
    not_found: bool = False

    @property
    def size(self) -> int:
        """Bytes of the encoded events."""
        return sum(len(one.event) for one in (self.newest, self.verdict) if one)


def id_of(camera: str, incident: str) -> str:
    """Return an incident's id in addresses and keys. Its own id may not fit there, and cameras may share it."""
    return hashlib.sha256(f"{camera}/{incident}".encode()).hexdigest()[:32]


def report_of(event: Incident | Verdict) -> IncidentReport:
    """Return the report of one event."""
    if isinstance(event, Verdict):
        time = event.end.timestamp()
        event = msgspec.structs.replace(
            event, frames=event.frames[:_MOST_FRAMES], reason=event.reason[:_LONGEST_REASON]
        )
        verified = Verified(_RANK[event.verdict], time, event.verdict, event.confidence, event.reason)
        return IncidentReport(verified=verified, verdict=VerdictEvent(time, msgspec.json.encode(event)))
    time, rank = event.time.timestamp(), _RANK[event.verification]
    incident = msgspec.structs.replace(
        event, objects=event.objects[:MOST_OBJECTS], segments=_ends(event.segments), late=None, not_found=None
    )
    confidence = -1.0 if event.confidence is None else event.confidence
    return IncidentReport(
        newest=Newest(event.end is not None, time, rank, msgspec.json.encode(incident)),
        verified=Verified(rank, time, event.verification, confidence, event.reason),
        alert=isinstance(event, Alert),
        late=bool(event.late),
        not_found=bool(event.not_found),
    )


def merge(a: IncidentReport, b: IncidentReport) -> IncidentReport:
    """Merge two reports: commutative, associative and idempotent."""
    return IncidentReport(
        newest=max(a.newest, b.newest),
        verified=max(a.verified, b.verified),
        verdict=max(a.verdict, b.verdict),
        alert=a.alert or b.alert,
        late=a.late or b.late,
        not_found=a.not_found or b.not_found,
    )


def newest(report: IncidentReport) -> Incident | None:
    """Return the newest event; None if there is only a verdict."""
    return msgspec.json.decode(report.newest.event, type=Incident) if report.newest else None


def verdict(report: IncidentReport) -> Verdict | None:
    """Return the model's verdict, if any."""
    return msgspec.json.decode(report.verdict.event, type=Verdict) if report.verdict else None


def _ends(segments: list[SegmentRef]) -> list[SegmentRef]:
    half = MOST_SEGMENTS // 2
    return segments if len(segments) <= MOST_SEGMENTS else [*segments[:half], *segments[-half:]]
