"""Fetches the segment of an alert's frame from MEDIA by direct get, with the segments that it is decoded from."""

from __future__ import annotations

from typing import NamedTuple

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from shared.contract import names
from shared.contract.events import Incident
from shared.contract.segment import Segment, from_message
from shared.runtime.errors import BadSegment, Expired
from shared.video import gop


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
