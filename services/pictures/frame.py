"""Fetches the segment of an alert's frame from MEDIA by direct get, with the segments that it is decoded from.

A camera with a substream has its alerts from that, and the same frame in more pixels on its main stream.
"""

from __future__ import annotations

from typing import NamedTuple

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from shared.contract import names
from shared.contract.events import Incident
from shared.contract.segment import Segment, from_message
from shared.runtime.errors import BadSegment, Expired
from shared.runtime.telemetry import logger
from shared.video import gop, main_stream

# An alert is published when the substream's segment is analysed: the main stream's may be a moment away.
PATIENCE_S = 3.0


class CodedFrame(NamedTuple):
    """A frame before it is decoded. before: the payloads to decode first. offset: seconds from the segment's start."""

    segment: Segment
    payload: bytes
    before: list[bytes]
    offset: float


async def fetch(js: JetStreamContext, alert: Incident) -> CodedFrame:
    """Return the frame that an alert's snapshot names.

    Raises Expired if MEDIA has it no longer, BadSegment if it is no segment of this camera, nats.errors.Error or
    TimeoutError if the server does not answer.
    """
    snapshot = alert.snapshot
    if snapshot.stream != names.MEDIA:
        raise BadSegment(f"its snapshot is in stream {snapshot.stream!r}, not in {names.MEDIA}")
    try:
        raw = await js.get_msg(names.MEDIA, snapshot.seq, direct=True)
    except NotFoundError as e:
        raise Expired("its video had expired in MEDIA before the picture was made") from e
    if raw.subject != names.media(alert.camera):
        raise BadSegment(f"its snapshot is no segment of camera {alert.camera}")
    segment = from_message(raw.subject, raw.headers or {})
    before = await gop.earlier(js, segment)
    offset = (snapshot.time - segment.start).total_seconds()
    return CodedFrame(segment, raw.data or b"", before, min(max(0.0, offset), segment.duration))


async def fetch_larger(client: Client, alert: Incident, coded: CodedFrame, width: int) -> CodedFrame | None:
    """Return the same frame of the main stream; None if there is none, or `coded` has `width` pixels already.

    Raises nats.errors.Error or TimeoutError if the server does not answer.
    """
    if coded.segment.width >= width:
        return None
    time = alert.snapshot.time
    found = await main_stream.at(client, alert.camera, time, in_place_of=coded.segment, patience_s=PATIENCE_S)
    if found is None:
        return None
    try:
        before = await gop.earlier(client.jetstream(), found.segment)
    except BadSegment as e:
        logger("pictures").debug("the main stream has no such frame", camera=alert.camera, reason=str(e))
        return None
    return CodedFrame(found.segment, found.payload, before, found.offset(time))
