"""Ingest processes share cameras, take over and have limits."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest
from nats.aio.client import Client

from shared.runtime.ports import free_port
from tests.support.processes.ingest_process import Bus, Ingest, add, assert_gapless, bus, start
from tests.support.waiting import until
from tests.support.worlds.ingest_server import leases, looped, rtsp

__all__ = ["bus", "rtsp", "start"]

# One camera server, whose video takes seconds to make.
pytestmark = pytest.mark.xdist_group("ingest")


@pytest.mark.slow
async def test_two_processes_share_and_take_over(
    admin: Client, bus: Bus, start: Callable[..., Ingest], rtsp: str
) -> None:
    names = [f"cam{i}" for i in range(5)]
    for name in names:
        await add(admin, name, looped(rtsp, "short"))
    first = start()
    await until(lambda: all(bus.states(n) == ["online"] for n in names))
    second = start()
    await until(lambda: first.metric("tidegate_ingest_cameras_owned") == 3)
    await until(lambda: second.metric("tidegate_ingest_cameras_online") == 2)
    owners = await leases(admin)
    assert sorted(k for k in owners if k.startswith("camera.")) == [f"camera.{n}" for n in names]
    victims = [k.removeprefix("camera.") for k, v in owners.items() if f"-{second.process.pid}-" in v]
    victims = [v for v in victims if v in names]
    assert len(victims) == 2
    await until(lambda: all(len({s.epoch for s in bus.of(v)}) == 2 for v in victims))
    second.process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    await until(lambda: first.metric("tidegate_ingest_cameras_owned") == 5)
    await until(lambda: all(any(t > killed + 1 for s, _, t in bus.segments if s.camera == v) for v in victims))
    # Never two together: an epoch is over once another follows it.
    for name in names:
        order = [s.epoch for s in sorted(bus.of(name), key=lambda s: s.start)]
        assert len(list(dict.fromkeys(order))) == len([e for i, e in enumerate(order) if i == 0 or order[i - 1] != e])
        assert_gapless(bus.of(name))
    assert first.stop() == 0


async def test_a_process_takes_at_most_its_limit_of_cameras(
    admin: Client, bus: Bus, start: Callable[..., Ingest], rtsp: str
) -> None:
    names = [f"cam{i}" for i in range(5)]
    for name in names:
        await add(admin, name, looped(rtsp, "short"))
    first = start(INGEST_MAX_CAMERAS="3")
    await until(lambda: first.metric("tidegate_ingest_cameras_waiting") == 2)
    assert first.metric("tidegate_ingest_cameras_owned") == 3
    assert "run another ingest, or raise INGEST_MAX_CAMERAS" in first.log
    start(INGEST_MAX_CAMERAS="3")
    await until(lambda: all(bus.of(name) for name in names))
    await until(lambda: first.metric("tidegate_ingest_cameras_waiting") == 0)


@pytest.mark.slow
async def test_a_new_camera_gets_a_place_despite_dead_ones(
    admin: Client, bus: Bus, start: Callable[..., Ingest], rtsp: str
) -> None:
    dead = [f"dead{i}" for i in range(6)]
    for name in dead:
        await add(admin, name, f"rtsp://127.0.0.1:{free_port(0)}/x")
    ingest = start(INGEST_MAX_CAMERAS="2")
    await until(lambda: ingest.metric("tidegate_ingest_cameras_waiting") >= 4)
    await add(admin, "live", looped(rtsp, "short"))
    await until(lambda: bus.of("live"))
    await until(lambda: all(bus.states(name) for name in dead))
    tries = ingest.metric("tidegate_ingest_reconnects_total")
    await until(lambda: ingest.metric("tidegate_ingest_reconnects_total") >= tries + 3)
    assert ingest.metric("tidegate_ingest_cameras_owned") <= 2
    assert ingest.log.count("no room for more cameras") == 1
    assert [bus.states(name) for name in dead] == [["offline"]] * 6, "each is said once, however often it is tried"
    assert bus.states("live") == ["online"]


@pytest.mark.slow
async def test_a_larger_process_takes_the_cameras_beyond_smaller_ones(
    admin: Client, bus: Bus, start: Callable[..., Ingest], rtsp: str
) -> None:
    names = [f"cam{i}" for i in range(5)]
    large, small = start(INGEST_MAX_CAMERAS="4"), start(INGEST_MAX_CAMERAS="1")
    for name in names:
        await add(admin, name, looped(rtsp, "short"))
    await until(lambda: all(bus.of(name) for name in names))
    assert [p.metric("tidegate_ingest_cameras_owned") for p in (large, small)] == [4, 1]


@pytest.mark.slow
async def test_a_frozen_process_publishes_nothing_after_its_lease(
    admin: Client, bus: Bus, start: Callable[..., Ingest], rtsp: str
) -> None:
    await add(admin, "cam", looped(rtsp, "short"))
    first = start()
    await until(lambda: len(bus.of("cam")) >= 2)
    frozen = bus.of("cam")[-1].epoch
    first.process.send_signal(signal.SIGSTOP)
    second = start()
    await until(lambda: second.metric("tidegate_ingest_cameras_online") == 1)
    # Online comes before the first segment.
    await until(lambda: bus.of("cam")[-1].epoch != frozen)
    epoch = bus.of("cam")[-1].epoch
    at = len(bus.of("cam"))
    first.process.send_signal(signal.SIGCONT)
    await until(lambda: "another process has taken the camera" in first.log)
    came = len(bus.of("cam"))
    await until(lambda: len(bus.of("cam")) >= came + 3)
    late = [s for s in bus.of("cam")[at:] if s.epoch != epoch]
    begins = next(s.start for s in bus.of("cam") if s.epoch == epoch)
    assert all(s.start.timestamp() + s.duration <= begins.timestamp() for s in late), "what the other one has not"
    assert first.metric("tidegate_ingest_cameras_owned") + second.metric("tidegate_ingest_cameras_owned") == 1
    assert (first.stop(), second.stop()) == (0, 0)
