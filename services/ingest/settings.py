"""What ingest reads from the environment."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from shared.runtime.settings import BusSettings


class IngestSettings(BusSettings, frozen=True, kw_only=True):
    """Times in seconds."""

    ingest_segment_s: Annotated[
        float, Meta(ge=0.1, le=30, description="length that segments aim at; keyframes decide")
    ] = 1.0
    ingest_buffer_mb: Annotated[
        float, Meta(gt=0, description="video kept per camera while JetStream is away; then oldest GOPs go")
    ] = 32.0
    ingest_timeout_s: Annotated[
        float, Meta(gt=0, le=300, description="a camera that connects or sends no slower than this is alive")
    ] = 10.0


class Cutting(msgspec.Struct, frozen=True):
    """What a connection needs to know to cut. segment_s: seconds. max_bytes: of one message, headers included."""

    segment_s: float
    max_bytes: int
