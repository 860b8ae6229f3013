"""A stored segment as a video that anyone can play."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.search.clip import Clip, collect, join
from shared.contract import names
from shared.contract.segment import from_headers
from shared.runtime.errors import SettingError

# A camera with one keyframe per minute, at 16 Mbit/s.
MOST_BYTES = 128 * 2**20


class Playable(NamedTuple):
    """The video of a segment, from its keyframe on."""

    camera: str
    clip: Clip


async def fetch(client: Client, seq: int) -> Playable:
    """Return the segment at `seq` of MEDIA. Raises TidegateError if it has expired, or can't be read."""
    js = client.jetstream()
    try:
        stored = await js.get_msg(names.MEDIA, seq, direct=True)
    except NotFoundError as e:
        state = (await js.stream_info(names.MEDIA)).state
        raise SettingError(f"{names.MEDIA}/{seq} is not kept: {_available(state.first_seq, state.last_seq)}") from e
    head = from_headers(stored.headers)
    end = head.start + dt.timedelta(seconds=head.duration)
    return Playable(head.camera, join(await collect(js, head.camera, seq, head.start, end, max_bytes=MOST_BYTES)))


def _available(first: int, last: int) -> str:
    if last < first or not last:
        return "there is no video yet"
    return f"MEDIA has {first} to {last} now, ten minutes by default (MEDIA_MAX_AGE_S)"
