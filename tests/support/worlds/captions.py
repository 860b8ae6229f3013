"""Waiting captions, and those that the video in MEDIA requires."""

from __future__ import annotations

import datetime as dt
from typing import Any

from nats.aio.client import Client

from services.vlm.planning.stretches import CaptionPlan, begun_by
from shared.client import registry
from shared.contract import cameras, names
from shared.contract.segment import from_headers
from shared.contract.work import jobs
from tests.support.processes import service


async def add_camera(client: Client, camera: str, **fields: Any) -> None:
    entry, _ = cameras.new_camera("rtsp://127.0.0.1/none", **fields)
    await registry.put(client.jetstream(), camera, entry, None)


async def planned(client: Client) -> list[jobs.Caption]:
    """The waiting captions."""
    js = client.jetstream()
    state = (await js.stream_info("CAPTIONS")).state
    found = []
    for seq in range(max(1, state.first_seq), state.last_seq + 1):
        raw = await js.get_msg("CAPTIONS", seq, direct=True)
        job = jobs.decode(raw.subject or "", raw.data or b"")
        assert isinstance(job, jobs.Caption)
        found.append(job)
    return found


async def looked_through(client: Client) -> None:
    """Wait until the planner has read all headers; returned segments stay in flight until their time."""
    await service.settled(client, "MEDIA", names.VLM_PLAN)


async def wanted(client: Client, plan: CaptionPlan) -> set[tuple[str, dt.datetime, dt.datetime]]:
    """The required captions, by the headers of all segments in MEDIA."""
    js = client.jetstream()
    state = (await js.stream_info("MEDIA")).state
    heads = [from_headers((await js.get_msg("MEDIA", n, direct=True)).headers) for n in range(1, state.last_seq + 1)]
    return {(head.camera, s.start, s.end) for head in heads for s in begun_by(head, plan)}
