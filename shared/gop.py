"""The earlier segments of a GOP, for a segment that was cut inside it: fetched from MEDIA by direct get."""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from shared import names
from shared.errors import BadSegment
from shared.segment import Segment, from_headers

# A GOP of ten minutes is not a camera's: a lying Key-Seq must not make us read the whole stream.
MAX_PARTS = 600


async def earlier(js: JetStreamContext, segment: Segment) -> list[bytes]:
    """Payloads of the GOP's segments before this one, oldest first; none if it starts with a keyframe.

    Raises BadSegment if one of them is not there: it expired, or ingest never published it. Raises nats.errors.Error
    or TimeoutError if the server does not answer: that is no fault of the segment.
    """
    if segment.key_seq is None:
        return []
    parts: list[bytes] = []
    seq = segment.key_seq
    expected: int | None = None  # counter of the part that comes next
    while len(parts) < MAX_PARTS:
        try:
            raw = await js.get_msg(names.MEDIA, seq, names.media(segment.camera), direct=True, next=True)
        except NotFoundError as e:
            raise BadSegment(f"the start of its GOP, sequence {segment.key_seq} of MEDIA, has expired") from e
        if raw.seq is None or (not parts and raw.seq != segment.key_seq):
            raise BadSegment(f"the start of its GOP, sequence {segment.key_seq} of MEDIA, has expired")
        part = from_headers(raw.headers)
        expected = part.n if expected is None else expected
        if part.epoch != segment.epoch or part.n != expected or part.n >= segment.n:
            raise BadSegment(f"segment {expected} of epoch {segment.epoch}, before it in its GOP, is not in MEDIA")
        parts.append(raw.data or b"")
        if part.n == segment.n - 1:
            return parts
        seq, expected = raw.seq + 1, part.n + 1
    raise BadSegment(f"its GOP has more than {MAX_PARTS} segments: Key-Seq can't be right")
