"""An event in one line, for users."""

from __future__ import annotations

from collections import Counter

import msgspec
from nats.aio.msg import Msg

from shared.contract import names
from shared.contract.events import (
    KINDS,
    Answer,
    CameraStatus,
    Caption,
    Counts,
    Detections,
    DetectionsRevision,
    EmbeddingsRevision,
    Event,
    Incident,
    Summary,
    Track,
    Tracks,
    Verdict,
    VideoStatus,
    VlmResult,
    decode,
)
from shared.contract.segment import rfc3339
from shared.runtime.errors import BadMessage
from tidegate.view.inert import one_line

_TYPES = {kind.kind: kind for kind in KINDS}


# Maximum characters shown of an invalid event.
MOST_UNREADABLE = 500


def readable(message: Msg) -> str:
    """Return one line for any message."""
    try:
        event: Event = decode(message.data, _TYPES[names.kind_of(message.subject)], message.subject)
    except (KeyError, BadMessage):
        return one_line(f"{message.subject}: {message.data[:MOST_UNREADABLE].decode(errors='replace')}")
    return one_line(f"{message.subject:<32} {describe(event)}")


def describe(event: Event) -> str:
    """Return one line on an event."""
    match event:
        case DetectionsRevision(lost=str(cause)) | EmbeddingsRevision(lost=str(cause)):
            return f"{rfc3339(event.start)}  what was left out will not be looked at: {cause}"
        case Detections():
            seen = Counter(o.label for f in event.frames[-1:] for o in f.objects)
            objects = ", ".join(f"{n} {label}" for label, n in seen.most_common()) or "nothing"
            t = event.timing
            less = f", {event.quality.fps:g} of {event.quality.wanted:g} fps" if event.quality else ""
            return f"{rfc3339(event.start)}  {objects}  (queued {t.queued_ms:.0f} ms, infer {t.infer_ms:.0f} ms{less})"
        case Tracks():
            return f"{rfc3339(event.start)}  {'; '.join(map(_track, event.tracks))}"
        case Incident():
            return f"{rfc3339(event.time)}  {_incident(event)}"
        case Counts():
            lines = [
                f"{line} {n} {label} {direction}"
                for line, labels in event.lines.items()
                for label, c in labels.items()
                for direction, n in (("in", c.into), ("out", c.out))
                if n
            ]
            counted = [f"{p.objects} {label}, {p.most} at once" for label, p in event.labels.items()]
            again = "  (counted again)" if event.revises else ""
            return f"{rfc3339(event.start)}  {'; '.join(counted + lines) or 'nothing'}{again}"
        case CameraStatus() | VideoStatus():
            return f"{rfc3339(event.time)}  {event.state}: {event.reason}"
        case VlmResult() if event.cause:
            return f"{rfc3339(event.start)}  no answer, {event.cause}: {event.reason}"
        case Verdict():
            return f"{rfc3339(event.start)}  {event.verdict} {event.confidence:.0%}, {event.incident}: {event.reason}"
        case Answer():
            return f"{rfc3339(event.start)}  {event.question!r}: {event.text}"
        case Caption() | Summary():
            seconds = (event.end - event.start).total_seconds()
            return f"{rfc3339(event.start)}  {seconds:.0f} s{_fewer(event)}: {event.text}"
        case _:
            return msgspec.json.encode(event).decode()


def _fewer(event: Caption | Summary) -> str:
    quality = event.quality if isinstance(event, Caption) else None
    return f" by {len(event.frames)} of {quality.frames_wanted(len(event.frames))} frames" if quality else ""


def _track(track: Track) -> str:
    where = f" in {', '.join(track.zones)}" if track.zones else ""
    return f"{track.label} {track.id} {track.state}{' stationary' if track.stationary else ''}{where}"


def _incident(event: Incident) -> str:
    place = next((f" {what} {name}" for what, name in (("in", event.zone), ("over", event.line)) if name), "")
    direction = f" ({event.direction})" if event.direction else ""
    who = ", ".join(f"{o.label} {o.id}" for o in event.objects[:3])
    more = f" and {len(event.objects) - 3} more" if len(event.objects) > 3 else ""
    value = f", {event.value:g}" if event.value is not None else ""
    verified = f", {event.verification}" if event.verification != "none" else ""
    second = ", late" if event.late else ", a false alarm" if event.not_found else ""
    summary = f"{event.severity} {event.rule} {event.state}: {event.condition}{place}{direction}"
    return f"{summary} {who}{more}{value}{verified}{second}"
