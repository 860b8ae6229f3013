"""`tidegate reanalyze --caption`: stretches of recordings get one caption each, despite the death of any process."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import os
import shutil
import signal
import subprocess
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
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
from tests.support.processes.command_line import COMMAND
from tests.support.servers import tiny_vlm, vllm_process
from tests.support.servers.openai_server import OpenAiServer, refused
from tests.support.servers.openai_server import respond as stream
from tests.support.video.video_world import pixels
from tests.support.waiting import patience_s, until
from tests.support.worlds.archive_world import BEGIN, command, store, table
from tests.support.worlds.jobs_world import ask, fronting, worker
from tests.support.worlds.runs import stored
from tidegate.archive import rows
from tidegate.archive.frames.decoding import FILE_MISSING
from tidegate.demo import clips, footage
from tidegate.local.server import NatsServer

__all__ = ["store"]

EVERY_S = 5
# Delays a run to some seconds.
SLOW_S = 0.3
SECOND = dt.timedelta(seconds=1)


class Model(OpenAiServer):
    """A model that replies with the number of pictures. requests: the question and the pictures of each."""

    def __init__(self) -> None:
        super().__init__(then=self._answer)
        self.requests: list[tuple[str, list[bytes]]] = []
        self.delay_s = 0.0
        self.words = ""

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        content = body["messages"][0]["content"]
        urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        self.requests.append((content[-1]["text"], [b64decode(url.partition(",")[2]) for url in urls]))
        await asyncio.sleep(self.delay_s)
        return await stream(request, self.words or f"{len(urls)} pictures.")


class World:
    """A model, and commands that find it. output: where their results go."""

    def __init__(self, model: Model, store: Path, folder: Path) -> None:
        self.model, self.output = model, folder / "out"
        self.environment = {"TIDEGATE_DATA": str(folder / "data"), "VLM_URL": model.url}
        self._store = store

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("NATS_", "CV_", "VLM_"))}
        return subprocess.Popen(
            [*COMMAND, *arguments],
            env=environment | self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *options: str, store: Path | None = None) -> list[str]:
        """A run of captions alone."""
        every = () if "--caption-every" in options else ("--caption-every", str(EVERY_S))
        where = ("--output", str(self.output))
        return command(store or self._store, *where, "--model", "none", "--caption", *every, *options)

    def resume(self) -> list[str]:
        return ["reanalyze", "--resume", str(self.output)]

    async def done(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """The output of a command."""
        process = self.begin(*arguments)
        out, err = await asyncio.to_thread(process.communicate, timeout=patience_s())
        assert process.returncode == code and "Traceback" not in err, err
        return out, err

    def captions(self) -> list[dict[str, Any]]:
        return table(self.output, "captions")


@pytest_asyncio.fixture
async def world(store: Path, tmp_path: Path) -> AsyncIterator[World]:
    async with Model() as model:
        yield World(model, store, tmp_path)


# ---- stretches


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


# ---- together with the other work of a run


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


# ---- killed processes


async def until_captioned(world: World, process: subprocess.Popen[str], count: int) -> None:
    """Wait until the model has `count` requests, those of the measurement included."""
    await until(lambda: len(world.model.requests) >= count or process.poll() is not None)
    assert process.poll() is None, "it was to be killed, too"


def each_once(world: World) -> bool:
    found = world.captions()
    return len({row["id"] for row in found}) == len(found) > 70 and all(row["text"] for row in found)


@pytest.mark.slow
async def test_a_killed_run_is_resumed_and_each_stretch_is_captioned_once(world: World) -> None:
    """One a second: of 40 stretches of a camera 32 are one object, which is not written again."""
    world.model.delay_s = SLOW_S
    process = world.begin(*world.run("--caption-every", "1"))
    await until(lambda: bool(list((world.output / "captions").rglob("*.parquet"))) or process.poll() is not None)
    assert process.poll() is None
    process.kill()
    await asyncio.to_thread(process.communicate, timeout=patience_s())
    whole = {path: path.stat().st_mtime_ns for path in (world.output / "captions").rglob("*.parquet")}
    world.model.delay_s = 0.0
    before = len(world.model.requests)
    out, _ = await world.done(*world.resume())
    assert each_once(world) and {path: path.stat().st_mtime_ns for path in whole} == whole
    again = len(world.model.requests) - before
    assert again < len(world.captions()) - 32 + 20, "what was written is not done again, but for the measurement"
    # Another resume has no work and makes no request.
    before = len(world.model.requests)
    await world.done(*world.resume())
    assert len(world.model.requests) == before
    assert f"{len(world.captions())} captions by fake" in out


@pytest.mark.slow
async def test_ctrl_c_and_a_lost_model_end_the_run_with_the_resume_command(world: World) -> None:
    world.model.delay_s = SLOW_S
    process = world.begin(*world.run("--caption-every", "1"))
    await until_captioned(world, process, 30)
    process.send_signal(signal.SIGINT)
    _, output = await asyncio.to_thread(process.communicate, timeout=patience_s())
    assert process.returncode == 130 and f"--resume {world.output}" in output and "Traceback" not in output
    before = len(world.model.requests)
    world.environment["VLM_OUTAGE_TIMEOUT_S"] = "3"
    process = world.begin(*world.resume())
    await until_captioned(world, process, before + 20)
    await world.model.__aexit__()
    _, output = await asyncio.to_thread(process.communicate, timeout=patience_s())
    assert process.returncode == 1 and "can't be reached" in output and f"--resume {world.output}" in output
    await world.model.__aenter__()
    await world.done(*world.resume())
    assert each_once(world)


@pytest.mark.slow
async def test_one_refusal_is_reported_and_refusal_of_all_ends_the_run(world: World) -> None:
    seen = 0

    async def some(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        nonlocal seen
        seen += 1
        # After those of the measurement.
        return await (refused(400, "not this one")(request, body) if seen == 12 else world.model._answer(request, body))

    world.model.then = some
    out, _ = await world.done(*world.run("--camera", "alley"))
    failed = Counter(row["failed"] for row in world.captions())
    assert failed[None] == len(world.captions()) - 1 and sum("not this one" in (why or "") for why in failed) == 1
    assert "1 could not be: 'failed' in captions says why" in out
    assert "1 of its stretches could not be captioned" in (world.output / "report.html").read_text()

    async def none(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        nonlocal seen
        seen += 1
        return await (refused(400, "none")(request, body) if seen > 10 else world.model._answer(request, body))

    seen, world.model.then = 0, none
    shutil.rmtree(world.output)
    _, output = await world.done(*world.run("--caption-every", "1"), code=1)
    assert "16 captions failed one after the other" in output and f"--resume {world.output}" in output


@pytest.mark.slow
async def test_another_model_cannot_resume_the_run(world: World) -> None:
    world.model.delay_s = SLOW_S
    process = world.begin(*world.run("--caption-every", "1"))
    await until_captioned(world, process, 20)
    process.kill()
    await asyncio.to_thread(process.communicate, timeout=patience_s())
    world.model.models = ["better"]
    _, output = await world.done(*world.resume(), code=1)
    assert "captioned by fake" in output and "better" in output and "begin another run" in output


@pytest.mark.slow
async def test_missing_or_damaged_video_is_reported(world: World, store: Path, tmp_path: Path) -> None:
    copied = tmp_path / "recordings"
    shutil.copytree(store, copied)
    first, second, *_ = sorted((copied / "alley").rglob("*.mp4"))
    first.unlink()
    data = bytearray(second.read_bytes())
    data[20_000:] = bytes(len(data) - 20_000)
    second.write_bytes(data)
    await world.done(*world.run(store=copied))
    failed = [row for row in world.captions() if row["failed"]]
    assert {row["camera"] for row in failed} == {"alley"}
    assert FILE_MISSING in {row["failed"] for row in failed} and all(not row["text"] for row in failed)
    assert len([row for row in world.captions() if row["camera"] == "crossing" and row["text"]]) >= 8


@pytest.mark.slow
async def test_the_key_of_the_model_is_in_no_output(world: World) -> None:
    world.environment["VLM_KEY"] = "s3cr3t-of-the-model"
    out, err = await world.done(*world.run("--camera", "alley"))
    assert set(world.model.keys) == {"Bearer s3cr3t-of-the-model"}
    written = b"".join(path.read_bytes() for path in world.output.rglob("*") if path.is_file())
    assert "s3cr3t" not in out + err and b"s3cr3t" not in written


# ---- events


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


# ---- by a vLLM of its own


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.alone
@pytest.mark.xdist_group("computing")
@pytest.mark.skipif(not vllm_process.is_installed(), reason="vLLM is not installed: make vllm")
async def test_a_vllm_of_the_run_may_die_and_ends_with_the_run(world: World) -> None:
    """Both loads take longer than the permitted outage of an endpoint."""
    seed = f"--seed={os.getpid()}"
    del world.environment["VLM_URL"]
    world.environment |= tiny_vlm.ENV | {
        "VLM_PYTHON": str(vllm_process.PYTHON),
        "VLM_MODEL": str(vllm_process.MODEL),
        "VLLM_ARGS": " ".join((*tiny_vlm.ARGS, seed)),
        "VLM_MAX_TOKENS": "200",
        "VLM_CONTEXT": "8192",
        "VLM_FRAMES": "4",
        "VLM_SIZE": "224",
    }
    process = world.begin(*world.run("--caption-every", "1"))
    await until(lambda: (world.output / "plan.json").exists() or process.poll() is not None)
    (server,) = await asyncio.to_thread(_pids, seed)
    os.kill(server, signal.SIGKILL)
    out, err = await asyncio.to_thread(process.communicate, timeout=3 * patience_s())
    assert process.returncode == 0 and "captions by tiny-random-untrained" in out, err
    assert err.count(" starting ") == 2 and each_once(world)
    assert not await asyncio.to_thread(_pids, seed)


def _pids(argument: str) -> list[int]:
    """The process of the server itself, without its workers."""
    found = subprocess.run(["pgrep", "-f", f"api_server .*{argument}"], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]
