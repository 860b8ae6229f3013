"""What was said of one incident, put together: its start, its updates, its end, its alert and its verdict. Pure.

told = joined(told, told_by(event))

In whatever order events come, and however often, the same is known of it: EVENTS is read backwards, while new events
come.
"""

from __future__ import annotations

import hashlib

import msgspec

from shared.contract.events import Alert, Incident, SegmentRef, Verdict, Verification

# How much each says: whoever waits for a verdict says less than a verdict.
_SAYS: dict[Verification, int] = {
    "none": 0,
    "pending": 1,
    "unverified": 2,
    "uncertain": 3,
    "rejected": 3,
    "confirmed": 3,
}
# As many as analytics names. Somebody else may name thousands, for a page that shows some of them.
MOST_OBJECTS, MOST_SEGMENTS = 50, 60
_MOST_FRAMES = 100


class IncidentReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All of it so far. Tuples are compared: of two the greater one says more.

    newest: (whether it has ended, time, how much it says of a verdict, the event). verified: (how much it says, time,
    what, how sure or -1, why). verdict: (its end, the event). Each is empty where there is none.
    """

    newest: tuple[bool, float, int, bytes] | tuple[()] = ()
    verified: tuple[int, float, Verification, float, str] | tuple[()] = ()
    verdict: tuple[float, bytes] | tuple[()] = ()
    alert: bool = False
    late: bool = False
    not_found: bool = False

    @property
    def size(self) -> int:
        """Bytes of what was said."""
        return sum(len(part) for one in (self.newest, self.verdict) for part in one if isinstance(part, bytes))


def id_of(camera: str, incident: str) -> str:
    """How an incident is called in addresses and keys, which its own id may not fit into; cameras may share one."""
    return hashlib.sha256(f"{camera}/{incident}".encode()).hexdigest()[:32]


def told_by(event: Incident | Verdict) -> IncidentReport:
    """What one event says."""
    if isinstance(event, Verdict):
        time = event.end.timestamp()
        said: tuple[int, float, Verification, float, str]
        said = (_SAYS[event.verdict], time, event.verdict, event.confidence, event.reason)
        kept = msgspec.structs.replace(event, frames=event.frames[:_MOST_FRAMES])
        return IncidentReport(verified=said, verdict=(time, msgspec.json.encode(kept)))
    time, says = event.time.timestamp(), _SAYS[event.verification]
    kept_event = msgspec.structs.replace(
        event, objects=event.objects[:MOST_OBJECTS], segments=_ends(event.segments), late=None, not_found=None
    )
    return IncidentReport(
        newest=(event.end is not None, time, says, msgspec.json.encode(kept_event)),
        verified=(says, time, event.verification, -1.0 if event.confidence is None else event.confidence, event.reason),
        alert=isinstance(event, Alert),
        late=bool(event.late),
        not_found=bool(event.not_found),
    )


def joined(a: IncidentReport, b: IncidentReport) -> IncidentReport:
    """What both say. It does not matter which is first, nor whether one was heard before."""
    return IncidentReport(
        newest=max(a.newest, b.newest),
        verified=max(a.verified, b.verified),
        verdict=max(a.verdict, b.verdict),
        alert=a.alert or b.alert,
        late=a.late or b.late,
        not_found=a.not_found or b.not_found,
    )


def newest(told: IncidentReport) -> Incident | None:
    """The event that says most of it; None where there is only a verdict."""
    return msgspec.json.decode(told.newest[3], type=Incident) if told.newest else None


def verdict(told: IncidentReport) -> Verdict | None:
    """What a model has said of it."""
    return msgspec.json.decode(told.verdict[1], type=Verdict) if told.verdict else None


def _ends(segments: list[SegmentRef]) -> list[SegmentRef]:
    half = MOST_SEGMENTS // 2
    return segments if len(segments) <= MOST_SEGMENTS else [*segments[:half], *segments[-half:]]
