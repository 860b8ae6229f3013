"""What services say: one struct an event, its CloudEvents headers, and the JSON Schema of all of them. Pure."""

from __future__ import annotations

import datetime as dt
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from shared import names
from shared.segment import rfc3339

Unit = Annotated[float, Meta(ge=0, le=1)]
Box = Annotated[tuple[Unit, Unit, Unit, Unit], Meta(description="x1, y1, x2, y2 as shares of width and height")]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events. `kind` names subject and type: `events.<kind>.<camera>`, `tidegate.<kind>.v1`."""

    kind: ClassVar[str]
    camera: str


class SegmentRef(msgspec.Struct, frozen=True, kw_only=True):
    """Where the evidence is: direct-get `seq` of `stream` while it is kept."""

    stream: str
    seq: int
    epoch: str
    n: int


class DetectedObject(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    score: Unit
    box: Box


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    time: dt.datetime
    objects: list[DetectedObject]


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds: from JetStream's receipt to decode's start; in decode; in inference, batch-mates included."""

    queued_ms: float
    decode_ms: float
    infer_ms: float


class Detections(Event, frozen=True, kw_only=True):
    """Objects in the frames of one segment. `frames` has every analysed frame, those without objects too."""

    kind: ClassVar[str] = "detections"
    segment: SegmentRef
    start: dt.datetime
    duration: float
    model: str
    frames: list[Frame]
    timing: Timing


class Vector(msgspec.Struct, frozen=True, kw_only=True):
    """One image's vector, of length 1: little-endian float16. `label`, `score` and `box` are of an object cut out."""

    time: dt.datetime
    vector: bytes
    label: str | None = None
    score: Unit | None = None
    box: Box | None = None


class Embeddings(Event, frozen=True, kw_only=True):
    """Vectors of the sampled frames of one segment, and of objects in them. Only those of one `model` compare.

    `vectors` is empty where a segment gave no frame: at one frame a second or less only keyframes are looked at.
    """

    kind: ClassVar[str] = "embeddings"
    segment: SegmentRef
    start: dt.datetime
    duration: float
    model: str
    dimension: int
    vectors: list[Vector]
    timing: Timing


class CameraStatus(Event, frozen=True, kw_only=True):
    """A camera came or went. `url` is redacted; `reason` says why it is offline."""

    kind: ClassVar[str] = "cameras"
    time: dt.datetime
    state: Literal["online", "offline"]
    reason: str
    url: str
    epoch: str | None = None
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    ingest: str


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A frame that the model was shown. seq: its segment in MEDIA."""

    time: dt.datetime
    seq: int


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of all requests that the answer took, images included; milliseconds to the first token of the first."""

    prompt_tokens: int
    completion_tokens: int
    first_token_ms: float


# Why there is no answer: the video is no longer kept, never was, or can't be decoded; there are no captions to be
# summed up, or too many; or the model twice gave what does not match the schema.
Cause = Literal["expired", "no_video", "unreadable", "no_captions", "too_many_captions", "schema"]


class Said(Event, frozen=True, kw_only=True):
    """Base of what a vision language model says: one event for each job, also where it could not be answered.

    job: its id. start, end: the stretch it is about. frames: what the model was shown. cause: None, or why there is no
    answer; `reason` says it in words.
    """

    job: str
    start: dt.datetime
    end: dt.datetime
    model: str
    frames: list[Seen]
    cause: Cause | None = None
    reason: str = ""
    timing: Timing
    usage: Usage


class Caption(Said, frozen=True, kw_only=True):
    """What happens in a stretch of video."""

    kind: ClassVar[str] = "captions"
    text: str


class Verdict(Said, frozen=True, kw_only=True):
    """Whether an incident is what its rule took it for. `reason` is the model's own, or says why it is uncertain."""

    kind: ClassVar[str] = "verdicts"
    incident: str
    rule: str | None = None
    verdict: Literal["confirmed", "rejected", "uncertain"]
    confidence: Unit


class Answer(Said, frozen=True, kw_only=True):
    """The answer to a question. used: times of the frames that it rests on, by the model's own account."""

    kind: ClassVar[str] = "answers"
    question: str
    text: str
    used: list[dt.datetime] = []


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a part of the whole."""

    start: dt.datetime
    end: dt.datetime
    text: str


class Summary(Said, frozen=True, kw_only=True):
    """What happened in a longer time. captions: how many it was made of. parts: of its stretches, in order of time."""

    kind: ClassVar[str] = "summaries"
    text: str
    captions: int
    parts: list[Part]


KINDS: tuple[type[Event], ...] = (Detections, Embeddings, Caption, Verdict, Answer, Summary, CameraStatus)


def encode(event: Event) -> bytes:
    """JSON of an event, times as RFC 3339 UTC with milliseconds, what is None left out."""
    return msgspec.json.encode(_milliseconds(event))


def _milliseconds(value: Any) -> Any:
    """Times as the contract writes them; msgspec would write microseconds. What holds no time it encodes itself."""
    if isinstance(value, dt.datetime):
        return rfc3339(value)
    if isinstance(value, msgspec.Struct) and _holds_times(type(value)):
        return {f: _milliseconds(v) for f in value.__struct_fields__ if (v := getattr(value, f)) is not None}
    if isinstance(value, list):
        return [_milliseconds(v) for v in value]
    return value


@cache
def _holds_times(kind: type[msgspec.Struct]) -> bool:
    return "DateTimeType" in repr(msgspec.inspect.type_info(kind))


def headers(event: Event, *, id: str, source: str, traceparent: str | None = None) -> dict[str, str]:
    """CloudEvents 1.0 binary-mode headers for NATS; `id` is also `Nats-Msg-Id`, so JetStream drops repeats."""
    out = {
        "Nats-Msg-Id": id,
        "ce-specversion": "1.0",
        "ce-id": id,
        "ce-source": source,
        "ce-type": f"tidegate.{event.kind}.v1",
        "ce-time": rfc3339(dt.datetime.now(dt.UTC)),
        "ce-subject": event.camera,
        "content-type": "application/json",
    }
    if traceparent:
        out["traceparent"] = traceparent
    return out


def subject(event: Event) -> str:
    """`events.<kind>.<camera>`."""
    return names.event(event.kind, event.camera)


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of all events, by kind, under `$defs`."""
    _, defs = msgspec.json.schema_components(KINDS, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tidegate events",
        # The subject says which: to whoever reads the JSON alone a summary is a caption with more to it.
        "anyOf": [{"$ref": f"#/$defs/{k.__name__}"} for k in KINDS],
        "$defs": defs,
    }


def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3 document: which event is on which subject."""
    schema = json_schema()

    def rewrite(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                k: v.replace("#/$defs/", "#/components/schemas/") if k == "$ref" else rewrite(v)
                for k, v in node.items()
            }
        return [rewrite(v) for v in node] if isinstance(node, list) else node

    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Tidegate events", "version": "1", "description": "Kept in the stream EVENTS."},
        "channels": {
            k.kind: {
                "address": f"events.{k.kind}.{{camera}}",
                "parameters": {"camera": {"description": "camera id, one NATS token"}},
                "messages": {k.__name__: {"$ref": f"#/components/messages/{k.__name__}"}},
            }
            for k in KINDS
        },
        "operations": {
            f"send_{k.kind}": {"action": "send", "channel": {"$ref": f"#/channels/{k.kind}"}} for k in KINDS
        },
        "components": {
            "messages": {
                k.__name__: {
                    "name": f"tidegate.{k.kind}.v1",
                    "contentType": "application/json",
                    "payload": {"$ref": f"#/components/schemas/{k.__name__}"},
                }
                for k in KINDS
            },
            "schemas": rewrite(schema["$defs"]),
        },
    }
