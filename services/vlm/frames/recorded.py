"""Video that MEDIA has deleted, from a recorder, with video not recorded yet. Empty if no recorder answers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from nats.aio.client import Client

from services.vlm.frames import sampling
from services.vlm.frames.jpeg import Part
from shared.bus.requests import NobodyAnswers
from shared.client import recordings
from shared.recordings import queries
from shared.recordings.playing import Play
from shared.runtime.errors import Refusal
from shared.runtime.telemetry import logger

_SECOND = dt.timedelta(seconds=1)


async def between(
    client: Client, camera: str, start: dt.datetime, end: dt.datetime, count: int, also: Sequence[dt.datetime] = ()
) -> list[Part]:
    """Return parts with up to `count` frames of [start, end), at most of its last day: those at `also`, and the rest
    spread evenly over the time from the first video on.
    """
    found = await _plays(client, camera, max(start, end - queries.LONGEST), end)
    return await _parts(client, camera, sampling.shown(found, start, end, count, also))


async def at(client: Client, camera: str, instants: Sequence[dt.datetime]) -> list[Part]:
    """Return parts with the frames of these times, which are within a day."""
    if not instants:
        return []
    instants = sorted(instants)
    found = await _plays(client, camera, instants[0], min(instants[-1] + _SECOND, instants[0] + queries.LONGEST))
    shown = [instant for instant in instants if any(play.start - _SECOND <= instant < play.until for play in found)]
    return await _parts(client, camera, sampling.at(found, shown))


async def _plays(client: Client, camera: str, since: dt.datetime, until: dt.datetime) -> list[Play]:
    try:
        return (await recordings.between(client, camera, since, until)).plays
    except (NobodyAnswers, Refusal) as e:
        logger("vlm").debug("nothing is recorded", camera=camera, error=str(e))
        return []


async def _parts(client: Client, camera: str, shown: Sequence[tuple[Play, list[float]]]) -> list[Part]:
    """Return groups of pictures as parts, like the segments that they once were."""
    parts: list[Part] = []
    for play, offsets in shown:
        try:
            payload = await recordings.alone(client, camera, play)
        except (NobodyAnswers, Refusal) as e:  # it was deleted meanwhile
            logger("vlm").debug("a recording is not given", camera=camera, error=str(e))
            continue
        parts.append(Part(camera, 0, play.start, play.seconds, payload, None, offsets))
    return parts
