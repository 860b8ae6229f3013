"""Captions under overload: fewer frames of each, no time without one, and none with two.

tests/support/processes/crashing_captions.py is the worker, and the front, that die.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from prometheus_client import REGISTRY

from services.vlm.frames.frame_budget import frames_of
from services.vlm.planning.stretches import CaptionPlan
from services.vlm.settings import VlmSettings
from shared import bus
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.client import dlq
from shared.contract import names
from shared.contract.cameras import LONGEST_CAPTION_S
from shared.contract.events import Answer, Caption, Quality, Verdict, decode
from shared.contract.work import jobs, stats
from shared.contract.work.stats import WorkerStats
from shared.elastic.levels import LEVELS, Level
from shared.runtime.backoff import Backoff
from tests.support.processes.crashing_captions import FRONT, WORKER
from tests.support.servers.openai_server import OpenAiServer, text
from tests.support.waiting import patience_s, until
from tests.support.worlds.backfill import be_patient
from tests.support.worlds.captions import looked_through, wanted
from tests.support.worlds.jobs_world import film, settled, stored_results, waiting, worker
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.server import NatsServer
from tidegate.view.events import describe

NOW = dt.datetime(2026, 11, 24, 13, tzinfo=dt.UTC)
FULL, FLOOR = LEVELS[0], LEVELS[-1]
# The seconds and the maximum of frames of a caption in these tests.
EVERY_S = 5
FRAMES = 4
KILLS_A_POINT = 3
# By this target every job is late.
LATE_S = 0.05


def job_of(kind: type[jobs.Job]) -> jobs.Job:
    stretch: dict[str, Any] = {"start": NOW, "end": NOW + dt.timedelta(seconds=30)}
    fields: dict[type[jobs.Job], dict[str, Any]] = {
        jobs.Verify: {"incident": "i", "prompt": "?", "segments": [1]},
        jobs.Check: {"incident": "i", "prompt": "?", "segments": [1]},
        jobs.Ask: {"question": "?", **stretch},
        jobs.Summarize: stretch,
        jobs.Caption: stretch,
    }
    return kind(camera="lobby", **fields[kind])


# ---- pure


@given(kind=st.sampled_from(jobs.KINDS), frames=st.integers(1, 256), floor=st.integers(1, 256))
def test_only_captions_are_degraded_and_never_below_the_floor(kind: type[jobs.Job], frames: int, floor: int) -> None:
    look = frames_of(job_of(kind), lambda: FLOOR, wanted=frames, floor=floor)
    if kind is jobs.Summarize:
        assert (look.frames, look.wanted) == (0, 0)
    elif kind is jobs.Caption:
        assert (look.frames, look.wanted) == (min(frames, floor), frames)
    else:
        assert (look.frames, look.wanted) == (frames, frames)
    assert (look.quality is not None) == (look.frames < look.wanted)
    assert (look.images < look.wanted_images) == (look.frames < look.wanted)


@given(kind=st.sampled_from(jobs.KINDS), frames=st.integers(1, 256), floor=st.integers(1, 256))
def test_a_timely_job_gets_all_frames(kind: type[jobs.Job], frames: int, floor: int) -> None:
    look = frames_of(job_of(kind), lambda: FULL, wanted=frames, floor=floor)
    assert look.frames == look.wanted and look.quality is None and look.images == look.wanted_images == 1


@given(frames=st.integers(1, 256), floor=st.integers(1, 256))
def test_a_degraded_job_takes_less_but_more_than_its_share_of_frames(frames: int, floor: int) -> None:
    """The length of an answer does not change, so the scaler does not overestimate a replica's speed."""
    look = frames_of(job_of(jobs.Caption), lambda: FLOOR, wanted=frames, floor=floor)
    assert look.frames / look.wanted <= look.images / look.wanted_images <= 1


def test_the_rate_of_frames_is_that_of_the_stretch() -> None:
    look = frames_of(job_of(jobs.Caption), lambda: Level("half", 0.5, 0.6), wanted=8, floor=2)
    assert look.frames == 5 and look.quality == Quality(fps=0.1667, wanted=0.2667, cause="backlog")


@given(seconds=st.floats(0.001, LONGEST_CAPTION_S), wanted=st.integers(1, 16), floor=st.integers(1, 16))
def test_an_event_has_the_number_of_wanted_frames(seconds: float, wanted: int, floor: int) -> None:
    job = jobs.Caption(camera="lobby", start=NOW, end=NOW + dt.timedelta(seconds=seconds))
    look = frames_of(job, lambda: FLOOR, wanted=wanted, floor=floor)
    assert look.quality is None or look.quality.frames_wanted(look.frames) == wanted
    assert look.quality is None or look.quality.wanted <= 1000


def test_the_target_reaches_the_loop_and_is_off_by_default() -> None:
    assert VlmSettings(vlm_url="http://x/v1").worker().latency_target_s == 0
    assert VlmSettings(vlm_url="http://x/v1", vlm_latency_target_s=3.0).worker().latency_target_s == 3.0


# ---- a worker, on a real server


async def ask_for(admin: Client, seqs: list[int], count: int = 3) -> None:
    """Publish `count` captions of the last seconds, and one job of each other kind."""
    now = dt.datetime.now(dt.UTC)
    since = now - dt.timedelta(seconds=len(seqs))
    for n in range(count):
        await bus.publish_job(admin, jobs.Caption(camera="lobby", id=f"c-{n}", start=since, end=now))
    await bus.publish_job(admin, jobs.Verify(camera="lobby", incident="i-1", prompt="?", segments=seqs))
    await bus.publish_job(admin, jobs.Ask(camera="lobby", id="a-1", question="?", start=since, end=now))


def frames_counted(what: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"tidegate_frames_{what}_total", {"service": "vlm", **labels}) or 0.0


async def test_only_late_captions_get_fewer_frames(server: NatsServer, admin: Client) -> None:
    await ask_for(admin, await film(admin, 8))
    before = [frames_counted("wanted"), frames_counted("analysed"), frames_counted("deferred", cause="backlog")]
    await asyncio.sleep(2 * LATE_S)
    async with OpenAiServer(then=both) as openai, worker(server, openai.url, vlm_latency_target_s=LATE_S):
        await settled(admin)
    found = [event for _, event in await stored_results(admin)]
    captions = [event for event in found if isinstance(event, Caption)]
    assert [len(event.frames) for event in captions] == [2, 2, 2]
    assert {event.quality for event in captions} == {Quality(fps=0.25, wanted=0.5, cause="backlog")}
    assert "8 s by 2 of 4 frames: A man walks by." in describe(captions[0])
    assert [len(event.frames) for event in found if isinstance(event, Verdict | Answer)] == [FRAMES, FRAMES]
    after = [frames_counted("wanted"), frames_counted("analysed"), frames_counted("deferred", cause="backlog")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [5 * FRAMES, 3 * 2 + 2 * FRAMES, 3 * 2]
    assert await waiting(admin, names.BACKFILL) == 0


async def both(request: Any, body: dict[str, Any]) -> Any:
    """A valid answer for each kind of job."""
    form = (body.get("response_format") or {}).get("json_schema", {}).get("name")
    answers = {
        "VerdictAnswer": '{"verdict":"confirmed","confidence":9,"reason":"x"}',
        "QuestionAnswer": '{"answer":"A man.","frames":[1]}',
    }
    return await text(answers.get(form, "A man walks by."))(request, body)


async def test_timely_captions_and_those_without_a_target_get_all_frames(server: NatsServer, admin: Client) -> None:
    seqs = await film(admin, 8)
    for settings in (
        {},
        {"vlm_latency_target_s": 3600.0},
        {"vlm_latency_target_s": LATE_S, "vlm_frames_floor": FRAMES},
    ):
        await ask_for(admin, seqs)
        await asyncio.sleep(2 * LATE_S)
        async with OpenAiServer(then=both) as openai, worker(server, openai.url, **settings):
            await settled(admin)
    captions = [event for _, event in await stored_results(admin) if isinstance(event, Caption)]
    assert {(len(event.frames), event.quality) for event in captions} == {(FRAMES, None)}


@pytest.mark.slow
async def test_a_caption_without_video_has_no_quality(server: NatsServer, admin: Client) -> None:
    await film(admin, 2, camera="other")
    await ask_for(admin, [1])
    await asyncio.sleep(2 * LATE_S)
    async with OpenAiServer(then=both) as openai, worker(server, openai.url, vlm_latency_target_s=LATE_S):
        await settled(admin)
    captions = [event for _, event in await stored_results(admin) if isinstance(event, Caption)]
    assert [(event.cause, event.quality) for event in captions] == [("no_video", None)] * 3


async def test_a_degrading_replica_does_not_count_as_faster(server: NatsServer, admin: Client) -> None:
    heard: list[WorkerStats] = []

    async def hear(message: Any) -> None:
        heard.append(stats.decode(message.data))

    await admin.subscribe(names.stats("vlm", "*"), cb=hear)
    await ask_for(admin, await film(admin, 8))
    await asyncio.sleep(2 * LATE_S)
    async with OpenAiServer(then=both) as openai, worker(server, openai.url, vlm_latency_target_s=LATE_S):
        await until(lambda: heard and heard[-1].processed == 5)
    beat = heard[-1]
    assert (beat.frames_wanted, beat.frames_analysed) == (5 * FRAMES, 3 * 2 + 2 * FRAMES)
    assert beat.frames_never == beat.frames_wanted - beat.frames_analysed  # captions have no backfill
    # Three of five jobs take 4 of 6 parts.
    assert 4 / 6 < beat.work_s / beat.wanted_s < 1


# ---- killed processes


@pytest.mark.slow
@pytest.mark.long
async def test_a_kill_of_any_process_leaves_one_caption_for_all_time(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    """Two workers and two fronts, killed at every point between a segment and its caption."""
    for stream, consumer in (("CAPTIONS", "vlm-caption"), ("MEDIA", names.VLM_PLAN)):
        await be_patient(admin, stream, consumer)
    async with OpenAiServer(then=text("A man walks by.")) as openai:
        workers = pool(server, tmp_path, "vlm", WORKER, {"VLM_URL": openai.url, "VLM_FRAMES": str(FRAMES)})
        fronts = pool(server, tmp_path, "vlm-front", FRONT, {"VLM_MODE": "front", "VLM_CAPTION_EVERY_S": f"{EVERY_S}"})
        await workers.scale_to(2)
        await fronts.scale_to(2)
        cameras = 0
        try:
            async with asyncio.timeout(3 * patience_s()):
                while workers.restarts < len(WORKER) * KILLS_A_POINT or fronts.restarts < len(FRONT) * KILLS_A_POINT:
                    # All of its stretches are in the past.
                    start = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=40)
                    await film(admin, 20, camera=f"camera-{cameras}", start=start)
                    cameras += 1
                    await asyncio.sleep(0.5)
                    # Bound the backlog at the end, however slow the machine is.
                    while await waiting(admin, names.CAPTIONS) > 20:
                        await asyncio.sleep(0.1)
                await looked_through(admin)
                await settled(admin)
        finally:
            await workers.close()
            await fronts.close()
    for name, points in (("vlm", WORKER), ("vlm-front", FRONT)):
        assert Counter((tmp_path / name / "killed").read_text().split()) == dict.fromkeys(points, KILLS_A_POINT)
    captions = await all_captions(admin)
    assert {(event.cause, event.reason) for event in captions} == {(None, "")}
    stretches = Counter((event.camera, event.start, event.end) for event in captions)
    assert stretches == dict.fromkeys(await wanted(admin, CaptionPlan(every_s=EVERY_S)), 1)
    for n in range(cameras):
        mine = sorted(event.start for event in captions if event.camera == f"camera-{n}")
        assert {b - a for a, b in itertools.pairwise(mine)} == {dt.timedelta(seconds=EVERY_S)}, "no hole, no overlap"
    low = sum(event.quality is not None for event in captions)
    assert len(captions) / 4 < low < len(captions) * 3 / 4, "chance had both"
    assert await waiting(admin, names.BACKFILL) == 0
    assert [letter async for letter in dlq.entries(admin)] == []
    print(f"{len(captions)} captions of 20 s of {cameras} cameras, {low} of them of fewer frames")


async def all_captions(client: Client) -> list[Caption]:
    found: list[Stored] = []
    async with Log(client, names.EVENTS) as log:
        while more := await log.read(names.event(Caption.kind, ">"), found[-1].seq + 1 if found else 1):
            found += more
    return [decode(stored.data, Caption, stored.subject) for stored in found]


def pool(server: NatsServer, folder: Path, identity: str, points: tuple[str, ...], env: dict[str, str]) -> Replicas:
    (folder / identity).mkdir()
    (folder / identity / "plan").write_text("\n".join(points * KILLS_A_POINT))
    return Replicas(
        identity,
        [sys.executable, "-m", "tests.support.processes.crashing_captions"],
        server.environment(identity) | {"PLAN": str(folder / identity)} | env,
        folder / "logs",
        backoff=Backoff(first_s=0.1, longest_s=0.1),
    )
