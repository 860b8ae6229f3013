"""Verdicts of vlm, and a job queue that is full."""

from __future__ import annotations

from nats.aio.client import Client

from shared.contract import events, names
from shared.contract.events import Verdict


async def tell(client: Client, event: Verdict) -> None:
    headers = events.headers(event, id=f"vlm/m/verify/{event.camera}/{event.incident}", source="test")
    await client.jetstream().publish(events.subject(event), events.encode(event), headers=headers)


async def fill_vlm(client: Client) -> None:
    """Fill the stream of jobs."""
    js = client.jetstream()
    config = (await js.stream_info(names.VLM)).config
    config.max_msgs = 1
    await js.update_stream(config)
    await js.publish("jobs.vlm.verify.other", b"{}")
