"""Tasks of a run: any message, silent replicas, and sums."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.ingest.cutting.piece import Piece
from shared.bus.requests import ask
from shared.contract import names
from shared.contract.segment import Segment
from shared.contract.work import reanalysis
from shared.contract.work.reanalysis import PART_BYTES, Fetch, Free, Seen, Task, Working
from shared.runtime.errors import BadMessage, Refusal, TidegateError
from tests.support.waiting import patience_s, until
from tests.support.worlds.archive_world import BEGIN, store, table
from tests.support.worlds.live_engine import MODEL, World, asking, beat_as, media, world
from tests.support.worlds.recorder_world import publish
from tidegate.archive.engines import task_server
from tidegate.archive.engines.task_server import TaskQueue, TooManyTimeouts

__all__ = ["media", "store", "world"]


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


@pytest.mark.slow
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
