"""Detections and their revisions in EVENTS, and consumers that outlast many kills."""

from __future__ import annotations

from nats.aio.client import Client

from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import events, names
from shared.contract.events import Detections, DetectionsRevision, Quality

LOW = Quality(fps=1.0, wanted=5.0, cause="backlog")
# Short, so that the next worker gets the messages of a dead one in time.
ACK_WAIT_S = 2.0


async def stored(admin: Client, subject: str) -> list[Stored]:
    async with Log(admin, names.EVENTS) as log:
        return await log.all(subject)


async def firsts(admin: Client) -> dict[str, Detections]:
    """By their ids."""
    found = await stored(admin, "events.detections.>")
    return {s.headers["ce-id"]: events.decode(s.data, Detections, s.subject) for s in found}


async def revisions(admin: Client) -> list[DetectionsRevision]:
    found = await stored(admin, "events.revisions.>")
    return [events.decode(s.data, DetectionsRevision, s.subject) for s in found]


async def be_patient(admin: Client, stream: str, consumer: str) -> None:
    """Raise the limits, so that no segment's deliveries run out despite the kills."""
    js = admin.jetstream()
    config = (await js.consumer_info(stream, consumer)).config
    config.ack_wait, config.max_deliver = ACK_WAIT_S, 100
    await js.add_consumer(stream, config)
