"""analytics under attack: one process publishes arbitrary detections; alerts of honest cameras still come."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from nats.aio.client import Client
from nats.js.errors import APIError
from prometheus_client import REGISTRY

from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.statements import Outs
from services.analytics.limits import Budget, Limits, ObjectRate
from services.analytics.partitions import checkpoint, entries
from services.analytics.partitions.checkpoint import Checkpoints
from services.analytics.partitions.partition import Partition
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.bus.mirror import bind
from shared.client import registry
from shared.contract import events, names
from shared.contract.cameras import new_camera
from shared.contract.events import DetectedObject, Detections, Incident, Tracks
from shared.contract.rules import Rules
from shared.runtime.errors import Full
from tests.support.processes.service import connected
from tests.support.video.walking_people import START, Walk, detections, publish
from tests.support.waiting import patience_s
from tests.support.worlds.analytics_world import RULES, incidents, running, use
from tests.support.worlds.analytics_world import until as until_said
from tidegate.local.server import NatsServer

FAR = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)
BOOK = msgspec.convert(RULES, Rules)
ACROSS = Walk(1, 9, (0.1, 0.7), (0.9, 0.7))
LIMITS = Limits(reorder_s=3.0, idle_s=10.0)


def nobody(camera: str) -> bool:
    """No camera is listed."""
    return False


def stored(event: Detections, seq: int, at: float = 0.0) -> Stored:
    time = START + dt.timedelta(seconds=at)
    return Stored(seq, events.subject(event), time, {}, events.encode(event))


def crowd(camera: str, n: int, objects: int = 300, frames: int = 10) -> Detections:
    """A segment with the maximum of analysed objects, each at another place."""
    (event,) = detections([], 1, camera=camera, fps=frames, first=n, seq=1 + n, start=START + dt.timedelta(seconds=n))
    boxes = ((k % 20 * 0.05, k // 20 * 0.03) for k in range(objects))
    found = [DetectedObject(label="person", score=0.9, box=(x, y, x + 0.01, y + 0.01)) for x, y in boxes]
    return replace(event, frames=[replace(frame, objects=found) for frame in event.frames])


def tracks(outcome: Outs, state: str) -> set[str]:
    """Ids of the tracks that are in a state."""
    return {
        track.id for out in outcome if isinstance(out.what, Tracks) for track in out.what.tracks if track.state == state
    }


def states(partition: Partition) -> int:
    """Bytes of its cameras' states, as checkpoints count them."""
    return sum(len(msgspec.msgpack.encode(c.state())) for c in partition.cameras.values())


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(0, 5))
def test_invented_cameras_take_only_their_places(cameras: list[int], places: int) -> None:
    partition = Partition(0, LIMITS, lambda _: BOOK, lambda camera: camera == "yard", Budget(unlisted=places))
    for seq, n in enumerate(cameras, 1):
        (event,) = detections([], 1, camera=f"fake-{n}")
        partition.read(stored(event, seq))
    (event,) = detections([], 1, camera="yard")
    partition.read(stored(event, len(cameras) + 1))
    first = list(dict.fromkeys(f"fake-{n}" for n in cameras))[:places]
    assert list(partition.cameras) == [*first, "yard"]


def test_crowds_leave_the_share_of_other_cameras() -> None:
    rate = ObjectRate(total=100, each=10)
    assert rate.allows("mall", 90, 7.1) and not rate.allows("station", 60, 7.5)
    assert rate.allows("yard", 10, 7.9) and not rate.allows("yard", 1, 7.9), "its share is always its own"
    assert rate.allows("station", 60, 8.0), "another second"


def test_a_listed_camera_over_the_object_limit_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[int] = []
    read = CameraAnalytics.read
    monkeypatch.setattr(
        CameraAnalytics,
        "read",
        lambda c, seq, event, at: (frames.append(len(event.frames)), read(c, seq, event, at))[1],
    )
    partition = Partition(0, LIMITS, lambda _: BOOK, rate=ObjectRate(total=5000, each=100))
    for seq, n in enumerate((0, 1, 2), 1):
        partition.read(stored(crowd("mall", n), seq, 7.0))
    assert frames == [10, 1, 1], "the second and third are over the total, and keep one frame of 300 objects"
    honest = detections([ACROSS], 14, camera="yard")
    outs = [out for seq, event in enumerate(honest, 4) for out in partition.read(stored(event, seq, 7.0))]
    assert any(isinstance(out.what, Incident) for out in outs)


def test_a_place_is_free_once_its_idle_camera_is_stored() -> None:
    partition = Partition(0, LIMITS, lambda _: BOOK, nobody, Budget(unlisted=1))
    (event,) = detections([], 1, camera="first")
    partition.read(stored(event, 7))
    assert partition.unused(100) == []
    list(partition.due(START.timestamp() + 60))
    assert partition.unused(7) == [] and partition.unused(8) == ["first"]
    partition.forget("first")
    (event,) = detections([], 1, camera="second")
    partition.read(stored(event, 8, 61.0))
    assert list(partition.cameras) == ["second"]


def test_a_camera_that_is_no_longer_listed_is_dropped() -> None:
    listed = {"yard"}
    partition = Partition(0, LIMITS, lambda _: BOOK, lambda camera: camera in listed, Budget(unlisted=0))
    (event,) = detections([], 1, camera="yard")
    partition.read(stored(event, 1))
    list(partition.due(START.timestamp() + 60))
    assert partition.unused(8) == []
    listed.clear()
    assert partition.unused(8) == ["yard"]


@pytest.mark.slow
def test_the_camera_with_the_largest_backlog_is_flushed() -> None:
    """Segments behind a gap wait, for as long as the missing one may still come."""
    partition = Partition(0, LIMITS, lambda _: BOOK, budget=Budget(waiting_bytes=200_000))
    honest = detections([ACROSS], 3, camera="yard")
    for seq, event in enumerate((honest[0], honest[2]), 1):
        partition.read(stored(event, seq))
    for n in range(2, 200, 2):
        partition.read(stored(crowd("fake", n, frames=1), 2 + n))
        assert partition.cameras["fake"].waiting_bytes <= 220_000
        list(partition.due(START.timestamp() + 1))
    assert partition.cameras["yard"].waiting_bytes > 0
    partition.read(stored(honest[1], 300))
    assert (partition.cameras["yard"].order.gaps, partition.cameras["yard"].processed) == (0, 3)


def test_waiting_segments_come_out_in_order() -> None:
    camera, reference = (CameraAnalytics("yard", LIMITS, BOOK) for _ in range(2))
    found = detections([ACROSS], 14)
    late = [*found[:3], *found[5:9], found[4], found[3], *found[9:]]
    outs = [o for seq, event in enumerate(late, 1) for o in camera.read(seq, event, 0.0)]
    expected = [o for seq, event in enumerate(found, 1) for o in reference.read(seq, event, 0.0)]
    assert [o.what for o in outs] == [o.what for o in expected] and camera.waiting_bytes == 0


@pytest.mark.parametrize(
    "epoch, n, seq, start",
    [
        ("e", 2**52, 15, START + dt.timedelta(seconds=14)),
        ("e", 2**52, 2**52, FAR),
        ("x", 0, 2**52, FAR),
        ("x", 2**52, 2**52, FAR),
    ],
)
def test_a_forged_segment_blinds_a_camera_only_briefly(epoch: str, n: int, seq: int, start: dt.datetime) -> None:
    """Regression: its later segments counted as older for ever, also after restarts and new connections."""
    camera = CameraAnalytics("yard", LIMITS, BOOK)

    def incidents_of(found: list[Detections]) -> int:
        outs = [out for k, e in enumerate(found) for out in camera.read(next(read), e, e.start.timestamp() + 1)]
        return sum(isinstance(out.what, Incident) for out in outs)

    read = itertools.count(1)
    assert (wanted := incidents_of(detections([ACROSS], 14)))
    (event,) = detections([], 1, epoch=epoch, first=n, seq=seq, start=start)
    camera.read(next(read), replace(event, frames=[]), START.timestamp() + 14)
    incidents_of(detections([], 100, first=14, seq=15, start=START + dt.timedelta(seconds=14)))
    camera = CameraAnalytics("yard", LIMITS, BOOK, checkpoint.unpacked(checkpoint.packed(camera.state())))
    walk = detections([ACROSS], 14, first=114, seq=115, start=START + dt.timedelta(seconds=114))
    assert incidents_of(walk) == wanted


def test_a_connection_continues_after_many_lost_segments() -> None:
    camera = CameraAnalytics("yard", LIMITS, BOOK)
    hours = dt.timedelta(hours=10)
    for k, event in enumerate(detections([], 3)):
        camera.read(k + 1, event, event.start.timestamp() + 1)
    late = detections([ACROSS], 14, first=36_000, seq=36_000, start=START + hours)
    for k, event in enumerate(late):
        camera.read(k + 4, event, event.start.timestamp() + 1)
    assert camera.processed == 17


async def keys(client: Client, kind: str) -> list[str]:
    """Names of the cameras whose entries in the checkpoints' bucket are not empty."""
    async with Log(client, f"KV_{names.ANALYTICS}") as log:
        return [one.subject.rpartition(".")[2] for one in await log.all(f"$KV.*.{kind}.>") if one.data]


def dropped_states() -> float:
    return REGISTRY.get_sample_value("tidegate_analytics_dropped_total", {"what": "state"}) or 0.0


def numbered(camera: str, count: int) -> Iterator[Detections]:
    for n in range(count):
        (event,) = detections([], 1, camera=f"{camera}-{n}")
        yield event


async def test_a_flood_of_invented_cameras_is_bounded_and_forgotten(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keys expire, an honest camera's incident comes, and a camera without rules has a place again afterwards."""
    monkeypatch.setattr(entries, "EXPIRES_S", 1)
    # This other camera has an entry and no rules: it is followed despite invented ones.
    await registry.put(admin.jetstream(), "plain", *new_camera("rtsp://10.0.0.7/x"))
    await use(admin, "lobby", RULES)
    given = {"analytics_reorder_s": 0.5, "analytics_idle_s": 1.0, "analytics_unlisted_cameras": 8}
    async with running(server, **given):
        await publish(admin, list(numbered("fake", 300)))
        await publish(admin, detections([ACROSS], 14, camera="plain"))
        await publish(admin, detections([ACROSS], 14))
        await until_said(admin, lambda f: any(e.camera == "plain" for e in f))
        found = [e for _, e in await until_said(admin, lambda f: incidents(f, "start", "cross"))]
        assert {e.camera for e in found if isinstance(e, Incident)} == {"lobby"}
        async with asyncio.timeout(patience_s()):
            while len(held := await keys(admin, "camera")) < 2:
                await asyncio.sleep(0.05)
        assert len(held) <= 8 + 2
        async with asyncio.timeout(patience_s()):
            while set(await keys(admin, "camera")) - {"lobby", "plain"}:
                await asyncio.sleep(0.2)
        await publish(admin, detections([ACROSS], 14, camera="late", start=START + dt.timedelta(hours=1)))
        await until_said(admin, lambda f: any(e.camera == "late" for e in f))
        async with asyncio.timeout(patience_s()):
            while "fake" in str((await admin.jetstream().stream_info("KV_analytics", ">")).state.subjects):
                await asyncio.sleep(0.2)


async def test_states_stay_within_their_bytes_and_the_largest_is_dropped_first(
    server: NatsServer, admin: Client
) -> None:
    await use(admin, "lobby", RULES)
    dropped = dropped_states()
    async with running(server, analytics_partitions=1, analytics_state_bytes=2**20):
        honest = detections([ACROSS], 14)
        await publish(admin, honest[:5])
        await publish(admin, [crowd(f"crowd-{k}", n) for n in range(2) for k in range(8)])
        async with asyncio.timeout(patience_s()):
            while dropped_states() == dropped:
                await asyncio.sleep(0.05)
        await publish(admin, honest[5:])
        found = [e for _, e in await until_said(admin, lambda f: incidents(f, "start", "cross"))]
        # It has one track, from before the crowds until after them: another state was dropped.
        assert len({t.id for e in found if e.camera == "lobby" for t in getattr(e, "tracks", [])}) == 1
    bucket = await admin.jetstream().key_value(names.ANALYTICS)
    packed = [(await bucket.get(f"camera.0.{c}")).value or b"" for c in await keys(admin, "camera")]
    assert sum(len(checkpoint.inflated(entry)) for entry in packed) <= 2**20


async def test_tracks_end_if_their_state_is_dropped(server: NatsServer, admin: Client) -> None:
    async with connected(server, "analytics") as client:
        checkpoints = Checkpoints(client, await bind(client.jetstream(), names.ANALYTICS))
        partition = Partition(0, LIMITS, lambda _: BOOK, budget=Budget(state_bytes=1))
        walk = detections([ACROSS], 6, camera="yard")
        published = [out for seq, event in enumerate(walk, 1) for out in partition.read(stored(event, seq, seq))]
        followed = tracks(published, "new")
        assert followed
        await checkpoints.save(partition)
        assert tracks([out for _, outs in partition.due(START.timestamp()) for out in outs], "end") == followed
        assert not list(partition.due(START.timestamp())), "it is said once"


async def test_a_full_bucket_while_a_camera_is_forgotten_ends_nothing(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(server, "analytics") as client:
        checkpoints = Checkpoints(client, await bind(client.jetstream(), names.ANALYTICS))
        partition = Partition(0, LIMITS, lambda _: BOOK, nobody)
        for n, name in enumerate(("one", "two")):
            (event,) = detections([], 1, camera=name)
            partition.read(stored(event, 7 + n))
        await checkpoints.save(partition)
        list(partition.due(START.timestamp() + 60))
        partition.position = 100
        await checkpoints.save(partition)
        whole, requests = checkpoints.entries.empty, itertools.count()

        async def forget(key: str) -> None:
            if next(requests) == 1:
                raise APIError(code=503, err_code=10077, description="maximum bytes exceeded")
            await whole(key)

        monkeypatch.setattr(checkpoints.entries, "empty", forget)
        with pytest.raises(Full):
            await checkpoints.save(partition)
        await checkpoints.save(partition)
        assert not partition.cameras


async def test_a_listed_camera_keeps_its_state_despite_invented_ones(server: NatsServer, admin: Client) -> None:
    async with connected(server, "analytics") as client:
        checkpoints = Checkpoints(client, await bind(client.jetstream(), names.ANALYTICS))
        partition = Partition(
            0, LIMITS, lambda _: BOOK, lambda camera: camera == "yard", Budget(unlisted=50, state_bytes=400_000)
        )
        for n in range(2):
            partition.read(stored(crowd("yard", n), 1 + n))
        for n in range(50):
            partition.read(stored(crowd(f"fake-{n}", 0), 10 + n))
        held = len(msgspec.msgpack.encode(partition.cameras["yard"].state()))
        await checkpoints.save(partition)
        assert len(msgspec.msgpack.encode(partition.cameras["yard"].state())) == held > 60_000
        assert states(partition) < 400_000


async def test_a_full_checkpoint_bucket_stops_no_alert_and_is_reported(server: NatsServer, admin: Client) -> None:
    js = admin.jetstream()
    config = (await js.stream_info("KV_analytics")).config
    await use(admin, "lobby", RULES)
    async with running(server) as health:
        held = (await js.stream_info("KV_analytics")).state.bytes
        await js.update_stream(config.evolve(max_bytes=held + 1))
        await publish(admin, detections([ACROSS], 14))
        await until_said(admin, lambda f: incidents(f, "end", "cross") or incidents(f, "start", "cross"))
        async with asyncio.timeout(patience_s()):
            while "no room for a checkpoint" not in (health.ready or ""):
                await asyncio.sleep(0.05)
        await js.update_stream(config.evolve(max_bytes=config.max_bytes))
        async with asyncio.timeout(patience_s()):
            while health.ready:
                await asyncio.sleep(0.05)
    assert "lobby" in await keys(admin, "camera")
