"""An event of detections, and its revision once all frames were analysed. Pure.

Example:
    revision = revision_of(stored, first)       # or None, if it is not a revision of that event
    better = best(first, revision)
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import msgspec

from shared.bus.direct import Stored
from shared.contract import events
from shared.contract.events import Detections, DetectionsRevision, Lost
from shared.runtime.errors import BadMessage


class Head(msgspec.Struct, frozen=True):
    """The part that is read of every revision: which event it is of."""

    revises: str
    lost: Lost | None = None


_HEAD = msgspec.json.Decoder(Head)


class First(NamedTuple):
    """An event as it came. seq: in EVENTS. id: its `ce-id`. at: when it was stored, Unix seconds."""

    seq: int
    id: str
    at: float
    event: Detections


# whole: no frame was deferred. lost: a notice says that there is no revision, or it can't be read. overdue: none has
# come.
Outcome: TypeAlias = Literal["whole", "revised", "lost", "overdue"]


class BestVersion(NamedTuple):
    """An event, and its final best version."""

    first: First
    better: Detections
    outcome: Outcome


def head(stored: Stored) -> Head | None:
    """Return which event a message revises; None if it is no revision."""
    try:
        return _HEAD.decode(stored.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def revision_of(stored: Stored, first: First) -> DetectionsRevision | None:
    """Return the revision of `first`; None if the message is no revision of that segment."""
    try:
        found = events.decode(stored.data, DetectionsRevision, stored.subject)
    except BadMessage:
        return None
    return found if found.revises == first.id and found.segment == first.event.segment else None


def best(first: Detections, revision: DetectionsRevision | None) -> Detections:
    """Return the event as if no frame had been deferred; as it came, if there is nothing better."""
    if revision is None or revision.lost:
        return first
    return Detections(
        camera=first.camera,
        segment=first.segment,
        start=first.start,
        duration=first.duration,
        width=revision.width,
        height=revision.height,
        model=revision.model,
        frames=revision.frames,
        timing=revision.timing,
    )
