"""`reanalyze --live`: cv's replicas analyse recordings whenever they are idle, and only then."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.ingest.cutting.piece import Piece
from shared.bus.requests import ask
from shared.contract import names
from shared.contract.segment import Segment
from shared.contract.work import reanalysis, stats
from shared.contract.work.reanalysis import PART_BYTES, Fetch, Free, Seen, Task, Working
from shared.contract.work.stats import WorkerStats
from shared.runtime.errors import BadMessage, Refusal, SettingError, TidegateError
from tests.support.processes.command_line import COMMAND, tidegate
from tests.support.processes.service_process import ServiceProcess
from tests.support.waiting import patience_s, until
from tests.support.worlds.archive_world import BEGIN, planned, seen, store, table, whole
from tests.support.worlds.recorder_world import publish
from tidegate.archive.engines import task_server
from tidegate.archive.engines.live_engine import LiveEngine
from tidegate.archive.engines.task_server import TaskQueue, TooManyTimeouts
from tidegate.archive.frames.probe import ProbeResult
from tidegate.archive.job import Job
from tidegate.archive.job import Piece as Part
from tidegate.archive.results.report import write_report
from tidegate.archive.run import Run
from tidegate.archive.sync_store import SyncStore
from tidegate.demo import clips, footage
from tidegate.local.server import NatsServer

__all__ = ["store", "whole"]

MODEL = "ssd_mobilenet_v2_coco"


class World:
    """A server, replicas of cv, and a run that they process. messages: the output for the user of the run."""

    def __init__(self, server: NatsServer, folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.messages: list[str] = []
        self.output = folder / "out"
        self._server, self._folder, self._store = server, folder, store
        self._monkeypatch = monkeypatch

    async def cv(self) -> ServiceProcess:
        """Start one more replica."""
        folder = self._folder / "cv"
        folder.mkdir(exist_ok=True)
        replica = f"cv-{len(list(folder.iterdir()))}"
        settings = {"REPLICA": replica, "CV_INFER_THREADS": "1", "CV_STATIC_SCENE_REFRESH_S": "0"}
        cv = ServiceProcess("cv", self._server.environment("cv"), folder, **settings)
        await cv.until_it_says("/readyz", "^ok")
        return cv

    def reach(self) -> None:
        """Point commands of this process at the server."""
        for name, value in self._server.environment("admin").items():
            self._monkeypatch.setenv(name, value)

    async def planned(self, **more: object) -> tuple[Job, list[Part]]:
        return await asyncio.to_thread(planned, self._store, self.output, model=f"cv:{MODEL}", device="", **more)

    async def run(self, *, pieces: int | None = None) -> Run:
        """Analyse, and follow the results. pieces: stop after that many."""
        job, todo = await self.planned()
        self.reach()
        return await asyncio.to_thread(self._work, job, todo, pieces)

    def probe(self, job: Job, todo: list[Part]) -> ProbeResult:
        with LiveEngine(self._folder, 1, self.messages.append) as engine:
            return engine.probe(job, todo)

    def _work(self, job: Job, todo: list[Part], pieces: int | None) -> Run:
        with SyncStore(job.output, "--output") as results, LiveEngine(self._folder, 1, self.messages.append) as engine:
            run = Run.create(job, todo, results)
            for n, _ in enumerate(run.analyze(engine, None), 1):
                if n == pieces:
                    return run
            list(run.track(engine))
            with SyncStore(run.job.store, "--store") as recordings:
                write_report(run, recordings, results)
            return run

    def resume(self) -> None:
        """Resume the run, by the command."""
        done = subprocess.run(
            [*COMMAND, "reanalyze", "--resume", str(self.output), "--json"],
            env=os.environ | {"TIDEGATE_DATA": str(self._folder / "data")},
            capture_output=True,
            text=True,
            timeout=patience_s(),
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def media() -> list[Piece]:
    """Publish live video of a camera without recordings."""
    video = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")[0]
    return clips.pieces(video, "cam")[:20]


@pytest.fixture
def world(server: NatsServer, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(server, tmp_path, store, monkeypatch)


@pytest.mark.slow
async def test_replicas_find_the_same_as_processes(world: World, whole: Path, admin: Client) -> None:
    cv = await world.cv()
    run = await world.run()
    assert seen(world.output) == seen(whole) and table(world.output, "tracks") == table(whole, "tracks")
    assert run.job.models == MODEL and not world.messages
    # None of its events go where those of live video go.
    assert (await admin.jetstream().stream_info(names.EVENTS)).state.messages == 0
    assert await cv.end() == 0


@pytest.mark.slow
async def test_live_video_has_priority(world: World, whole: Path, admin: Client, media: list[Piece]) -> None:
    """While live video waits, no replica requests tasks; one with a task in flight analyses live video first."""
    cv = await world.cv()
    requests: list[int] = []
    events = await admin.subscribe(names.event("detections", "cam"))
    run = asyncio.create_task(world.run())

    async def hear(message: Msg) -> None:
        requests.append(events._received)

    # Next to the run, whose requests these are.
    await until(lambda: (world.output / "segments").exists())
    await admin.subscribe(names.reanalysis("cv"), cb=hear)
    await publish(admin, media)
    await events.next_msg(timeout=patience_s())
    requests.clear()
    for _ in media[1:]:
        await events.next_msg(timeout=patience_s())
    assert events._received == len(media)
    assert not [n for n in requests if n < len(media)], "it asked while live video waited"
    await run
    assert seen(world.output) == seen(whole)
    assert await cv.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_lost_replica_loses_nothing(
    world: World, whole: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    # The run does not wait for a released task; it does for a silent one.
    monkeypatch.setattr(task_server, "SILENT_S", 3600.0 if how is signal.SIGTERM else 2.0)
    cv = await world.cv()
    run = asyncio.create_task(world.run())
    await until(lambda: len(list((world.output / "segments").rglob("*.parquet"))) >= 2)
    cv.process.send_signal(how)
    assert await cv.ended() == (0 if how is signal.SIGTERM else -signal.SIGKILL)
    await until(lambda: f"no replica of cv runs with {MODEL}: waiting for one" in world.messages)
    other = await world.cv()
    await run
    assert seen(world.output) == seen(whole)
    assert await other.end() == 0


@pytest.mark.slow
async def test_a_lost_run_harms_no_replica(world: World, whole: Path, server: NatsServer, admin: Client) -> None:
    cv = await world.cv()
    half = await world.run(pieces=2)
    assert 0 < half.pieces_left < len(half.pieces)
    await server.stop(signal.SIGKILL)
    await server.start()
    await asyncio.to_thread(world.resume)
    assert seen(world.output) == seen(whole)
    assert await cv.end() == 0


@pytest.mark.slow
async def test_two_replicas_share_a_run(world: World, whole: Path, admin: Client) -> None:
    who: set[str] = set()

    async def hear(message: Msg) -> None:
        who.add(reanalysis.free(message.data).replica)

    await admin.subscribe(names.reanalysis("cv"), cb=hear)
    replicas = [await world.cv(), await world.cv()]
    await world.run()
    assert seen(world.output) == seen(whole) and len(who) == 2
    for cv in replicas:
        assert await cv.end() == 0


# ---- tasks


def task(id: str, *sizes: int, segment: Segment | None = None) -> bytes:
    usual = Segment(
        camera="cam", epoch="e", n=0, start=BEGIN, duration=1.0, codec="h264", width=320, height=180, frames=25
    )
    found = Task(id=id, by="us", segment=segment or usual, sizes=sizes, fps=5.0, min_score=0.4, tiles="1x1")
    return reanalysis.encode(found)


class Asker:
    """A requester without a run. given: tasks, one for each request. answers: to a fetch. heard: replies to tasks."""

    def __init__(self, admin: Client, given: Iterator[bytes], answers: Callable[[Fetch], bytes]) -> None:
        self.heard: list[Seen] = []
        self._admin, self._given, self._answers = admin, given, answers

    async def begin(self) -> None:
        await self._admin.subscribe(names.reanalysis("cv"), cb=self._give)
        await self._admin.subscribe(names.reanalysis("cv", "us"), cb=self._hear)

    async def _give(self, message: Msg) -> None:
        await message.respond(next(self._given, b""))

    async def _hear(self, message: Msg) -> None:
        reply = reanalysis.of_task(message.data)
        if isinstance(reply, Seen):
            self.heard.append(reply)
        if message.reply:
            await message.respond(self._answers(reply) if isinstance(reply, Fetch) else b"")


@pytest.mark.slow
async def test_a_replica_survives_any_task(world: World, admin: Client, media: list[Piece]) -> None:
    video = media[0].payload
    good = task("good", len(video), segment=media[0].segment)
    given = [
        b"{}",
        b"\xff" * 100,
        b"[" * 100_000,
        json.dumps({"id": "x", "by": "> *"}).encode(),
        task("short", 10),
        task("garbage", *[len(video)] * 3),
        task("long", 5),
        good,
    ]

    def answer(fetch: Fetch) -> bytes:
        if fetch.id == "good":
            return video[fetch.begin :][:PART_BYTES]
        return {"short": b"", "long": b"x" * 6, "garbage": b"x" * PART_BYTES}[fetch.id][: len(video) * 3 - fetch.begin]

    asker = Asker(admin, iter(given), answer)
    await asker.begin()
    cv = await world.cv()
    await until(lambda: len(asker.heard) == 4)
    failed = {one.id: one.failed for one in asker.heard}
    assert failed.pop("good") == "" and all(failed.values()) and failed.keys() == {"short", "long", "garbage"}
    (seen_,) = (one for one in asker.heard if one.id == "good")
    assert len(seen_.objects) == 5 and seen_.width == media[0].segment.width
    # Live video had no delay.
    events = await admin.subscribe(names.event("detections", "cam"))
    await publish(admin, media[:3])
    for _ in range(3):
        await events.next_msg(timeout=patience_s())
    assert await cv.end() == 0


async def test_a_run_survives_any_message(world: World, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake replica that breaks the protocol."""
    heard = await beat_as(admin, MODEL)
    run = asyncio.create_task(world.run(pieces=1))
    ours = reanalysis.encode(Free(replica="r", model=MODEL))
    while True:
        answer = await asking(admin, names.reanalysis("cv"), ours)
        if answer and (given := reanalysis.task(answer)):
            break
    assert not await asking(admin, names.reanalysis("cv"), reanalysis.encode(Free(replica="r", model="another")))
    subject = names.reanalysis("cv", given.by)
    for garbage in (b"", b"\xff", b"{}", b"[" * 10_000, reanalysis.encode(Working(id=given.id))):
        await admin.publish(subject, garbage)
    for unknown in (Fetch(id="999999", begin=0), Fetch(id="none", begin=0)):
        with pytest.raises((Refusal, TimeoutError, TidegateError)):
            await ask(admin, subject, reanalysis.encode(unknown), timeout_s=5)
    # It may be the second result of a task that is done.
    assert not (await ask(admin, subject, reanalysis.encode(Seen(id="999999", failed="no")), timeout_s=5)).data
    video = bytearray()
    while part := await asking(admin, subject, reanalysis.encode(Fetch(id=given.id, begin=len(video)))):
        assert len(part) <= PART_BYTES
        video += part
    assert len(video) == sum(given.sizes)
    # Another replica gets a released task, and a second answer does not count.
    await asking(admin, subject, reanalysis.encode(Seen(id=given.id, gave_up=True)))
    done = 0
    while not run.done():
        answer = await asking(admin, names.reanalysis("cv"), ours)
        if not (answer and (given := reanalysis.task(answer))):
            continue
        for _ in range(2):
            await asking(admin, subject, reanalysis.encode(Seen(id=given.id, failed="by hand")))
        done += 1
    await run
    rows = table(world.output, "segments")
    assert {row["failed"] for row in rows} == {"by hand"} and len(rows) <= done
    heard.cancel()


async def beat_as(admin: Client, model: str) -> asyncio.Task[None]:
    """Send heartbeats of a fake replica."""
    counts = dict.fromkeys(("pid", "in_flight", "processed", "failed", "items"), 0)
    seconds = dict.fromkeys(("uptime_s", "busy_s", "working_s"), 0.0)
    heartbeat = WorkerStats(service="cv", replica=model, state="ready", model=model, **counts, **seconds)

    async def beat() -> None:
        while True:
            await admin.publish(names.stats("cv", model), stats.encode(heartbeat))
            await asyncio.sleep(0.5)

    return asyncio.create_task(beat())


async def asking(admin: Client, subject: str, data: bytes) -> bytes:
    """The answer; nothing while there is no responder."""
    try:
        return (await ask(admin, subject, data, timeout_s=5)).data
    except TidegateError:
        await asyncio.sleep(0.05)
        return b""


# ---- before the run


@pytest.mark.slow
async def test_mistakes_are_reported_before_the_work(world: World, admin: Client, store: Path, tmp_path: Path) -> None:
    job, todo = await world.planned()
    world.reach()

    def refused(*options: str) -> str:
        arguments = ["reanalyze", "--store", str(store), "--since", str(BEGIN), "--output", str(world.output), "--live"]
        done = subprocess.run(
            [*COMMAND, *arguments, *options],
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=patience_s(),
            check=False,
        )
        assert done.returncode and "Traceback" not in done.stderr and not world.output.exists()
        return done.stderr

    assert "no replica of cv runs" in await asyncio.to_thread(refused)
    for option in ("--model", "--device", "--embed"):
        assert f"leave out {option}" in await asyncio.to_thread(refused, option, "cpu")
    beats = [await beat_as(admin, "one")]
    assert "--ray" in await asyncio.to_thread(refused, "--ray", "auto")
    with pytest.raises(SettingError, match=f"look with one now, and this run with {MODEL}"):
        await asyncio.to_thread(world.probe, job, todo)
    beats.append(await beat_as(admin, "two"))
    for beat in beats:
        beat.cancel()
    nobody = tidegate(tmp_path, "reanalyze", "--store", str(store), "--live", check=False)
    assert "nothing runs on" in nobody.stderr


# ---- distribution of tasks


@given(st.lists(st.sampled_from(["take", "wait", "give up", "done", "heard"]), max_size=60), st.integers(1, 6))
def test_each_task_is_done_once_despite_silent_replicas(steps: list[str], count: int) -> None:
    tasks, now, done, hands = TaskQueue(10, 1000), 0.0, set(), list[int]()
    for id in range(count):
        tasks.add(id)
    for step in steps:
        if step == "wait":
            now += 6
        elif step == "take":
            if (id := tasks.take(now)) is not None:
                assert id not in done
                hands.append(id)
        elif hands and step == "give up":
            tasks.give_up(hands.pop())
        elif hands and step == "heard":
            tasks.renew(hands[-1], now)
        elif hands and step == "done":
            id = hands.pop()
            assert tasks.finish(id) == (id not in done)
            done.add(id)
    # The remaining replicas do the rest.
    while (id := tasks.take(now := now + 11)) is not None:
        assert tasks.finish(id) and id not in done
        done.add(id)
    assert done == set(range(count))


def test_a_task_that_silences_replicas_is_named() -> None:
    tasks = TaskQueue(10, 3)
    tasks.add(7)
    for n in range(3):
        assert tasks.take(11.0 * n) == 7
    with pytest.raises(TooManyTimeouts) as e:
        tasks.take(33.0)
    assert (e.value.id, e.value.times) == (7, 3)


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=6), st.integers(1, 40))
def test_parts_add_up_to_the_video(video: list[bytes], part: int) -> None:
    found = b""
    while more := task_server.video_part(video, len(found), part):
        assert len(more) <= part
        found += more
    assert found == b"".join(video)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    for read in (reanalysis.task, reanalysis.free, reanalysis.of_task):
        try:
            read(data)
        except BadMessage:
            continue
