"""One of two streams is lost and created again: its new messages never pass for those of the lost one."""

from __future__ import annotations

import pytest
from nats.aio.client import Client

from shared import bus
from shared.contract import names, topology
from tidegate.local.server import NatsServer

SUBJECTS = {names.MEDIA: names.media("yard"), names.EVENTS: names.event("detections", "yard")}


async def store(admin: Client, stream: str) -> int:
    """The sequence of a new message."""
    return (await admin.jetstream().publish(SUBJECTS[stream], b"{}")).seq


async def test_new_streams_begin_with_sequence_one(admin: Client) -> None:
    assert [await store(admin, stream) for stream in SUBJECTS] == [1, 1]


@pytest.mark.parametrize("lost", SUBJECTS)
async def test_a_recreated_stream_begins_after_the_lost_sequences(admin: Client, lost: str) -> None:
    js, settings = admin.jetstream(), topology.TopologySettings()
    for _ in range(3):
        await store(admin, lost)
    await js.delete_stream(lost)
    assert any(line == f"stream {lost} created" for line in await topology.apply(js, settings))
    first = await store(admin, lost)
    assert first > 3
    assert not await topology.apply(js, settings)
    await js.delete_stream(lost)
    await topology.apply(js, settings)
    assert await store(admin, lost) > first


async def test_an_event_of_a_new_segment_differs_from_an_old_one(server: NatsServer, admin: Client) -> None:
    """The id of an event contains the segment's sequence."""
    cv = await bus.connect(server.settings("cv"), "cv")

    async def segment_and_event() -> bool:
        """Whether the event was stored."""
        seq = await store(admin, names.MEDIA)
        head = {"Nats-Msg-Id": f"cv/model/MEDIA/{seq}"}
        ack = await bus.publish(cv, cv.jetstream(), SUBJECTS[names.EVENTS], b"{}", head)
        return not ack.duplicate

    assert await segment_and_event()
    await admin.jetstream().delete_stream(names.MEDIA)
    await topology.apply(admin.jetstream(), topology.TopologySettings())
    assert await segment_and_event()
    await cv.close()
