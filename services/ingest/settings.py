"""The settings of `python -m services.ingest`, read from the environment."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from shared.runtime.settings import BusSettings


class IngestSettings(BusSettings, frozen=True, kw_only=True):
    """Names that end in `_s` are in seconds."""

    ingest_segment_s: Annotated[
        float, Meta(ge=0.1, le=30, description="length that segments aim at; they end at the keyframe that is nearest")
    ] = 1.0
    ingest_buffer_mb: Annotated[
        float,
        Meta(
            gt=0,
            description="buffered video of each stream of a camera while JetStream is away; over that, the oldest is "
            "dropped",
        ),
    ] = 32.0
    ingest_max_cameras: Annotated[
        int,
        Meta(gt=0, description="most cameras that this process takes; the others wait for another process"),
    ] = 500
    ingest_buffer_total_mb: Annotated[
        float,
        Meta(
            gt=0,
            description="video kept for all cameras of a process together; over that, the camera with the most drops "
            "its oldest",
        ),
    ] = 1024.0
    ingest_grace_s: Annotated[
        float,
        Meta(
            gt=0,
            description="seconds that a stop may take to publish what is buffered, of which the rest is dropped; "
            "whoever ends the process has to wait 10 s longer",
        ),
    ] = 20.0
    ingest_timeout_s: Annotated[
        float, Meta(gt=0, le=300, description="a camera that answers or sends nothing for longer is offline")
    ] = 10.0
    ingest_ca: Annotated[
        str,
        Meta(description="path of certificates (PEM) that sign those of rtsps cameras; empty: the system's"),
    ] = ""


class Reaching(msgspec.Struct, frozen=True):
    """How cameras are connected to. timeout_s: for an answer. ca: path of certificates; empty: those of the system."""

    timeout_s: float
    ca: str = ""


class Cutting(msgspec.Struct, frozen=True):
    """How segments are cut. segment_s: length that they aim at. max_bytes: of the payload of one message."""

    segment_s: float
    max_bytes: int
