"""The segments that wait for the end of their stretches: one for each, and no flood displaces others."""

from __future__ import annotations

import asyncio
import datetime as dt

import msgspec
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from services.vlm.planning.planner import MOST_OF_A_CAMERA, MOST_UNLISTED, PendingSegments
from services.vlm.planning.stretches import CaptionStretch
from shared import bus
from shared.contract import names
from shared.contract.segment import to_headers
from tests.support.waiting import patience_s
from tests.support.worlds.captions import add_camera, planned
from tests.support.worlds.jobs_world import film, fronting
from tests.support.worlds.recorder_world import small
from tidegate.local.server import NatsServer

__all__ = ["small"]

START = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)


def ending(second: float) -> list[CaptionStretch]:
    end = START + dt.timedelta(seconds=second)
    return [CaptionStretch(end - dt.timedelta(seconds=10), end)]


def test_one_segment_waits_for_a_stretch_even_when_redelivered() -> None:
    pending, now = PendingSegments(), START.timestamp()
    assert pending.add("lobby", ending(5), 1, now, is_listed=True)
    assert not pending.add("lobby", ending(5), 2, now, is_listed=True)
    assert pending.add("lobby", ending(5), 1, now, is_listed=True)
    assert pending.add("lobby", ending(6), 2, now, is_listed=True)
    assert pending.add("yard", ending(5), 3, now, is_listed=True)
    assert pending.add("lobby", ending(5), 4, now + 5.5, is_listed=True), "the first is over"


def test_pending_segments_are_bounded() -> None:
    pending, now = PendingSegments(), START.timestamp()
    of_one = [pending.add("lobby", ending(n), n, now, is_listed=True) for n in range(1000)]
    assert sum(of_one) == MOST_OF_A_CAMERA
    invented = [pending.add(f"invented-{n}", ending(1), n, now, is_listed=False) for n in range(1000)]
    assert sum(invented) == MOST_UNLISTED
    assert pending.add("yard", ending(1), 1, now, is_listed=True)
    assert pending.add("other", ending(9), 1, now + 2, is_listed=False), "a place is free again"


async def test_a_flood_of_one_camera_stops_no_captions_of_others(
    server: NatsServer, admin: Client, small: list[Piece]
) -> None:
    await add_camera(admin, "lobby", caption_every_s=5.0)
    await add_camera(admin, "street", caption_every_s=300.0)
    ingest = await bus.connect(server.settings("ingest"), "ingest")
    js = ingest.jetstream()
    async with fronting(server):
        soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60)
        for part in range(10):
            await asyncio.gather(
                *(
                    js.publish(names.media("street"), b"x", headers=to_headers(head) | {"Nats-Msg-Id": head.epoch})
                    for n in range(450)
                    if (
                        head := msgspec.structs.replace(
                            small[0].segment, camera="street", n=0, epoch=f"z{part}-{n}", start=soon, duration=50.0
                        )
                    )
                )
            )
        await film(admin, 15, camera="lobby", start=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=60))
        async with asyncio.timeout(patience_s()):
            while not any(job.camera == "lobby" for job in await planned(admin)):
                await asyncio.sleep(0.1)
    await ingest.close()
