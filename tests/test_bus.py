"""Publishing: what JetStream does not take, and which error says so."""

from __future__ import annotations

import pytest
from nats.aio.client import Client

from shared import bus, names
from shared.errors import BusError, Full, Unstorable


async def publish(client: Client, subject: str, payload: bytes = b"{}", **headers: str) -> None:
    await bus.publish(client, client.jetstream(), subject, payload, {"Nats-Msg-Id": "1", **headers}, patience_s=0.0)


@pytest.mark.parametrize("limit", ["max_msgs", "max_bytes"])
async def test_a_stream_without_room_is_full(admin: Client, limit: str) -> None:
    js = admin.jetstream()
    config = (await js.stream_info(names.VLM)).config
    setattr(config, limit, 1)
    await js.update_stream(config)
    await js.publish("jobs.vlm.ask.other", b"") if limit == "max_msgs" else None
    with pytest.raises(Full, match=r"jobs\.vlm\.ask\.lobby was not stored"):
        await publish(admin, "jobs.vlm.ask.lobby")


async def test_what_no_server_takes_is_unstorable(admin: Client) -> None:
    for payload, headers in ((bytes(admin.max_payload + 1), {}), (b"", {"traceparent": "x" * 66_000})):
        with pytest.raises(Unstorable, match=r"events\.tracks\.lobby"):
            await publish(admin, "events.tracks.lobby", payload, **headers)
    await publish(admin, "events.tracks.lobby")


async def test_a_subject_without_a_stream_is_another_error(admin: Client) -> None:
    with pytest.raises(BusError, match="nobody was not acknowledged") as refused:
        await publish(admin, "nobody")
    assert not isinstance(refused.value, Full | Unstorable)
