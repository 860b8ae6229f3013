"""The events that services publish: one struct per kind, its CloudEvents headers, and the JSON Schema of all of them.
Pure.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import Meta

from shared.contract import names
from shared.contract.names import Token
from shared.contract.reading import schema
from shared.contract.reading.bounds import (
    EARLIEST,
    LATEST,
    Amount,
    Count,
    FramesPerSecond,
    Id,
    Instant,
    Label,
    Line,
    Milliseconds,
    Most,
    Name,
    Pixels,
    Seconds,
    Text,
    Unit,
    in_time,
)
from shared.contract.segment import rfc3339
from shared.runtime.errors import BadMessage

# A worker repeats every half minute that a camera is unreadable.
_UNREADABLE_FOR = dt.timedelta(seconds=90)

Box = Annotated[tuple[Unit, Unit, Unit, Unit], Meta(description="x1, y1, x2, y2 as shares of width and height")]
# W3C Trace Context.
TRACEPARENT = "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events. `kind` names subject and type: mostly `events.<kind>.<camera>`, `tidegate.<kind>.v1`.

    camera: its id.
    """

    kind: ClassVar[str]
    camera: Token


class SegmentRef(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence: direct-get `seq` of `stream` while it is stored.

    stream, seq: of the message. epoch: one connection of ingest to the camera. n: the segment's number in it.
    """

    stream: Name
    seq: Count
    epoch: Annotated[str, Meta(min_length=1, max_length=256)]
    n: Count


class OfSegment(Event, frozen=True, kw_only=True):
    """A result of one segment of video.

    segment: the evidence. start, duration: of the segment, by its camera's wall clock, and in seconds.
    """

    segment: SegmentRef
    start: Instant
    duration: Seconds


class DetectedObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object in one frame.

    label: of the detector's labels. score: the detector's confidence. box: x1, y1, x2, y2 as fractions of width and
    height.
    """

    label: Label
    score: Unit
    box: Box


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One analysed frame.

    time: its wall clock. objects: what was detected in it.
    """

    time: Instant
    objects: Annotated[list[DetectedObject], Meta(max_length=10_000)]


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """The durations of the steps, in milliseconds.

    queued_ms: from JetStream's receipt to the worker's. decode_ms: of decoding. infer_ms: of inference, for the whole
    batch.
    """

    queued_ms: Milliseconds
    decode_ms: Milliseconds
    infer_ms: Milliseconds


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Fewer frames than wanted were analysed. A revision follows, or says that there will be none; a caption has none.

    fps, wanted: frames per second of video that were analysed, and that are wanted. cause: why frames were deferred.
    """

    fps: FramesPerSecond
    wanted: FramesPerSecond
    cause: Literal["backlog"]

    def frames_wanted(self, analysed: int) -> int:
        """Return how many frames are wanted if `analysed` were analysed."""
        return max(analysed, round(analysed * self.wanted / self.fps)) if self.fps else analysed


class Unchanged(msgspec.Struct, frozen=True, kw_only=True):
    """The scene is static: the objects are those of an earlier analysis.

    since: the time of that analysis, by the camera's wall clock.
    """

    since: Instant


# Why a deferred segment has no revision: its video has expired, can't be decoded any more, or there was no room for its
# job.
Lost = Literal["expired", "unreadable", "no_room"]


class Detections(OfSegment, frozen=True, kw_only=True):
    """Objects in the frames of one segment.

    segment: the evidence. start, duration: of the segment, by its camera's wall clock, and in seconds. width, height:
    pixels of the upright frame, after the rotation that the video asks for. Boxes are fractions of it. model: the
    detector's name. frames: every analysed frame, also those without objects. timing: durations of the steps. quality:
    only if fewer frames than wanted were analysed. unchanged: only for a static scene, without inference.
    """

    kind: ClassVar[str] = "detections"
    width: Pixels | None = None
    height: Pixels | None = None
    model: Name
    frames: Annotated[list[Frame], Meta(max_length=3600)]
    timing: Timing
    quality: Quality | None = None
    unchanged: Unchanged | None = None


class DetectionsRevision(Detections, frozen=True, kw_only=True):
    """The detections of all wanted frames, made by the backfill: it replaces the first event.

    revises: that event's `ce-id`. lost: why there is no revision; then the first event stands, and `frames` is empty.
    """

    kind: ClassVar[str] = names.revised(Detections.kind)
    revises: Id
    lost: Lost | None = None


class Vector(msgspec.Struct, frozen=True, kw_only=True):
    """The vector of one image: of a frame, or of an object's crop.

    time: of the frame. vector: of length 1, as little-endian float16. label, score, box: of that object, if any.
    """

    time: Instant
    vector: Annotated[bytes, Meta(max_length=2 * 65_536)]
    label: Label | None = None
    score: Unit | None = None
    box: Box | None = None


class Embeddings(OfSegment, frozen=True, kw_only=True):
    """Vectors of the sampled frames of one segment, and of objects in them.

    segment: the evidence. start, duration: of the segment, by its camera's wall clock, and in seconds. model: of the
    vectors; only vectors of the same model compare. dimension: of one vector. vectors: empty if the segment gave no
    frame, as one frame per second or less takes keyframes alone. timing: durations of the steps. quality: only if fewer
    frames than wanted were analysed. same_as: only for a static scene, without inference: the `ce-id` of the event
    whose vectors these are.
    """

    kind: ClassVar[str] = "embeddings"
    model: Name
    dimension: Annotated[int, Meta(gt=0, le=65_536)]
    vectors: Annotated[list[Vector], Meta(max_length=100_000)]
    timing: Timing
    quality: Quality | None = None
    same_as: Id | None = None


class EmbeddingsRevision(Embeddings, frozen=True, kw_only=True):
    """The vectors of all wanted frames, made by the backfill: it replaces the first event.

    revises: that event's `ce-id`. lost: why there is no revision; then the first event stands, and `vectors` is empty.
    """

    kind: ClassVar[str] = names.revised(Embeddings.kind)
    revises: Id
    lost: Lost | None = None


class PastDetections(Detections, frozen=True, kw_only=True):
    """Detections of a recorded segment, from a later analysis: its `ce-id` is that of the live event. EVENTS stores it
    for search, and does not republish it.

    run: the run of `tidegate reanalyze`.
    """

    kind: ClassVar[str] = names.past(Detections.kind)
    run: Token


class PastEmbeddings(Embeddings, frozen=True, kw_only=True):
    """Vectors of a recorded segment, from a later analysis: its `ce-id` is that of the live event. EVENTS stores it for
    search, and does not republish it.

    run: the run of `tidegate reanalyze`.
    """

    kind: ClassVar[str] = names.past(Embeddings.kind)
    run: Token


# The default reason of a camera that is online.
VIDEO_ARRIVES = "video arrives"


class CameraStatus(Event, frozen=True, kw_only=True):
    """A camera went online or offline, or is offline for a new reason.

    time: of the change. state, reason: whether it delivers video for analysis, and in words why it does not. main: of a
    camera with a substream, whether its main stream arrives, once that is clear; the reason says why not. url: its
    scheme, host and port, or a file's whole URL. epoch: this connection to it. codec: h264 or hevc. width, height:
    pixels of the frames as coded, before any rotation. ingest: the process that reads it.
    """

    kind: ClassVar[str] = "cameras"
    time: Instant
    state: Literal["online", "offline"]
    reason: Line
    main: Literal["online", "offline"] | None = None
    url: Line
    epoch: Name | None = None
    codec: Name | None = None
    width: Pixels | None = None
    height: Pixels | None = None
    ingest: Name


class VideoStatus(Event, frozen=True, kw_only=True):
    """A camera's segments arrive, but several in a row can't be read; or they can again.

    time: of the status. It is repeated every half minute while it lasts: a status older than a minute and a half is
    void. state, reason: whether they can be read, and in words why not, and what to set. cause: budget, if they take
    too much decoding; undecodable otherwise. since: when the first of them failed. segments: how many this replica has
    failed to read since, of which only the first is a dead letter. service, replica: the publisher.
    """

    kind: ClassVar[str] = "video"
    time: Instant
    state: Literal["unreadable", "readable"]
    cause: Literal["budget", "undecodable"]
    reason: Line
    since: Instant
    segments: Count
    service: Name
    replica: Name

    def lasts(self, now: dt.datetime) -> bool:
        """Return whether the camera is still unreadable."""
        return self.state == "unreadable" and now - self.time < _UNREADABLE_FOR


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A frame that the model was shown.

    time: of the frame. seq: its segment in MEDIA.
    """

    time: Instant
    seq: Count


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens and time of an answer, over all of its requests.

    prompt_tokens, completion_tokens: of questions with their images, and of answers. first_token_ms: from the first
    request to its first token, in milliseconds.
    """

    prompt_tokens: Count
    completion_tokens: Count
    first_token_ms: Milliseconds


# Why there is no answer: the video has expired, never existed, or can't be decoded; there are no captions to sum up, or
# too many; no client waits for the answer any more; or the model answered twice with what does not match the schema.
Cause = Literal["expired", "no_video", "unreadable", "no_captions", "too_many_captions", "late", "schema"]


class VlmResult(Event, frozen=True, kw_only=True):
    """Base of the results of a vision language model: one event for each job, also for one without an answer.

    job: its id. start, end: the stretch it is about. model: the model's name. frames: the model's input. cause: why
    there is no answer. reason: the same in words. timing: durations of the steps. usage: tokens.
    """

    job: Name
    start: Instant
    end: Instant
    model: Name
    frames: Annotated[list[Seen], Meta(max_length=10_000)]
    cause: Cause | None = None
    reason: Line = ""
    timing: Timing
    usage: Usage


class Caption(VlmResult, frozen=True, kw_only=True):
    """What happens in a stretch of video.

    text: the model's description. quality: only if the model was shown fewer frames than wanted. same_as: only for a
    static scene, without a request to the model: the `ce-id` of the caption whose text this is.
    """

    kind: ClassVar[str] = "captions"
    text: Text
    quality: Quality | None = None
    same_as: Id | None = None


class PastCaptions(Caption, frozen=True, kw_only=True):
    """A caption of recorded video, from a later analysis. EVENTS stores it for summaries, and does not republish it.

    run: the run of `tidegate reanalyze`.
    """

    kind: ClassVar[str] = names.past(Caption.kind)
    run: Token


Past = PastDetections | PastEmbeddings | PastCaptions


class Verdict(VlmResult, frozen=True, kw_only=True):
    """The model's verdict on whether an incident is real.

    incident: its id. rule: the rule's id. verdict: of the model. confidence: by the model's own estimate. reason: the
    model's, or why it is uncertain.
    """

    kind: ClassVar[str] = "verdicts"
    incident: Name
    rule: Name | None = None
    verdict: Literal["confirmed", "rejected", "uncertain"]
    confidence: Unit


class Answer(VlmResult, frozen=True, kw_only=True):
    """The answer to a question.

    question: in the client's words. text: the answer. used: times of the frames that it rests on, by the model's own
    account.
    """

    kind: ClassVar[str] = "answers"
    question: Line
    text: Text
    used: Annotated[list[Instant], Meta(max_length=1000)] = []


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a part of the whole.

    start, end: of the part. text: what happened in it.
    """

    start: Instant
    end: Instant
    text: Text


class Summary(VlmResult, frozen=True, kw_only=True):
    """What happened in a longer time.

    text: the summary. captions: how many it is made of, with repeated ones as one; 0: of the frames. parts: of its
    stretches, in order of time.
    """

    kind: ClassVar[str] = "summaries"
    text: Text
    captions: Count
    parts: Annotated[list[Part], Meta(max_length=100_000)]


class PathPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where an object was.

    time: of the frame. box: there. score: the detector's; absent where the detector missed it, and the box lies between
    two others.
    """

    time: Instant
    box: Box
    score: Unit | None = None


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """One object, followed.

    id: the same in all events about it. state: `new` once, `update` now and then, `end` once. label: the most likely of
    all its frames. score: of its best frame. box: in the last frame. first, last: when it was seen. path: every
    analysed frame since the track's event before this one. speed: in heights of the frame a second. direction: degrees
    clockwise from up, where it moves. stationary: whether it keeps its place. zones: those it is in.
    """

    id: Name
    state: Literal["new", "update", "end"]
    label: Label
    score: Unit
    box: Box
    first: Instant
    last: Instant
    path: Annotated[list[PathPoint], Meta(max_length=100_000)]
    speed: Amount
    direction: Annotated[float, Meta(ge=0, le=360)] | None = None
    stationary: bool = False
    zones: Annotated[list[Name], Meta(max_length=1000)] = []


class Tracks(OfSegment, frozen=True, kw_only=True):
    """The changes of a camera's tracks after one more segment. A segment without changes has no event.

    segment, start, duration, width, height, model: of its detections. tracks: those that changed.
    """

    kind: ClassVar[str] = "tracks"
    width: Pixels | None = None
    height: Pixels | None = None
    model: Name
    tracks: Annotated[list[Track], Meta(max_length=100_000)]


class IncidentObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object of an incident, as it was last seen in it.

    id: of its track. label, score, box: of that frame.
    """

    id: Name
    label: Label
    score: Unit
    box: Box


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The frame that shows the incident.

    stream, seq: its segment. time: of the frame.
    """

    stream: Name
    seq: Count
    time: Instant


Severity = Literal["info", "warning", "critical"]
Verification = Literal["none", "pending", "confirmed", "rejected", "uncertain", "unverified"]


class Incident(Event, frozen=True, kw_only=True):
    """A rule came true.

    incident: its id, the same in all events about it. state: `start` once, `update` for an addition, `end` once. rule:
    the rule's id. condition: which kind of rule it is. severity: as the rule says. start, end: of what the rule names;
    `end` is absent while it lasts. time: of the frame that this event is about. zone, line: of the rule. direction: of
    a crossing. value: the measurement, such as seconds, objects or speed. objects: those that make it true. segments:
    the evidence, oldest first; of a long incident its first and its last. snapshot: one frame that shows it.
    verification: the verdict of a vision language model, if one was asked; `unverified` if it did not answer in time.
    confidence, reason: of its verdict. late: only if the second pass alone found it, minutes later, in deferred frames.
    not_found: only if the second pass did not find it: a false alarm.
    """

    kind: ClassVar[str] = "incidents"
    incident: Name
    state: Literal["start", "update", "end"]
    rule: Name
    condition: Name
    severity: Severity
    start: Instant
    end: Instant | None = None
    time: Instant
    zone: Name | None = None
    line: Name | None = None
    direction: Literal["in", "out"] | None = None
    value: Annotated[float, Meta(ge=-1e12, le=1e12)] | None = None
    objects: Annotated[list[IncidentObject], Meta(max_length=10_000)]
    segments: Annotated[list[SegmentRef], Meta(max_length=10_000)]
    snapshot: Snapshot
    verification: Verification = "none"
    confidence: Unit | None = None
    reason: Line = ""
    late: bool | None = None
    not_found: bool | None = None


class Alert(Incident, frozen=True, kw_only=True):
    """An incident that requires action: one alert for each, as its rule says.

    verification: `confirmed`; `unverified` or `uncertain` if no model could tell; `pending` if the rule alerts at the
    start; `none` without a verification. The incident's next event reports a later verdict.
    """

    kind: ClassVar[str] = "alerts"


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """Objects of one label in a minute.

    objects: new ones. most: at the same time. seconds: of all of them together.
    """

    objects: Count = 0
    most: Count = 0
    seconds: Amount = 0.0


class Visits(msgspec.Struct, frozen=True, kw_only=True):
    """Objects of one label in a zone in a minute.

    entered, left: counts. most: at the same time. seconds: of all of them together. stayed_s: total time in the zone of
    those that left.
    """

    entered: Count = 0
    left: Count = 0
    most: Count = 0
    seconds: Amount = 0.0
    stayed_s: Amount = 0.0


class Crossings(msgspec.Struct, frozen=True, kw_only=True):
    """Objects of one label over a line in a minute.

    into: from its left to its right. out: the other way.
    """

    into: Count = msgspec.field(default=0, name="in")
    out: Count = 0


class Heat(msgspec.Struct, frozen=True, kw_only=True):
    """Where objects stood.

    columns, rows: of the grid over the frame. seconds: of each cell, row by row from the top left.
    """

    columns: Annotated[int, Meta(ge=0, le=1000)]
    rows: Annotated[int, Meta(ge=0, le=1000)]
    seconds: Annotated[list[Amount], Meta(max_length=1_000_000)]


class Counts(Event, frozen=True, kw_only=True):
    """One minute of a camera.

    start, end: of the minute. seconds: of video in it. labels: objects by label. zones: visits by zone and label.
    lines: crossings by line and label. heat: where objects stood. revises: only if deferred frames have changed them:
    the `ce-id` of the event that this one replaces.
    """

    kind: ClassVar[str] = "counts"
    start: Instant
    end: Instant
    seconds: Amount
    labels: Annotated[dict[Label, Presence], Most]
    zones: Annotated[dict[Name, dict[Label, Visits]], Most]
    lines: Annotated[dict[Name, dict[Label, Crossings]], Most]
    heat: Heat
    revises: Id | None = None


E = TypeVar("E", bound=Event)

KINDS: tuple[type[Event], ...] = (
    Detections,
    DetectionsRevision,
    Embeddings,
    EmbeddingsRevision,
    PastDetections,
    PastEmbeddings,
    PastCaptions,
    Tracks,
    Incident,
    Alert,
    Counts,
    Caption,
    Verdict,
    Answer,
    Summary,
    CameraStatus,
    VideoStatus,
)


def encode(event: Event) -> bytes:
    """Return an event as JSON, times as RFC 3339 UTC with milliseconds, without fields of None."""
    return msgspec.json.encode(_milliseconds(event))


def _milliseconds(value: Any) -> Any:
    """Return times in the contract's format; msgspec would write microseconds, and encodes all else itself."""
    if isinstance(value, dt.datetime):
        return rfc3339(value)
    if isinstance(value, list):
        return [_milliseconds(v) for v in value]
    if isinstance(value, msgspec.Struct) and (timed := _timed(type(value))):
        fields = ((f, v) for f in value.__struct_fields__ if (v := getattr(value, f)) is not None)
        return {f: _milliseconds(v) if f in timed else v for f, v in fields}
    return value


def decode(data: bytes, kind: type[E], at: str | None = None) -> E:
    """Return the event of a message. at: its subject, which names the same camera.

    Raises BadMessage, with the field, for anything else.
    """
    try:
        event: E = _decoder(kind).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadMessage(f"not an event of {kind.kind}: {e}") from e
    if at is not None and at != subject(event):
        raise BadMessage(f"not an event of {kind.kind}: it says camera {event.camera!r}, its subject is {at!r}")
    for time in _times(event):
        if not in_time(time):
            raise BadMessage(
                f"not an event of {kind.kind}: its time {time} is not between {EARLIEST:%Y} and {LATEST:%Y}"
            )
    return event


def _times(value: Any) -> Iterator[dt.datetime]:
    """Yield every time in an event."""
    if isinstance(value, dt.datetime):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _times(item)
    elif isinstance(value, msgspec.Struct):
        for name in _timed(type(value)):
            yield from _times(getattr(value, name))


@cache
def _timed(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the fields of a struct that hold times."""
    about = msgspec.inspect.type_info(kind)
    assert isinstance(about, msgspec.inspect.StructType)
    return tuple(field.name for field in about.fields if "DateTimeType" in repr(field.type))


@cache
def _decoder(kind: type[E]) -> msgspec.json.Decoder[E]:
    return msgspec.json.Decoder(kind)


def headers(event: Event, *, id: str, source: str, traceparent: str | None = None) -> dict[str, str]:
    """Return CloudEvents 1.0 binary-mode headers for NATS; `id` is also `Nats-Msg-Id`, so JetStream drops repeats."""
    out = {
        "Nats-Msg-Id": id,
        "ce-specversion": "1.0",
        "ce-id": id,
        "ce-source": source,
        "ce-type": type_of(type(event)),
        "ce-time": rfc3339(dt.datetime.now(dt.UTC)),
        "ce-subject": event.camera,
        "content-type": "application/json",
    }
    if isinstance(event, Past):
        # Otherwise JetStream would drop the results of a second run within minutes of the first.
        out |= {"ce-run": event.run, "Nats-Msg-Id": f"{id}/{event.run}"}
    if traceparent:
        out["traceparent"] = traceparent
    return out


def trace_of(headers: Mapping[str, str]) -> str | None:
    """Return a valid `traceparent` of a message's headers; an invalid one is dropped."""
    found = headers.get("traceparent", "")
    return found if re.fullmatch(TRACEPARENT, found) else None


def type_of(kind: type[Event]) -> str:
    """Return `ce-type`: `tidegate.<kind>.v1`, `tidegate.<kind>.revision.v1` for a revision, and
    `tidegate.<kind>.past.v1` for a result from recordings.
    """
    for prefix, word in ((names.revised(""), ".revision"), (names.past(""), ".past")):
        if kind.kind.startswith(prefix):
            return f"tidegate.{kind.kind.removeprefix(prefix)}{word}.v1"
    return f"tidegate.{kind.kind}.v1"


def subject(event: Event) -> str:
    """Return `events.<kind>.<camera>`, or `past.<kind>.<camera>`."""
    return names.event(event.kind, event.camera)


def past(event: Detections | Embeddings | Caption, run: str) -> Past:
    """Return the same event as a run's result from recordings."""
    return _PAST[type(event)](**msgspec.structs.asdict(event), run=run)


_PAST: dict[type[Event], type[Past]] = {
    Detections: PastDetections,
    Embeddings: PastEmbeddings,
    Caption: PastCaptions,
}


def json_schema() -> dict[str, Any]:
    """Return JSON Schema 2020-12 of all events, by kind, under `$defs`."""
    return schema.any_of("Tidegate events", KINDS)
