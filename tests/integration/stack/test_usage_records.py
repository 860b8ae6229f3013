"""Usage records are exact, block nothing, and have the same sum in each order of reading."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from prometheus_client import REGISTRY

from shared import bus
from shared.contract import names, topology
from shared.contract.topology import TopologySettings
from shared.contract.work.usage import MINUTE_S, MOST_BYTES, CameraUsage, IngestUsage, WorkerUsage, decode, encode
from shared.runtime.errors import BadMessage
from shared.service.usage import Keeper
from tests.support.processes.echo_service import Echo, publish, results, settled, working
from tests.support.processes.ingest_process import Bus, Ingest, add, start
from tests.support.processes.ingest_process import bus as heard
from tests.support.video import footage
from tests.support.waiting import patience_s, until
from tidegate.client import usage
from tidegate.client.usage import Book, ServiceUsage
from tidegate.local.server import NatsServer

__all__ = ["heard", "start"]

T = 29_933_333
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def dropped() -> float:
    return REGISTRY.get_sample_value("tidegate_usage_dropped_total", {"service": "cv"}) or 0.0


async def stored_usage(admin: Client, service: str) -> ServiceUsage:
    found = (await usage.read(admin, LONG_AGO)).of(service)
    assert found
    return found


# ---- workers


async def test_a_message_is_counted_once_in_the_minute_in_which_it_was_stored(
    server: NatsServer, admin: Client
) -> None:
    """It was stored before the first worker, is delivered to two, and is redelivered once."""
    seqs = await publish(admin, [f"s{i}" for i in range(20)])
    stored = [(await admin.jetstream().get_msg("MEDIA", seq)).time for seq in seqs]
    minutes = Counter(int(time.timestamp() // MINUTE_S) for time in stored if time)

    def once(text: str, tries: int) -> Exception | None:
        return RuntimeError("not yet") if text == "s7" and tries == 1 else None

    one, other = Echo(infer_s=0.02, fail=once), Echo(infer_s=0.02, fail=once)
    async with working(server, one, hold=2, batch_size=1), working(server, other, hold=2, batch_size=1):
        await settled(admin)
    book = await usage.read(admin, LONG_AGO)
    found = book.of("cv")
    assert found and book.bad == 0
    assert dict(zip(range(found.first, found.first + len(found.arrivals)), found.arrivals.tolist(), strict=True)) == {
        minute: minutes.get(minute, 0) for minute in range(found.first, found.first + len(found.arrivals))
    }
    assert sum(w.processed for w in found.workers) == 20 and sum(w.failed for w in found.workers) >= 1
    assert all(w.is_last and w.loading_s is not None for w in found.workers)
    assert sum(w.working_s for w in found.workers) >= 20 * 0.02
    assert sum(w.busy_s for w in found.workers) >= 20 * 0.02


async def test_work_continues_if_usage_cannot_be_stored(server: NatsServer, admin: Client) -> None:
    """An older server has neither the stream nor the right."""
    await admin.jetstream().delete_stream("USAGE")
    seqs, before = await publish(admin, ["a", "b"]), dropped()
    async with working(server, Echo()):
        await settled(admin)
    assert await results(admin) == seqs
    assert dropped() == before + 1


async def test_usage_that_no_longer_fits_pushes_out_the_oldest(server: NatsServer, admin: Client) -> None:
    (config,) = [s for s in topology.streams(TopologySettings()) if s.name == names.USAGE]
    await admin.jetstream().update_stream(config.evolve(max_bytes=2000))
    for n in range(50):
        data = encode(WorkerUsage(process="p", n=n, since=T * MINUTE_S, until=T * MINUTE_S))
        await admin.jetstream().publish(names.usage("cv"), data)
    state = (await admin.jetstream().stream_info(names.USAGE)).state
    assert 0 < state.messages < 50 and state.last_seq == 50


@pytest.mark.parametrize("to", ["usage.embed", "usage.ingest", "usage.cv.more"])
async def test_no_identity_publishes_usage_of_others(server: NatsServer, admin: Client, to: str) -> None:
    cv = await bus.connect(server.settings("cv"), "cv")
    await cv.publish(to, b"x")
    await cv.publish("usage.cv", b"x")
    await cv.jetstream().publish("usage.cv", b"y")
    await cv.close()
    stored = (await admin.jetstream().stream_info(names.USAGE, subjects_filter=">")).state.subjects
    assert stored == {"usage.cv": 2}


# ---- ingest


@pytest.mark.xdist_group("ingest")
async def test_usage_of_a_camera_equals_its_stored_video(
    admin: Client, heard: Bus, start: Callable[..., Ingest], tmp_path: Path
) -> None:
    url = footage.make(tmp_path / "x.mp4", gop=25).as_uri()
    ingest = start()
    await add(admin, "gate", url, loop=True, realtime=True)
    await add(admin, "yard", url, loop=True, realtime=True)
    await until(lambda: len(heard.of("gate")) >= 3 and len(heard.of("yard")) >= 3)
    assert ingest.stop() == 0
    await admin.flush()
    book = await usage.read(admin, LONG_AGO)
    js = admin.jetstream()
    for camera in ("gate", "yard"):
        sent = heard.of(camera)
        total = book.cameras[camera]
        assert total.frames == sum(s.frames for s in sent)
        assert total.seconds == pytest.approx(sum(s.duration for s in sent), abs=0.6)
        alone = (await usage.read(admin, LONG_AGO, camera=camera)).of("cv")
        assert alone and alone.arrivals.sum() == len(sent)
    # No worker has run: the demand on cv is recorded nevertheless.
    found = book.of("cv")
    assert found and found.arrivals.sum() == (await js.stream_info("MEDIA")).state.messages
    assert found.from_cameras and not found.workers and book.services == ["cv", "embed"]


# ---- sums

# Of a message: minutes since its process's last one, the minutes it covers, and arrivals by minutes before its end.
Life = list[tuple[int, int, dict[int, int]]]
counts = st.dictionaries(st.integers(0, 20), st.integers(0, 1000), max_size=10)
lives = st.lists(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), counts), min_size=1, max_size=4), min_size=1, max_size=4
)


def records_of(lives: list[Life]) -> list[WorkerUsage]:
    """Messages of several ended replicas, with gaps of dropped messages."""
    found = []
    for i, life in enumerate(lives):
        at = T
        for n, (gap, length, arrivals) in enumerate(life):
            end = at + gap + length
            found.append(
                WorkerUsage(
                    process=f"p{i}",
                    n=n,
                    since=(at + gap) * MINUTE_S,
                    until=end * MINUTE_S,
                    arrivals={"cv": {end - before: count for before, count in arrivals.items()}},
                    is_last=n == len(life) - 1,
                )
            )
            at = end
    return found


def read(messages: list[tuple[str, bytes]]) -> Book:
    book = Book()
    for subject, data in messages:
        book.take(subject, (T + 60) * MINUTE_S, data)
    return book


@given(lives, st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(lives: list[Life], dice: random.Random) -> None:
    messages = [("usage.cv", encode(m)) for m in records_of(lives)]
    shuffled = [*messages, *dice.sample(messages, len(messages) // 2)]
    dice.shuffle(shuffled)
    one, other = read(messages).of("cv"), read(shuffled).of("cv")
    assert (one is None) == (other is None)
    if one and other:
        assert one.first == other.first
        assert (one.arrivals == other.arrivals).all() and (one.known == other.known).all()


@given(lives)
def test_every_message_is_counted_in_its_minute(lives: list[Life]) -> None:
    messages = records_of(lives)
    total, there = Counter[int](), set[int]()
    for m in messages:
        total.update({minute: n for minute, n in m.arrivals["cv"].items() if n})
        there.update(m.arrivals["cv"], range(m.since // MINUTE_S, m.until // MINUTE_S + 1))
    book = read([("usage.cv", encode(m)) for m in messages])
    found = book.of("cv")
    assert found and book.bad == 0
    minutes = range(found.first, found.first + len(found.arrivals))
    assert {m: n for m, n in zip(minutes, found.arrivals.tolist(), strict=True) if n} == total
    assert {m for m, existing in zip(minutes, found.known, strict=True) if existing} == there


def worker(n: int = 0, *, begin: int = 0, end: int = 10, **of: object) -> bytes:
    return encode(
        WorkerUsage(process="w", n=n, since=(T + begin) * 60, until=(T + end) * 60, **of)  # type: ignore[arg-type]
    )


def ingest(segments: list[int], *, begin: int = 0, end: int = 30, camera: str = "gate", last: bool = False) -> bytes:
    of = CameraUsage(first=T + begin, segments=segments, seconds=sum(segments), megabytes=1.0, frames=1)
    return encode(
        IngestUsage(
            process="i", n=begin, since=(T + begin) * 60, until=(T + end) * 60, cameras={camera: of}, is_last=last
        )
    )


def test_cameras_supply_minutes_without_a_worker_report() -> None:
    book = read(
        [
            ("usage.ingest", ingest([60] * 10, end=9, last=True)),
            ("usage.cv", worker(begin=4, end=9, arrivals={"cv": {T + 4: 58, T + 5: 61}}, is_last=True)),
        ]
    )
    found = book.of("cv")
    assert found and found.arrivals.tolist() == [60] * 4 + [58, 61] + [60] * 4 and found.from_cameras == 8
    # Jobs of vlm are not segments of cameras.
    assert book.of("vlm") is None


def test_a_living_worker_without_a_report_is_waited_for() -> None:
    reply = worker(end=20, arrivals={"cv": {T + 15: 5}})
    other = encode(WorkerUsage(process="x", n=0, since=T * 60, until=(T + 12) * 60, arrivals={"cv": {T + 3: 1}}))
    found = read([("usage.cv", reply), ("usage.cv", other)]).of("cv")
    assert found and len(found.arrivals) == 12 and found.arrivals.sum() == 1


@pytest.mark.parametrize(
    ("subject", "data"),
    [
        ("usage.cv", b""),
        ("usage.cv", b"{}"),
        ("usage.cv", zlib.compress(b"{}")),
        ("usage.cv", worker()[:-3]),
        ("usage.cv", worker(processed=-1)),
        ("usage.cv", worker(begin=10, end=9)),
        ("usage.cv", worker(begin=100, end=200)),  # after it was stored
        ("usage.cv", worker(begin=-5000, end=-4000)),
        ("usage.cv", worker(arrivals={"cv": {T - 20_000: 1}})),
        ("usage.cv", worker(arrivals={"cv": {T + 200: 1}})),
        ("usage.ingest", ingest([1] * 300)),
        ("usage.ingest", ingest([1], camera="a.b")),
        ("usage.cv", zlib.compress(b" " * (MOST_BYTES + 1))),
    ],
)
def test_impossible_records_are_skipped_and_counted(subject: str, data: bytes) -> None:
    book = read([(subject, data), ("usage.cv", worker(5, arrivals={"cv": {T + 5: 2}}, is_last=True))])
    found = book.of("cv")
    assert book.bad == 1 and found and found.arrivals.sum() == 2


def test_invented_cameras_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST_CAMERAS", 2)
    messages = [("usage.ingest", ingest([n], begin=n, camera=f"made-up-{n}")) for n in range(1, 6)]
    book = read(messages)
    assert (len(book.cameras), book.bad) == (2, 3)


def test_a_compression_bomb_is_not_unpacked() -> None:
    with pytest.raises(BadMessage, match="larger than"):
        decode("usage.cv", zlib.compress(bytes(500 * 1024 * 1024), 1))


def test_a_thousand_cameras_fit_for_two_months() -> None:
    """Records of 17 ingests and 16 workers; headers, subject and the server add 130 bytes to a message."""
    dice = np.random.default_rng(1)

    def sent() -> CameraUsage:
        segments = [60 + int(x) for x in dice.choice([-1, 0, 0, 0, 1], 30)]
        size = sum(segments) * 0.5 * (1 + 0.1 * dice.normal())
        return CameraUsage(first=T, segments=segments, seconds=sum(segments), megabytes=round(size, 1), frames=45_000)

    cameras = {f"gate-{i}": sent() for i in range(60)}
    half_hour = len(encode(IngestUsage(process="0123456789", n=1, since=T * 60, until=T * 60, cameras=cameras)))
    arrivals = {T + i: int(dice.integers(400, 700)) for i in range(11)}
    ten_minutes = len(
        worker(37, arrivals={"cv": arrivals}, processed=5500, unchanged=2000, busy_s=212.343, working_s=412.123)
    )
    a_day = 17 * 48 * (half_hour + 130) + 16 * 144 * (ten_minutes + 130)
    assert topology.USAGE_BYTES / a_day > 60


async def test_close_does_not_wait_for_an_absent_server(server: NatsServer, admin: Client) -> None:
    """A drained worker does not wait for usage to be stored."""
    before = dropped()
    client = await bus.connect(server.settings("cv"), "cv")
    keeper = Keeper(client, "cv", lambda: WorkerUsage(process="p", n=0, since=T * 60, until=T * 60), every_s=600)
    await admin.close()
    await server.stop()
    async with asyncio.timeout(patience_s()):
        await keeper.close()
    assert dropped() == before + 1
    await client.close()
