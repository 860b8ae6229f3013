"""A video segment's headers, read and written. Pure.

A segment is one fragmented MP4 on `media.<camera>`, or on `main.<camera>`. A consumer decides by its headers, which are
text, whether to open it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.contract import names
from shared.contract.names import Token
from shared.contract.reading.bounds import EARLIEST, LATEST, MOST, Count, Seconds, in_time
from shared.runtime.errors import BadSegment

Codec = Literal["h264", "hevc"]
# The maximum width and height of a picture.
MOST_PIXELS = 16384


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """The values of a segment's headers.

    camera, epoch: ids; an epoch is one connection of ingest to the camera. n: counter in the epoch, from 0. start: wall
    clock of the first frame, UTC. duration: seconds. width, height: pixels as coded, before the rotation that the video
    may ask for. frames: count. key_seq: stream sequence of the segment that decoding begins with, if it is an earlier
    one. recovery: if decoding may begin here without a keyframe (intra refresh), the number of frames until pictures
    are right.
    """

    camera: Token
    epoch: Token
    n: Count
    start: dt.datetime
    duration: Seconds
    codec: Codec
    width: Annotated[int, Meta(gt=0, le=MOST_PIXELS)]
    height: Annotated[int, Meta(gt=0, le=MOST_PIXELS)]
    frames: Annotated[int, Meta(gt=0, le=100_000)]
    key_seq: Annotated[int, Meta(gt=0, le=MOST)] | None = None
    recovery: Annotated[int, Meta(gt=0, le=100_000)] | None = None

    @property
    def starts_gop(self) -> bool:
        """Return whether decoding may begin with it."""
        return self.key_seq is None or self.recovery is not None

    @property
    def message_id(self) -> str:
        """Return `Nats-Msg-Id`: a segment published twice is stored once."""
        return f"{self.camera}/{self.epoch}/{self.n}"


_HEADERS = {
    "Camera": "camera",
    "Epoch": "epoch",
    "Segment": "n",
    "Start": "start",
    "Duration": "duration",
    "Codec": "codec",
    "Width": "width",
    "Height": "height",
    "Frames": "frames",
    "Key-Seq": "key_seq",
    "Recovery": "recovery",
}


def to_headers(segment: Segment) -> dict[str, str]:
    """Return the headers of a segment, including `Nats-Msg-Id`."""
    headers = {
        "Nats-Msg-Id": segment.message_id,
        "Camera": segment.camera,
        "Epoch": segment.epoch,
        "Segment": str(segment.n),
        "Start": rfc3339(segment.start),
        "Duration": f"{segment.duration:.3f}",
        "Codec": segment.codec,
        "Width": str(segment.width),
        "Height": str(segment.height),
        "Frames": str(segment.frames),
    }
    if segment.key_seq is not None:
        headers["Key-Seq"] = str(segment.key_seq)
    if segment.recovery is not None:
        headers["Recovery"] = str(segment.recovery)
    return headers


def from_headers(headers: Mapping[str, str] | None) -> Segment:
    """Read a segment's headers. Raises BadSegment naming the header that is missing or wrong."""
    fields = {field: headers[name] for name, field in _HEADERS.items() if headers and name in headers}
    try:
        segment = msgspec.convert(fields, Segment, strict=False)
    except msgspec.ValidationError as e:
        text = str(e)
        for name, field in _HEADERS.items():
            text = text.replace(f"`$.{field}`", f"header {name}").replace(f"`{field}`", f"`{name}`")
        raise BadSegment(f"not a segment: {text}") from e
    if segment.start.tzinfo is None:
        raise BadSegment("not a segment: header Start has no time zone; RFC 3339 in UTC is expected")
    if not in_time(segment.start):
        raise BadSegment(f"not a segment: header Start says {segment.start}, not {EARLIEST:%Y} to {LATEST:%Y}")
    return segment


def from_message(subject: str, headers: Mapping[str, str] | None) -> Segment:
    """Read the headers of a message of MEDIA, whose subject must name the same camera. Raises BadSegment."""
    segment = from_headers(headers)
    if subject not in names.streams_of(segment.camera):
        raise BadSegment(f"header Camera says {segment.camera!r}, its subject is {subject!r}")
    return segment


def rfc3339(time: dt.datetime) -> str:
    """Return `2026-11-24T13:00:00.000Z`: UTC with milliseconds."""
    return time.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
