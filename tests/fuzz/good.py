"""Good input, of which hostile input is made."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np

from services.ingest.cutting.clock import FixedClock
from services.ingest.cutting.piece import Piece
from services.ingest.cutting.segmenter import Segmenter
from services.ingest.settings import Cutting
from shared.contract import events, segment
from shared.contract.events import (
    Alert,
    Answer,
    CameraStatus,
    Caption,
    Counts,
    Crossings,
    DetectionsRevision,
    Embeddings,
    EmbeddingsRevision,
    Event,
    Heat,
    Incident,
    IncidentObject,
    Part,
    PathPoint,
    Presence,
    Quality,
    Seen,
    SegmentRef,
    Snapshot,
    Summary,
    Timing,
    Track,
    Tracks,
    Usage,
    Vector,
    Verdict,
    Visits,
)
from tests.fuzz.spoil import read_wire, wire
from tests.support.video import footage
from tests.support.video.walking_people import START, Walk, detections

TIMING = Timing(queued_ms=1.5, decode_ms=2, infer_ms=3)
LOW = Quality(fps=1.0, wanted=5.0, cause="backlog")
REF = SegmentRef(stream="MEDIA", seq=7, epoch="e1", n=3)
BOX = (0.1, 0.2, 0.3, 0.4)
SECOND = dt.timedelta(seconds=1)
SINCE, UNTIL = "2026-11-24T12:00:00Z", "2026-11-24T14:05:00+01:00"
NOW = START + 5 * SECOND
_OBJECT = IncidentObject(id="e10-1", label="person", score=0.75, box=BOX)
_INCIDENT: Mapping[str, Any] = {
    "camera": "lobby",
    "incident": "lobby/in/1",
    "state": "start",
    "rule": "in",
    "condition": "enter",
    "severity": "warning",
    "start": START,
    "time": START,
    "zone": "door",
    "value": 1.5,
    "objects": [_OBJECT],
    "segments": [REF],
    "snapshot": Snapshot(stream="MEDIA", seq=7, time=START),
    "verification": "pending",
}
_SEGMENT: Mapping[str, Any] = {"camera": "lobby", "segment": REF, "start": START, "duration": 1.0, "model": "m"}
_RESULT: Mapping[str, Any] = {
    "camera": "lobby",
    "job": "j1",
    "start": START,
    "end": START + 5 * SECOND,
    "model": "m",
    "frames": [Seen(time=START, seq=7)],
    "timing": TIMING,
    "usage": Usage(prompt_tokens=100, completion_tokens=20, first_token_ms=40),
}


def every_event() -> list[Event]:
    """One event of every kind, and a second of walking people."""
    track = Track(
        id="e10-1",
        state="update",
        label="person",
        score=0.75,
        box=BOX,
        first=START,
        last=START,
        path=[PathPoint(time=START, box=BOX, score=0.5)],
        speed=0.2,
        direction=90.0,
        zones=["door"],
    )
    vectors = [Vector(time=START, vector=b"\x00\x3c\x00\x00", label="person", score=0.5, box=BOX)]
    minute = {"camera": "lobby", "start": START, "end": START + 60 * SECOND, "seconds": 59.5}
    return [
        *detections([Walk(0, 2, (0.1, 0.9), (0.9, 0.9)), Walk(0, 2, (0.5, 0.5), (0.5, 0.9), "car")], 2),
        Tracks(
            camera="lobby", segment=REF, start=START, duration=1.0, width=640, height=480, model="m", tracks=[track]
        ),
        Embeddings(**_SEGMENT, dimension=2, vectors=vectors, timing=TIMING, quality=LOW),
        EmbeddingsRevision(**_SEGMENT, dimension=2, vectors=vectors, timing=TIMING, revises="embed/m/MEDIA/7"),
        DetectionsRevision(**_SEGMENT, frames=[], timing=TIMING, revises="cv/m/MEDIA/7", lost="expired"),
        Incident(**_INCIDENT),
        Alert(**{**_INCIDENT, "state": "end", "end": START, "confidence": 0.5, "reason": "seen"}),
        Counts(
            **minute,
            labels={"person": Presence(objects=1, most=1, seconds=2.5)},
            zones={"door": {"person": Visits(entered=1)}},
            lines={"gate": {"person": Crossings(into=1)}},
            heat=Heat(columns=2, rows=1, seconds=[0.5, 1]),
        ),
        Caption(**_RESULT, text="A man walks."),
        Verdict(**_RESULT, incident="lobby/in/1", rule="in", verdict="confirmed", confidence=0.75, reason="seen"),
        Answer(**_RESULT, question="Who?", text="A man.", used=[START]),
        Summary(
            **_RESULT, text="A man came.", captions=2, parts=[Part(start=START, end=START + SECOND, text="A man.")]
        ),
        CameraStatus(
            camera="lobby",
            time=START,
            state="online",
            reason="",
            url="rtsp://cam/1",
            epoch="e1",
            codec="h264",
            width=640,
            height=480,
            ingest="ingest-0",
        ),
    ]


def event_messages(*kinds: type[Event]) -> list[bytes]:
    """Messages of EVENTS, as `spoil.wire` writes them; of all kinds, or of these."""
    return [message(event) for event in every_event() if not kinds or type(event) in kinds]


def message(event: Event) -> bytes:
    head = events.headers(
        event, id=f"{event.kind}/1", source="/tidegate/test", traceparent=f"00-{'a' * 32}-{'b' * 16}-01"
    )
    return wire(events.subject(event).encode(), _lines(head), events.encode(event))


def as_json(*values: Any) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


def _lines(head: Mapping[str, str]) -> list[bytes]:
    return [f"{name}: {value}".encode() for name, value in head.items()]


@cache
def pieces(codec: str = "libx264", gop: int = 10) -> list[Piece]:
    """Three seconds of 64x48, cut as ingest cuts them."""
    with tempfile.TemporaryDirectory() as folder:
        path = footage.make(Path(folder, "v.mp4"), codec=codec, size=(64, 48), frames=30, fps=10, gop=gop)
        found: list[Piece] = []
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            segmenter = Segmenter("lobby", stream, Cutting(1.0, 8 * 2**20), FixedClock(1_700_000_000.0), found.append)
            for packet in container.demux(stream):
                if packet.size:
                    segmenter.push(packet, 1_700_000_000.0)
            segmenter.finish(1_700_000_000.0)
    return found


def segment_messages() -> list[bytes]:
    """Messages of MEDIA, as `spoil.wire` writes them: H.264 and H.265."""
    found = [*pieces()[:2], *pieces("libx265")[:1]]
    return [wire(b"media.lobby", _lines(segment.to_headers(p.segment)), p.payload) for p in found]


def payloads() -> list[bytes]:
    """The video of these."""
    return [read_wire(message)[2] for message in segment_messages()]


def pictures() -> list[bytes]:
    """A small JPEG, PNG and BMP."""
    image = np.add.outer(np.arange(24), np.arange(32))[..., None].repeat(3, 2).astype(np.uint8)
    found = []
    for codec, kind in (("mjpeg", "yuvj420p"), ("png", "rgb24"), ("bmp", "bgr24")):
        encoder: Any = av.CodecContext.create(codec, "w")
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 32, 24, kind, Fraction(1)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=kind)
        frame.pts = 0
        found.append(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))
    return found
