"""Captions of a static scene are made once, and a visitor is captioned immediately."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client
from prometheus_client import REGISTRY

from services.ingest.cutting.piece import Piece
from shared import bus
from shared.contract import names
from shared.contract.events import Answer, Caption, Summary, Verdict
from shared.contract.segment import to_headers
from shared.contract.work import jobs
from tests.support.servers.openai_server import GOOD, OpenAiServer
from tests.support.servers.openai_server import respond as stream
from tests.support.video.static_scene import Walker, segments
from tests.support.worlds.captions import add_camera, looked_through, planned
from tests.support.worlds.jobs_world import ask, film, fronting, settled, stored_results, worker
from tidegate.local.server import NatsServer

# Seconds of a caption. In the third stretch of nine somebody stands.
EVERY_S = 3
STRETCHES = 9
stands: Walker = lambda t: (100, 100) if 2 * EVERY_S <= t < 3 * EVERY_S else None  # noqa: E731


class Counting:
    """A model that numbers its captions."""

    def __init__(self) -> None:
        self.captions = 0
        self.prompts: list[str] = []

    async def reply(self, request: Any, body: dict[str, Any]) -> Any:
        self.prompts.append(body["messages"][0]["content"][-1]["text"])
        name = (body.get("response_format") or {}).get("json_schema", {}).get("name")
        if name == "VerdictAnswer":
            return await stream(request, GOOD)
        if name:
            return await stream(request, '{"answer":"Nobody.","frames":[1]}')
        self.captions += 1
        return await stream(request, f"Caption {self.captions}.")


async def store(admin: Client, pieces: list[Piece]) -> dt.datetime:
    """Store the video, which has just ended; return its start."""
    start = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=len(pieces))
    for n, piece in enumerate(pieces):
        head = msgspec.structs.replace(piece.segment, start=start + dt.timedelta(seconds=n), duration=1.0)
        await admin.jetstream().publish(names.media("lobby"), piece.payload, headers=to_headers(head))
    return start


async def caption(admin: Client, start: dt.datetime, n: int, **changes: Any) -> None:
    """Caption the nth stretch, and wait for it."""
    begin = start + dt.timedelta(seconds=n * EVERY_S)
    job = jobs.Caption(camera="lobby", start=begin, end=begin + dt.timedelta(seconds=EVERY_S), **changes)
    await bus.publish_job(admin, job)
    await settled(admin)


async def captions(admin: Client) -> list[tuple[str, Caption]]:
    return [(id, event) for id, event in await stored_results(admin) if isinstance(event, Caption)]


def saved() -> float:
    return REGISTRY.get_sample_value("tidegate_static_scene_tokens_total") or 0.0


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_visitor_is_captioned_and_the_empty_scene_once(
    server: NatsServer, admin: Client, tmp_path: Path, replicas: int
) -> None:
    start = await store(admin, segments(tmp_path / "stands.mp4", EVERY_S * STRETCHES, stands))
    model, before = Counting(), saved()
    async with contextlib.AsyncExitStack() as stack:
        openai = await stack.enter_async_context(OpenAiServer(then=model.reply))
        for n in range(replicas):
            await stack.enter_async_context(
                worker(server, openai.url, vlm_static_scene_refresh_s=3600, replica=f"vlm-{n}")
            )
        for n in range(STRETCHES):
            await caption(admin, start, n)
    found = await captions(admin)
    by_id = dict(found)
    assert len(found) == STRETCHES and model.captions == sum(event.same_as is None for _, event in found)
    # At most one is due by the camera's time.
    assert 2 <= model.captions <= 2 + replicas
    visit = found[2][1]
    assert visit.same_as is None and all(event.text != visit.text for _, event in found if event is not visit)
    for _, event in found:
        assert len(event.frames) == 4 and event.cause is None
        if event.same_as:
            first = by_id[event.same_as]
            assert (event.text, event.model, first.same_as) == (first.text, first.model, None)
            assert event.usage.prompt_tokens == event.usage.completion_tokens == 0
    assert saved() - before == (STRETCHES - model.captions) * (7 + 5)


async def test_a_repeated_caption_is_one_line_of_a_summary(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    start = await store(admin, segments(tmp_path / "stands.mp4", EVERY_S * 6, stands))
    model = Counting()
    async with (
        OpenAiServer(then=model.reply) as openai,
        fronting(server),
        worker(server, openai.url, vlm_static_scene_refresh_s=3600),
    ):
        for n in range(6):
            await caption(admin, start, n)
        found = [event for _, event in await captions(admin)]
        runs = [e for n, e in enumerate(found) if n == 0 or e.text != found[n - 1].text]
        answer = await ask(admin, kind="summarize", camera="lobby", since=start.isoformat())
    assert msgspec.convert(answer, Summary, strict=False).captions == len(runs) < 6
    lines = [line for line in model.prompts[-1].splitlines() if line.endswith(".") and " Caption " in line]
    assert [line.partition(" Caption ")[2] for line in lines] == [e.text.partition(" ")[2] for e in runs]
    assert lines[0].startswith(f"{start:%m-%d %H:%M:%S}-") and len(lines) == len(runs)


async def test_another_prompt_another_camera_and_always_are_captioned(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    start = await store(admin, segments(tmp_path / "still.mp4", EVERY_S))
    model = Counting()
    async with OpenAiServer(then=model.reply) as openai, worker(server, openai.url, vlm_static_scene_refresh_s=3600):
        for n, changes in enumerate([{}, {}, {"prompt": "Is it dark?"}, {"prompt": "Is it dark?", "always": True}]):
            await caption(admin, start, 0, id=f"c{n}", **changes)
    found = [event.same_as is None for _, event in await captions(admin)]
    assert found[0] and found[2:] == [True, True]
    assert model.prompts[-1] == model.prompts[-2] == "Is it dark?"


async def test_verdicts_and_answers_are_always_made(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    start = await store(admin, segments(tmp_path / "still.mp4", EVERY_S))
    end = start + dt.timedelta(seconds=EVERY_S)
    model = Counting()
    async with OpenAiServer(then=model.reply) as openai, worker(server, openai.url, vlm_static_scene_refresh_s=3600):
        for n in range(3):
            await bus.publish_job(admin, jobs.Verify(camera="lobby", incident=f"i{n}", prompt="?", segments=[1, 2, 3]))
            await bus.publish_job(admin, jobs.Ask(camera="lobby", id=f"a{n}", question="?", start=start, end=end))
            await settled(admin)
    found = [event for _, event in await stored_results(admin)]
    assert sum(isinstance(event, Verdict) for event in found) == sum(isinstance(event, Answer) for event in found) == 3
    assert len(model.prompts) == 6 and all(event.usage.prompt_tokens for event in found)


async def test_a_caption_of_fewer_frames_is_not_repeated(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    start = await store(admin, segments(tmp_path / "still.mp4", EVERY_S))
    end = start + dt.timedelta(seconds=EVERY_S)
    await bus.publish_job(admin, jobs.Caption(camera="lobby", id="late", start=start, end=end))
    # By the target the job is late, however soon it is taken.
    await asyncio.sleep(0.2)
    async with (
        OpenAiServer(then=Counting().reply) as openai,
        worker(server, openai.url, vlm_static_scene_refresh_s=3600, vlm_latency_target_s=0.1),
    ):
        await settled(admin)
        await caption(admin, start, 0)
    first, second = [event for _, event in await captions(admin)]
    assert first.quality and not second.same_as


async def test_a_camera_says_that_all_of_it_is_captioned(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby", caption_every_s=10.0, always=True)
    await add_camera(admin, "street", caption_every_s=10.0)
    start = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=120)
    async with fronting(server):
        for camera in ("lobby", "street"):
            await film(admin, 30, camera=camera, start=start)
        await looked_through(admin)
    assert {(job.camera, job.always) for job in await planned(admin)} == {("lobby", True), ("street", False)}
