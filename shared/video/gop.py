"""Fetches the segments before one that was cut inside its GOP, from MEDIA by direct get."""

from __future__ import annotations

from collections.abc import Mapping

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from shared.contract import names
from shared.contract.deadletters import REPLAY_OF
from shared.contract.reading.missing import check_readable
from shared.contract.segment import Segment, from_headers
from shared.runtime.errors import BadSegment, Expired
from shared.video.budget import Budget

# Maximum messages and bytes to read for one segment: a false Key-Seq must not make us read the whole stream. Ingest's
# GOPs last at most a minute.
MAX_READS = 1000
MAX_BYTES = 256 * 1024 * 1024


async def earlier(js: JetStreamContext, segment: Segment, budget: Budget | None = None) -> list[bytes]:
    """Return the payloads to decode before this one, oldest first; none if it starts with a keyframe.

    They are the GOP's, or with intra refresh those from the last recovery point that makes its pictures correct.

    Replays between them are skipped, as are late messages of another ingest. Raises Expired if one of them is missing:
    it has expired, or was never published. Raises BadSegment for an impossible GOP. Raises OverBudget, before all are
    read, if by their headers they can't be decoded within `budget`. Raises nats.errors.Error or TimeoutError if the
    server does not answer, which is no fault of the segment.
    """
    if segment.key_seq is None:
        return []
    budget = budget or Budget()
    pixels = segment.width * segment.height
    parts: list[bytes] = []
    seq = segment.key_seq
    subject: str | None = None  # of the GOP's start: a camera may have two streams
    expected: int | None = None  # the counter of the next part
    for _ in range(MAX_READS):
        try:
            raw = await js.get_msg(names.MEDIA, seq, subject, direct=True, next=subject is not None)
        except NotFoundError:
            await check_readable(js, names.MEDIA, names.media(">"))  # the segment itself is in it
            break
        if raw.seq is None or raw.subject not in names.streams_of(segment.camera):
            break
        seq, subject = raw.seq + 1, raw.subject
        part = _read(raw.headers)
        if expected is None and (part is None or part.epoch != segment.epoch or not part.starts_gop):
            raise BadSegment(f"sequence {segment.key_seq} of MEDIA, its Key-Seq, does not start its GOP")
        if part is None or part.epoch != segment.epoch or (expected is not None and part.n < expected):
            continue
        if part.n >= segment.n or (expected is not None and part.n > expected):
            raise Expired(f"segment {expected} of epoch {segment.epoch}, before it in its GOP, is not in MEDIA")
        parts.append(raw.data or b"")
        pixels += part.frames * part.width * part.height
        budget.check(pixels, "from its GOP's keyframe on, it takes over")
        expected = part.n + 1
        if expected == segment.n:
            return parts
        if sum(map(len, parts)) > MAX_BYTES:
            raise BadSegment(f"its GOP has over {MAX_BYTES // 2**20} MB before it: too much to decode for one segment")
    raise Expired(f"the start of its GOP, sequence {segment.key_seq} of MEDIA, has expired")


async def start(js: JetStreamContext, segment: Segment) -> tuple[Segment, bytes]:
    """Return the first segment of a dependent one's GOP, and its payload. Raises as `earlier` does."""
    assert segment.key_seq is not None
    try:
        raw = await js.get_msg(names.MEDIA, segment.key_seq, direct=True)
    except NotFoundError as e:
        await check_readable(js, names.MEDIA, names.media(">"))  # the segment itself is in it
        raise Expired(f"the start of its GOP, sequence {segment.key_seq} of MEDIA, has expired") from e
    part = _read(raw.headers)
    if part is None or not part.starts_gop or (part.camera, part.epoch) != (segment.camera, segment.epoch):
        raise BadSegment(f"sequence {segment.key_seq} of MEDIA, its Key-Seq, does not start its GOP")
    return part, raw.data or b""


def _read(headers: Mapping[str, str] | None) -> Segment | None:
    """Parse a message's headers; None if it is no segment, or a replay of one."""
    try:
        return None if REPLAY_OF in (headers or {}) else from_headers(headers)
    except BadSegment:
        return None
