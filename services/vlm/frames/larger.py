"""Takes frames from a camera's main stream where its substream has fewer pixels than a frame may have."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from nats.aio.client import Client

from services.vlm.frames.jpeg import Part
from shared.video import main_stream


async def enlarge(client: Client, parts: Sequence[Part], side: int) -> list[Part]:
    """Return the parts, or those of the main stream with the same frames. side: maximum pixels of the longer side.

    Raises nats.errors.Error or TimeoutError if the server does not answer.
    """
    found: list[Part] = []
    for part in parts:
        if part.head is None or max(part.head.width, part.head.height) >= side:
            found.append(part)
        else:
            found += await _enlarged(client, part)
    return found


async def _enlarged(client: Client, part: Part) -> list[Part]:
    assert part.head
    found: list[Part] = []
    rest: list[float] = []
    for offset in part.offsets:
        instant = part.start + dt.timedelta(seconds=offset)
        last = found[-1] if found else None
        if last and last.fallback and last.start <= instant < last.end:
            last.offsets.append((instant - last.start).total_seconds())
            last.fallback.offsets.append(offset)
        elif main := await main_stream.at(client, part.camera, instant, in_place_of=part.head):
            head, fallback = main.segment, part._replace(offsets=[offset])
            offsets = [main.offset(instant)]
            found.append(
                Part(part.camera, main.seq, head.start, head.duration, main.payload, head, offsets, True, fallback)
            )
        else:
            rest.append(offset)
    return [*found, part._replace(offsets=rest)] if rest else found
