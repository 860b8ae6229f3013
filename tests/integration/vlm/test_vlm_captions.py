"""Captions over a real server: planned for every stretch of video, generated, and summarised."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from typing import Any

import msgspec
import pytest
from aiohttp import web
from nats.aio.client import Client

from services.vlm import app
from services.vlm.planning.stretches import CaptionPlan
from services.vlm.settings import VlmSettings
from shared import bus
from shared.bus.mirror import Mirror
from shared.contract import events, names, topology
from shared.contract.events import Caption, Summary
from shared.runtime.telemetry import Health
from tests.support.servers.openai_server import OpenAiServer
from tests.support.servers.openai_server import respond as stream
from tests.support.waiting import LONGEST_S, patience_s
from tests.support.worlds.captions import add_camera, looked_through, planned, wanted
from tests.support.worlds.jobs_world import ask, film, fronting, settled, stored_results, worker
from tidegate.local.server import NatsServer

MS = dt.timedelta(milliseconds=1)


async def test_every_stretch_of_video_is_planned_once(server: NatsServer, admin: Client) -> None:
    """Two fronts plan together, with the settings of the service or of the camera."""
    await add_camera(admin, "lobby")
    await add_camera(admin, "street", caption_every_s=7.0, caption_prompt="Is the road free?")
    await add_camera(admin, "store", caption_every_s=0.0)
    start = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=120)
    async with (
        fronting(server, vlm_caption_every_s=10, vlm_caption_overlap_s=2),
        fronting(server, vlm_caption_every_s=10, vlm_caption_overlap_s=2),
    ):
        await film(admin, 40, camera="lobby", start=start)
        await looked_through(admin)
        mine = await wanted(admin, CaptionPlan(every_s=10, overlap_s=2))
        await film(admin, 30, camera="street", start=start)
        await film(admin, 30, camera="store", start=start)
        await looked_through(admin)
    found = await planned(admin)
    lobby = [job for job in found if job.camera == "lobby"]
    assert {(j.camera, j.start, j.end) for j in lobby} == mine and len(lobby) == len(mine) >= 4
    assert all(job.end - job.start == dt.timedelta(seconds=12) and job.prompt == "" for job in lobby)
    street = sorted((job for job in found if job.camera == "street"), key=lambda job: job.end)
    assert [b.end - a.end for a, b in itertools.pairwise(street)] == [dt.timedelta(seconds=7)] * (len(street) - 1)
    assert len(street) >= 4 and {job.prompt for job in street} == {"Is the road free?"}
    assert not [job for job in found if job.camera == "store"]


@pytest.mark.slow
async def test_a_stretch_is_planned_once_its_video_is_there_even_over_a_restart(
    server: NatsServer, admin: Client
) -> None:
    await add_camera(admin, "lobby", caption_every_s=3.0)
    start = dt.datetime.now(dt.UTC)
    async with fronting(server):
        await film(admin, 5, start=start)
        async with asyncio.timeout(patience_s()):
            while (await admin.jetstream().consumer_info("MEDIA", names.VLM_PLAN)).num_pending:
                await asyncio.sleep(0.02)
        early = [job for job in await planned(admin) if job.end > dt.datetime.now(dt.UTC)]
        assert not early, "its video is not over"
    # The front and the server have restarted: returned segments are redelivered.
    await server.restart()
    async with fronting(server):
        await looked_through(admin)
    found = await planned(admin)
    assert {(j.camera, j.start, j.end) for j in found} == await wanted(admin, CaptionPlan(every_s=3))
    last = max(job.end for job in found)
    assert dt.datetime.now(dt.UTC) >= last


async def test_a_stopping_front_returns_unread_segments(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    js = admin.jetstream()
    consumer = (await js.consumer_info("MEDIA", names.VLM_PLAN)).config
    consumer.ack_wait = 2 * LONGEST_S  # redelivery without a hand-back comes after this test
    await js.add_consumer("MEDIA", consumer)
    await add_camera(admin, "lobby", caption_every_s=10.0)
    requested = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        requested.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(bus, "publish_job", never)
        async with fronting(server):
            await film(admin, 40, start=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=120))
            await requested.wait()
            async with asyncio.timeout(patience_s()):
                while (info := await js.consumer_info("MEDIA", names.VLM_PLAN)).num_pending:
                    await asyncio.sleep(0.01)
            assert (info.num_ack_pending or 0) > 20, "the others wait behind the first"
    async with fronting(server):
        await looked_through(admin)
    mine = await wanted(admin, CaptionPlan(every_s=10))
    assert {(j.camera, j.start, j.end) for j in await planned(admin)} == mine


async def test_a_front_that_cannot_follow_the_cameras_ends(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(mirror: Mirror) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Mirror, "_follow", broken)
    client = await bus.connect(server.settings("vlm-front"), "vlm-front")
    async with asyncio.timeout(patience_s()):
        with pytest.raises(RuntimeError, match="broken"):
            await app.run_front(VlmSettings(vlm_mode="front"), client, Health(), asyncio.Event())
    await client.close()


async def test_captions_wait_while_their_stream_is_full(server: NatsServer, admin: Client) -> None:
    await topology.apply(admin.jetstream(), topology.TopologySettings(vlm_max_captions=2))
    await add_camera(admin, "lobby", caption_every_s=10.0)
    start = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=120)
    async with fronting(server):
        await film(admin, 40, start=start)
        async with asyncio.timeout(patience_s()):
            while len(await planned(admin)) < 2:
                await asyncio.sleep(0.05)
        mine = await wanted(admin, CaptionPlan(every_s=10))
        await topology.apply(admin.jetstream(), topology.TopologySettings())
        await looked_through(admin)
    assert {(j.camera, j.start, j.end) for j in await planned(admin)} == mine


async def test_video_becomes_captions_and_captions_a_summary(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby", caption_every_s=10.0)
    start = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=60)

    async def answer(request: Any, body: dict[str, Any]) -> Any:
        about = body["messages"][0]["content"][-1]["text"]
        return await stream(request, "A man walks by." if "frames" in about else f"Summary of {about.count('walks')}.")

    async with OpenAiServer(then=answer) as openai, fronting(server), worker(server, openai.url):
        await film(admin, 45, start=start)
        await looked_through(admin)
        await settled(admin)
        captions = [e for _, e in await stored_results(admin) if isinstance(e, Caption)]
        assert len(captions) >= 4 and {c.text for c in captions} == {"A man walks by."}
        assert all(c.frames and c.start <= c.frames[0].time < c.end for c in captions)
        found = await ask(admin, kind="summarize", camera="lobby", since=start.isoformat())
        whole = msgspec.convert(found, Summary, strict=False)
    assert (whole.captions, whole.text, whole.parts) == (len(captions), f"Summary of {len(captions)}.", [])


@pytest.mark.slow
async def test_a_day_of_captions_is_summarised_in_fitting_parts(server: NatsServer, admin: Client) -> None:
    """The context has 4096 tokens, the model counts two characters for one, and refuses longer prompts."""
    count, day = 1440, dt.datetime.now(dt.UTC) - dt.timedelta(hours=24)
    client = await bus.connect(server.settings("admin"), "admin")
    zero = {"queued_ms": 0.0, "decode_ms": 0.0, "infer_ms": 0.0}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "first_token_ms": 0.0}
    for n in range(count):
        begin = day + dt.timedelta(minutes=n)
        event = msgspec.convert(
            {
                "camera": "lobby",
                "job": f"c{n}",
                "start": begin,
                "end": begin + dt.timedelta(minutes=1),
                "model": "m",
                "frames": [],
                "timing": zero,
                "usage": usage,
                "text": f"<{n}> A person with a long description walks from left to right.",
            },
            Caption,
        )
        await client.jetstream().publish(events.subject(event), events.encode(event))
    seen: set[int] = set()
    sizes: list[int] = []

    async def answer(request: Any, body: dict[str, Any]) -> Any:
        about = body["messages"][0]["content"][0]["text"]
        tokens = len(about) // 2
        if tokens + body["max_tokens"] > 4096:
            message = f"This model's maximum context length is 4096 tokens, and you asked for {tokens}"
            return web.json_response({"error": {"message": message}}, status=400)
        sizes.append(tokens)
        numbers = [int(part.partition(">")[0]) for part in about.split("<")[1:]]
        seen.update(numbers)
        usage = {"prompt_tokens": tokens, "completion_tokens": 9}
        return await stream(request, f"<{min(numbers)}> to <{max(numbers)}>", usage=usage)

    async with OpenAiServer(then=answer) as openai, fronting(server), worker(server, openai.url, vlm_max_tokens=300):
        found = await ask(admin, kind="summarize", camera="lobby", since=day.isoformat())
    whole = msgspec.convert(found, Summary, strict=False)
    assert whole.captions == count and seen == set(range(count))
    assert whole.text == f"<0> to <{count - 1}>"
    assert len(whole.parts) > 5
    for a, b in zip(whole.parts, whole.parts[1:], strict=False):
        assert a.start < b.start and a.end <= b.end
    assert whole.usage.prompt_tokens == sum(sizes)
    await client.close()
