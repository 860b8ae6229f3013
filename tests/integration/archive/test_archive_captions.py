"""`tidegate reanalyze --caption`: stretches of recordings get one caption each, despite the death of any process."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import shutil
from html import escape
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.vlm.kinds.caption import PROMPT
from services.vlm.planning.stretches import CaptionPlan, begun_by, over
from shared.client import registry
from shared.contract import cameras, events, names
from shared.contract.segment import Segment, rfc3339
from shared.contract.work import runs
from shared.contract.work.runs import Reanalysis
from shared.recordings import ledger as ledgers
from shared.recordings.ledger import Ledger
from shared.recordings.policy import camera_key
from shared.video.decode import decode
from tests.support.servers.openai_server import OpenAiServer, refused
from tests.support.servers.openai_server import respond as stream
from tests.support.video.video_world import pixels
from tests.support.waiting import patience_s
from tests.support.worlds.archive_world import BEGIN, command, store, table
from tests.support.worlds.caption_runs import EVERY_S, SECOND, World, world
from tests.support.worlds.jobs_world import ask, fronting, worker
from tests.support.worlds.runs import stored
from tidegate.archive import rows
from tidegate.demo import clips, footage
from tidegate.local.server import NatsServer

__all__ = ["store", "world"]


@given(
    st.sampled_from(["lobby", "a", "street-7"]),
    st.integers(0, 10**6),
    st.integers(1, 200),
    st.integers(1000, 90_000),
    st.integers(0, 60_000),
    st.integers(0, 20_000),
)
def test_stretches_of_a_time_equal_those_planned_live(
    camera: str, since: int, count: int, every: int, chunk: int, overlap: int
) -> None:
    plan = CaptionPlan(every_s=every / 1000, chunk_s=chunk / 1000, overlap_s=overlap / 1000)
    begin = BEGIN + dt.timedelta(milliseconds=since)
    segments = [
        Segment(
            camera=camera, epoch="e", n=n, start=begin + n * SECOND, duration=1.0, codec="h264", width=160, height=90,
            frames=25,
        )
        for n in range(count)
    ]  # fmt: skip
    found = list(over(camera, begin, begin + count * SECOND, plan))
    assert found == sorted(set(found))
    assert set(found) == {stretch for segment in segments for stretch in begun_by(segment, plan)}


@pytest.mark.slow
async def test_every_stretch_with_video_has_one_caption_of_its_frames(world: World) -> None:
    output, _ = await world.done(*world.run())
    found = world.captions()
    by_camera = {camera: [row for row in found if row["camera"] == camera] for camera in ("alley", "crossing")}
    for camera, row in by_camera.items():
        # Forty seconds of video; the parts of a stretch before and after it have no frames.
        assert row[0]["start"] == BEGIN and row[-1]["start"] < BEGIN + 40 * SECOND <= row[-1]["end"]
        assert all(a["end"] == b["start"] for a, b in itertools.pairwise(row)), camera
        assert all((one["end"] - one["start"]) == EVERY_S * SECOND for one in row[1:])
    assert len({row["id"] for row in found}) == len(found) >= 16
    for row in found:
        within = (max(row["start"], BEGIN), min(row["end"], BEGIN + 40 * SECOND))
        step = (within[1] - within[0]) / 8
        expected = [within[0] + step * (n + 0.5) for n in range(8)]
        differ = [abs(time - near) / SECOND for time, near in zip(row["frames"], expected, strict=False)]
        assert row["text"] == f"{len(row['frames'])} pictures." and row["failed"] is None
        assert max(differ) <= 0.05, row
        assert (row["model"], row["prompt_tokens"], row["completion_tokens"]) == ("fake", 7, 5)
    assert f"{len(found)} captions by fake" in output
    assert {question for question, _ in world.model.requests} == {PROMPT}
    assert not (world.output / "segments").exists() and not (world.output / "tracks").exists()


@pytest.mark.slow
async def test_the_model_sees_the_frames_of_the_stretch(world: World) -> None:
    await world.done(*world.run("--camera", "alley", "--until", str(BEGIN + 4 * SECOND), "--caption-every", "60"))
    (row,) = world.captions()
    assert (row["start"], row["end"]) == (BEGIN, BEGIN + 4 * SECOND), "no more of it than was asked for"
    video = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")[1]
    shown = dict(zip(row["frames"], world.model.requests[-1][1], strict=True))
    sent: list[tuple[dt.datetime, np.ndarray]] = []
    start = BEGIN
    for piece in clips.pieces(video, "alley")[:4]:
        pictures = decode(piece.payload, fps=100).pictures
        sent += [(start + dt.timedelta(seconds=picture.offset), picture.pixels) for picture in pictures]
        start += dt.timedelta(seconds=piece.segment.duration)
    for time, jpeg in shown.items():
        # The picture repeats after two seconds.
        near = [(at, picture) for at, picture in sent if abs(at - time) < SECOND]
        differ = [abs(pixels(jpeg).astype(float) - picture).mean() for _, picture in near]
        assert abs(near[differ.index(min(differ))][0] - time) <= dt.timedelta(milliseconds=80)


@pytest.mark.slow
async def test_cameras_keep_their_own_settings_unless_options_say_otherwise(
    world: World, server: NatsServer, admin: Client
) -> None:
    for camera, own in (
        ("alley", {"caption_every_s": 20.0, "caption_prompt": "Is it free?"}),
        ("crossing", {"caption_every_s": 0.0}),
    ):
        entry, _ = cameras.new_camera("rtsp://127.0.0.1/none", **own)
        await registry.put(admin.jetstream(), camera, entry, None)
    world.environment |= server.environment("admin") | {"VLM_CAPTION_EVERY_S": "7"}
    own_settings = [option for option in world.run() if option not in ("--caption-every", str(EVERY_S))]
    await world.done(*own_settings)
    assert {row["camera"] for row in world.captions()} == {"alley"}
    assert {(row["end"] - row["start"]) / SECOND for row in world.captions()[1:]} == {20}
    assert {question for question, _ in world.model.requests} == {"Is it free?"}
    world.model.requests.clear()
    shutil.rmtree(world.output)
    await world.done(*world.run("--caption-prompt", "Who is there?"))
    assert {row["camera"] for row in world.captions()} == {"alley", "crossing"}
    assert {question for question, _ in world.model.requests} == {"Who is there?"}
    _, output = await world.done(*own_settings, "--camera", "crossing", code=1)
    assert "give --caption-every" in output


@pytest.mark.slow
async def test_captions_run_together_with_detections(world: World) -> None:
    world.model.words = "<script>alert(1)</script> & so on"
    options = [option for option in world.run("--camera", "alley") if option not in ("--model", "none")]
    output, _ = await world.done(*options)
    assert len(table(world.output, "segments")) == 40 and table(world.output, "detections")
    (sums,) = json.loads((world.output / "summary.json").read_text())["cameras"]
    assert (sums["captions"], sums["uncaptioned"]) == (len(world.captions()), 0) and sums["frames"] == 200
    page = (world.output / "report.html").read_text()
    assert escape(world.model.words) in page and "<script" not in page and "captions by <b>fake" in page
    assert "person" in output and "captions by fake" in output


@pytest.mark.slow
async def test_the_console_gets_the_progress_of_captions(world: World, server: NatsServer, admin: Client) -> None:
    heard: list[Reanalysis] = []

    async def hear(message: Msg) -> None:
        heard.append(runs.decode(message.subject.rpartition(".")[2], message.data))

    await admin.subscribe(names.change(names.RUNS, ">"), cb=hear)
    world.environment |= server.environment("admin")
    world.model.delay_s = 1.0
    await world.done(*world.run("--caption-every", "1"))
    (run,) = (await stored(admin)).values()
    assert (run.state, run.model, run.frames, run.reason) == ("done", "fake", 0, "")
    assert run.captions_done == run.captions == len(world.captions())
    going = [one.captions_done for one in heard if one.state == "captioning" and one.ends]
    assert going == sorted(going) and 0 < going[0] < run.captions


@pytest.mark.slow
async def test_a_dry_run_estimates_captions(world: World) -> None:
    out, _ = await world.done(*world.run("--dry-run", "--json", "--price", "2"))
    reply = json.loads(out)
    assert reply["captioner"] == "fake" and reply["frames"] == 0 and reply["captions"] >= 16
    assert reply["caption_hours"] == pytest.approx(reply["captions"] / reply["captions_per_s"] / 3600, rel=0.01)
    assert reply["cost"] == pytest.approx(2 * reply["caption_hours"]) and reply["hours_taken"] == reply["caption_hours"]
    assert not world.output.exists() or not list(world.output.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "none"), "give --embed or --caption"),
        (("--caption-prompt", "Who?"), "give --caption, too"),
        (("--caption", "--caption-every", "0.5"), "300"),
        (("--caption", "--model", "none", "--events"), "NATS_URL"),
    ],
)
async def test_mistakes_are_reported_before_the_work(world: World, options: tuple[str, ...], words: str) -> None:
    process = world.begin(*command(world._store, "--output", str(world.output), *options))
    _, output = await asyncio.to_thread(process.communicate, timeout=patience_s())
    assert process.returncode in (1, 2) and words in output and "Traceback" not in output
    assert not (world.output / "plan.json").exists()


@pytest.mark.slow
async def test_nothing_starts_without_a_model(world: World) -> None:
    del world.environment["VLM_URL"]
    _, output = await world.done(*world.run(), code=1)
    assert "neither VLM_URL nor VLM_MODEL is set" in output
    world.environment |= {"VLM_URL": "http://127.0.0.1:9/v1", "VLM_OUTAGE_TIMEOUT_S": "1"}
    _, output = await world.done(*world.run(), code=1)
    assert "can't be reached" in output and "correct VLM_URL" in output
    world.environment |= {"VLM_URL": world.model.url, "VLM_OUTAGE_TIMEOUT_S": "30"}
    world.model.then = refused(400, "no pictures here")
    _, output = await world.done(*world.run(), code=1)
    assert "not one caption was made" in output and "no pictures here" in output
    assert not (world.output / "plan.json").exists()


@pytest.mark.slow
async def test_captions_of_a_run_are_summarised_where_live_has_none(
    world: World, server: NatsServer, admin: Client
) -> None:
    kv = await admin.jetstream().key_value(names.RECORDER)
    await kv.put(camera_key("alley"), ledgers.encode(Ledger()))
    world.environment |= server.environment("admin")
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    await admin.subscribe("events.>", cb=hear)
    await admin.flush()
    await world.done(*world.run("--camera", "alley", "--events"))
    captions = world.captions()
    assert (await admin.jetstream().stream_info(names.EVENTS)).state.messages == len(captions) and not heard
    # A second publication adds nothing.
    await world.done(*world.resume(), "--events")
    assert (await admin.jetstream().stream_info(names.EVENTS)).state.messages == len(captions)
    second = captions[1]
    live = {"start": second["start"] + SECOND, "end": second["end"] - SECOND}
    event = rows.caption_event(second | live | {"text": "live.", "frames": []})
    await admin.jetstream().publish(events.subject(event), events.encode(event))
    # A later run has other captions, over the end of one and the start of the next.
    over = {"start": captions[3]["start"] + SECOND, "end": captions[4]["end"] - SECOND, "text": "later."}
    past = events.past(rows.caption_event(captions[3] | over), "later")
    await admin.jetstream().publish(events.subject(past), events.encode(past))

    async def answer(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        text = body["messages"][0]["content"][0]["text"]
        return await stream(request, f"{[text.count(word) for word in ('pictures.', 'live.', 'later.')]}")

    span = {"since": rfc3339(BEGIN), "until": rfc3339(BEGIN + 40 * SECOND)}
    async with OpenAiServer(then=answer) as model, fronting(server), worker(server, model.url):
        found = await ask(admin, kind="summarize", camera="alley", **span)
    assert (found["text"], found["captions"]) == (f"[{len(captions) - 3}, 1, 1]", len(captions) - 1)
