"""analytics as a service: the events it publishes for detections, through restarts, outages and bad input."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest
from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError

import services.analytics.app as analytics
from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.statements import Outs
from shared import bus
from shared.bus.leasing import entry as lease_entry
from shared.bus.leasing.partitions import partition_of
from shared.bus.log import Log
from shared.client import dlq
from shared.contract import events, names
from shared.contract.events import Alert, Counts, Detections, Tracks
from shared.runtime.errors import SettingError
from shared.runtime.telemetry import Health
from tests.support import waiting
from tests.support.video.walking_people import Walk, detections, publish
from tests.support.waiting import LONGEST_S, patience_s
from tests.support.worlds.analytics_world import (
    ACROSS,
    BACK,
    CAMERAS,
    RULES,
    alone,
    incidents,
    process,
    running,
    settings,
    stored_events,
    stumble,
    until,
    use,
)
from tidegate.local.server import NatsServer

__all__ = ["stumble"]

TRACE = f"00-{'1' * 32}-{'2' * 16}-01"


async def test_a_person_who_crosses_a_line_is_a_track_and_an_incident(server: NatsServer, admin: Client) -> None:
    await use(admin, "lobby", RULES)
    async with running(server):
        given = detections([ACROSS], 14)
        await publish(admin, given)
        found = [e for _, e in await until(admin, lambda f: len(f) >= len(alone("lobby", given)))]
    tracks = [t for e in found if isinstance(e, Tracks) for t in e.tracks]
    assert len({t.id for t in tracks}) == 1
    assert (tracks[0].state, tracks[-1].state) == ("new", "end")
    assert {t.label for t in tracks} == {"person"}
    begun = incidents(found, "start")
    assert sorted((e.rule, e.direction) for e in begun) == [("cross", "in"), ("in", None)]
    assert not [e for e in found if isinstance(e, Alert)]


async def test_order_and_number_of_replicas_change_no_event(server: NatsServer, admin: Client) -> None:
    expected: dict[str, bytes] = {}
    waiting = []
    for camera in CAMERAS:
        await use(admin, camera, RULES)
        given = detections([ACROSS, BACK], 20, camera=camera)
        expected |= alone(camera, given)
        # The first segment comes first: in the middle of an epoch its start is unknown.
        waiting += [(0.0, given[0]), *((n + random.Random(n).uniform(0, 8), e) for n, e in enumerate(given[1:], 1))]
    shuffled = [event for _, event in sorted(waiting, key=lambda w: w[0])]
    # Late segments are late only in their order, however long a busy machine takes to publish them.
    patient = {"analytics_reorder_s": LONGEST_S}
    async with running(server, **patient), running(server, **patient), running(server, **patient):
        for n, event in enumerate(shuffled):
            await publish(admin, [event])
            if n % 3 == 0:  # the second time under another id, as after JetStream's deduplication window
                headers = events.headers(event, id=f"again/{n}", source="test")
                await admin.jetstream().publish(events.subject(event), events.encode(event), headers=headers)
        found = await until(admin, lambda f: len(f) >= len(expected))
    assert {id: events.encode(event) for id, event in found} == expected
    assert len(found) == len(expected)


async def test_replicas_share_the_partitions_and_hand_over_on_leaving(server: NatsServer, admin: Client) -> None:
    expected: dict[str, bytes] = {}
    by_camera = {camera: detections([ACROSS, BACK], 20, camera=camera) for camera in CAMERAS}
    for camera, given in by_camera.items():
        await use(admin, camera, RULES)
        expected |= alone(camera, given)
    async with running(server):
        async with running(server):
            for given in by_camera.values():
                await publish(admin, given[:9])
            await until(admin, lambda f: {e.camera for e in f} == set(CAMERAS))
            await _shared_out(admin, [2, 2])
        for given in by_camera.values():
            await publish(admin, given[9:])
        found = await until(admin, lambda f: len(f) >= len(expected))
        await _shared_out(admin, [4])
    assert {id: events.encode(event) for id, event in found} == expected


async def _shared_out(client: Client, shares: list[int]) -> None:
    """Wait until the processes hold `shares` of the four partitions."""
    bucket = await client.jetstream().key_value(names.PARTITIONS)
    async with asyncio.timeout(patience_s()):
        while True:
            owners = Counter[bytes]()
            for n in range(4):
                with contextlib.suppress(KeyNotFoundError):
                    owners[(await bucket.get(f"partition.{n}")).value or b""] += 1
            if sorted(owners.values()) == shares:
                return
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_after_kill_9_another_continues_without_loss_or_duplicates(server: NatsServer, admin: Client) -> None:
    expected: dict[str, bytes] = {}
    by_camera = {camera: detections([ACROSS, BACK], 20, camera=camera) for camera in CAMERAS}
    for camera, given in by_camera.items():
        await use(admin, camera, RULES)
        expected |= alone(camera, given)
    with process(server) as first:
        for given in by_camera.values():
            await publish(admin, given[:6])
        await until(admin, lambda f: {e.camera for e in f} == set(CAMERAS))
        with process(server):
            for n in range(6, 12):
                for given in by_camera.values():
                    await publish(admin, [given[n]])
                await asyncio.sleep(0.3)
            first.send_signal(signal.SIGKILL)
            for given in by_camera.values():
                await publish(admin, given[12:])
            found = await until(admin, lambda f: len(f) >= len(expected))
    assert {id: events.encode(event) for id, event in found} == expected
    assert len(found) == len(expected)


async def test_a_restart_continues_tracks_without_duplicates(server: NatsServer, admin: Client) -> None:
    await use(admin, "lobby", RULES)
    given = detections([ACROSS], 14)
    async with running(server):
        await publish(admin, given[:5])
        await until(admin, lambda f: [e for e in f if isinstance(e, Tracks)])
    before = await stored_events(admin)
    await publish(admin, given[5:])
    expected = alone("lobby", given)
    async with running(server):
        found = await until(admin, lambda f: len(f) >= len(expected))
    assert found[: len(before)] == before
    assert {id: events.encode(e) for id, e in found} == expected


async def test_only_the_failing_reordered_segment_is_dead_lettered(
    server: NatsServer, admin: Client, stumble: Callable[[dt.datetime], None]
) -> None:
    given = detections([ACROSS], 14)
    stumble(given[5].frames[2].time)
    async with running(server):
        await publish(admin, [given[0], *given[2:9], given[1], *given[9:]])
        await until(
            admin, lambda f: len([t for e in f if isinstance(e, Tracks) for t in e.tracks if t.state == "end"]) == 2
        )
        (letter,) = [x async for x in dlq.entries(admin, "analytics")]
    assert json.loads(letter.payload or b"")["segment"]["n"] == 5 and "ZeroDivisionError" in letter.reason


async def test_an_invalid_trace_is_not_propagated(server: NatsServer, admin: Client) -> None:
    await use(admin, "lobby", RULES)
    for event, trace in zip(detections([ACROSS], 14), itertools.cycle(["x" * 60_000, TRACE]), strict=False):
        await admin.jetstream().publish(events.subject(event), events.encode(event), headers={"traceparent": trace})
    async with running(server):
        await until(admin, lambda f: len(f) >= len(alone("lobby", detections([ACROSS], 14))))
    async with Log(admin, names.EVENTS) as log:
        assert {s.headers.get("traceparent") for s in await log.read("events.tracks.*", 1)} == {None, TRACE}


async def test_a_replay_for_another_service_is_skipped(server: NatsServer, admin: Client) -> None:
    await use(admin, "lobby", RULES)
    given = detections([ACROSS], 14)
    async with running(server):
        for event in detections([ACROSS], 14, camera="lobby"):
            forged = msgspec.structs.replace(event, segment=msgspec.structs.replace(event.segment, epoch="forged"))
            headers = {"Replay-For": "search", "Replay-Of": "EVENTS/1"}
            await admin.jetstream().publish(events.subject(forged), events.encode(forged), headers=headers)
        await publish(admin, given)
        found = await until(admin, lambda f: len(f) >= len(alone("lobby", given)))
    assert {id: events.encode(e) for id, e in found} == alone("lobby", given)


async def test_invalid_detections_are_dead_lettered_and_harm_no_other(server: NatsServer, admin: Client) -> None:
    await use(admin, "lobby", RULES)
    js = admin.jetstream()
    bad = [b"", b"{", b"[1]", b'{"camera": "lobby"}', b"\xff\xfe", b'{"camera": "other"}']
    given = detections([ACROSS], 14)
    async with running(server):
        for payload in bad:
            await js.publish("events.detections.lobby", payload)
        (event,) = detections([ACROSS], 1, camera="other")
        await js.publish("events.detections.lobby", events.encode(event))
        await js.publish("events.detections.l\u00f6bby", b"{}")
        await publish(admin, given)
        found = [e for _, e in await until(admin, lambda f: len(f) >= len(alone("lobby", given)))]
        letters = [x async for x in dlq.entries(admin, "analytics")]
    assert {e.camera for e in found} == {"lobby"}
    assert sorted(x.payload or b"" for x in letters) == sorted([*bad, events.encode(event), b"{}"])
    assert all("not an event of detections" in x.reason for x in letters)


async def test_a_camera_that_breaks_analytics_is_reset_and_harms_no_other(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen error must not stop the others: an injected one stands for it."""
    whole = CameraAnalytics.read

    def read(self: CameraAnalytics, seq: int, event: Detections, at: float) -> Outs:
        if event.segment.n == 3 and event.camera == "cam-0":
            raise ZeroDivisionError
        return whole(self, seq, event, at)

    for camera in ("cam-0", "cam-1"):
        await use(admin, camera, RULES)
    expected = alone("cam-1", detections([ACROSS], 14, camera="cam-1"))
    monkeypatch.setattr(CameraAnalytics, "read", read)
    async with running(server):
        for camera in ("cam-0", "cam-1"):
            await publish(admin, detections([ACROSS], 14, camera=camera))
        found = await until(admin, lambda f: len([e for e in f if e.camera == "cam-1"]) >= len(expected))
        found = await until(admin, lambda f: [e for e in incidents(f, "end", "cross") if e.camera == "cam-0"])
        (letter,) = [x async for x in dlq.entries(admin, "analytics")]
    assert {id: events.encode(e) for id, e in found if e.camera == "cam-1"} == expected
    assert "ZeroDivisionError" in letter.reason and letter.subject == "events.detections.cam-0"
    assert len({t.id for _, e in found if isinstance(e, Tracks) and e.camera == "cam-0" for t in e.tracks}) == 2


async def test_leases_are_renewed_during_a_slow_segment(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: a partition that was lost during a large event was read again from before it, and lost again."""
    whole = CameraAnalytics.read
    begun, go_on = threading.Event(), threading.Event()

    def read(self: CameraAnalytics, seq: int, event: Detections, at: float) -> Outs:
        begun.set()
        assert go_on.wait(patience_s())
        return whole(self, seq, event, at)

    await use(admin, "lobby", RULES)
    given = detections([ACROSS], 14)
    expected = alone("lobby", given)
    monkeypatch.setattr(CameraAnalytics, "read", read)
    bucket = await admin.jetstream().key_value(names.PARTITIONS)
    partition = f"partition.{partition_of('lobby', 4)}"
    async with running(server):
        await publish(admin, given)
        await waiting.until(begun.is_set)
        session = f"analytics.{lease_entry.decode((await bucket.get(partition)).value or b'').process}"
        before = (await bucket.get(session)).revision
        async with asyncio.timeout(patience_s()):
            while (await bucket.get(session)).revision == before:
                await asyncio.sleep(0.1)
        go_on.set()
        found = await until(admin, lambda f: len(f) >= len(expected))
    assert {id: events.encode(event) for id, event in found} == expected


async def test_unusable_rules_leave_the_previous_ones_in_force(server: NatsServer, admin: Client) -> None:
    await use(admin, "lobby", RULES)
    bucket = await admin.jetstream().key_value(names.RULES)
    given = detections([ACROSS, Walk(11, 19, (0.1, 0.7), (0.9, 0.7))], 24)
    async with running(server):
        await publish(admin, given[:10])
        await until(admin, lambda f: incidents(f, "start", "cross"))
        await bucket.put("lobby", b'{"rules": [{"kind": "entr"}]}')
        await bucket.put("lobby-2", b"\xff")
        await asyncio.sleep(0.5)
        await publish(admin, given[10:])
        found = [e for _, e in await until(admin, lambda f: len(incidents(f, "end", "cross")) == 2)]
    assert len(incidents(found, "start", "cross")) == 2


async def test_removed_rules_end_their_incidents(server: NatsServer, admin: Client) -> None:
    await use(admin, "lobby", RULES)
    given = detections([Walk(0, 30, (0.5, 0.7), (0.5, 0.71))], 10)
    async with running(server):
        await publish(admin, given[:5])
        await until(admin, lambda f: incidents(f, "start", "in"))
        await (await admin.jetstream().key_value(names.RULES)).delete("lobby")
        found = [e for _, e in await until(admin, lambda f: incidents(f, "end", "in"))]
    assert len(incidents(found, "end")) == 1


async def test_a_camera_without_video_ends_its_tracks(server: NatsServer, admin: Client) -> None:
    await use(admin, "lobby", RULES)
    async with running(server, analytics_reorder_s=0.5, analytics_idle_s=1.0):
        await publish(admin, detections([Walk(0, 60, (0.5, 0.7), (0.5, 0.71))], 6))
        found = [e for _, e in await until(admin, lambda f: any(isinstance(e, Counts) for e in f))]
    assert [t.state for e in found if isinstance(e, Tracks) for t in e.tracks][-1] == "end"
    assert len(incidents(found, "start")) == len(incidents(found, "end")) == 1
    (minute,) = [e for e in found if isinstance(e, Counts)]
    assert minute.labels["person"].objects == 1


async def test_another_number_of_partitions_is_an_error_with_a_remedy(server: NatsServer, admin: Client) -> None:
    async with running(server):
        await publish(admin, detections([ACROSS], 5))
        await until(admin, lambda f: f)
    client = await bus.connect(server.settings("analytics"), "analytics")
    for count in (2, 8):
        with pytest.raises(SettingError, match=f"ANALYTICS_PARTITIONS is {count}, and the checkpoints are of 4"):
            await analytics.run(settings(analytics_partitions=count), client, Health(), asyncio.Event())
    await client.close()


async def test_a_server_outage_loses_nothing(server: NatsServer, admin: Client) -> None:
    await use(admin, "lobby", RULES)
    given = detections([ACROSS], 14)
    expected = alone("lobby", given)
    async with running(server):
        await publish(admin, given[:6])
        await until(admin, lambda f: [e for e in f if isinstance(e, Tracks)])
        await server.stop()
        await asyncio.sleep(1.0)
        await server.start()
        await publish(admin, given[6:])
        found = await until(admin, lambda f: len(f) >= len(expected))
    assert {id: events.encode(e) for id, e in found} == expected


async def test_a_clock_change_ends_no_track(server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: after an hour behind, and back, every track ended on publication for a minute or two."""
    right, ahead_s = time.time, -3600.0
    monkeypatch.setattr(time, "time", lambda: right() + ahead_s)
    walk = detections([Walk(0, 60, (0.1, 0.7), (0.9, 0.7))], 4)
    async with running(server, analytics_idle_s=600):
        await publish(admin, walk[:2])
        await until(admin, bool)
        ahead_s = 0.0
        # It polls several times while nothing comes.
        await asyncio.sleep(2)
        await publish(admin, walk[2:])
        found = await until(admin, lambda found: any(e.segment.n > 1 for e in found if isinstance(e, Tracks)))
    tracks = [track for _, e in found if isinstance(e, Tracks) for track in e.tracks]
    assert {track.state for track in tracks} == {"new", "update"} and len({track.id for track in tracks}) == 1
