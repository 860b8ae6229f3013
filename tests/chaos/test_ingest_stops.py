"""Ingest processes that stop while cameras move or the server is away."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

import pytest
from nats.aio.client import Client

from shared.contract import names
from tests.support.processes.ingest_process import Bus, Ingest, bus, start
from tests.support.waiting import patience_s, until
from tests.support.worlds.ingest_fleet import (
    CAMERAS,
    PATIENT_S,
    all_online,
    all_stored_after,
    assert_handed_over,
    assert_whole,
    camera,
    moving,
    shared_out,
    slow_to_answer,
    stored,
)
from tidegate.local.server import NatsServer

__all__ = ["bus", "camera", "start"]


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
async def test_an_ingest_stopped_before_it_started_reports_nothing_of_its_cameras(
    admin: Client, start: Callable[..., Ingest], bus: Bus, camera: str
) -> None:
    """It once reported them offline for as long as the previous ingest filmed on."""
    async with slow_to_answer(camera) as url:
        first, second = await moving(admin, start, url)
        assert await asyncio.to_thread(second.stop) == 0
        await until(lambda: first.metric("tidegate_ingest_cameras_owned") == len(CAMERAS))
        await all_stored_after(admin, time.time())
        found = await stored(admin)
        states = {name: bus.states(name) for name in CAMERAS}
        assert await asyncio.to_thread(first.stop) == 0
    assert_whole(found)
    assert {reports[-1] for reports in states.values()} == {"online"}, states
    assert len({(s.camera, s.epoch) for s in found}) == len(CAMERAS), "none was connected to again"


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
async def test_an_ingest_stopped_at_its_start_hands_over_its_cameras(
    admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """It once could not offer cameras that it had just taken, and no ingest had them until the next had connected."""
    async with slow_to_answer(camera) as url:
        first = start(INGEST_TIMEOUT_S=PATIENT_S)
        await shared_out(admin, [first], url)
        second = start(INGEST_TIMEOUT_S=PATIENT_S)
        await until(lambda: second.metric("tidegate_ingest_cameras_online"))
        assert await asyncio.to_thread(second.stop) == 0
        await all_online(first)
        await all_stored_after(admin, time.time())
        assert first.metric("tidegate_ingest_dropped_segments_total") == 0
        found = await stored(admin)
        assert await asyncio.to_thread(first.stop) == 0
    assert_whole(found)


@pytest.mark.slow
@pytest.mark.long
async def test_a_stop_ends_within_its_grace_though_the_server_is_away(
    server: NatsServer, admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """The stop once took twice as long if others were about to take its cameras; Kubernetes kills it before that."""
    async with slow_to_answer(camera, delay_s=8) as url:
        first, second = await moving(admin, start, url)
        first.process.terminate()
        await until(lambda: second.metric("tidegate_ingest_cameras_owned") == len(CAMERAS))
        await server.stop(signal.SIGKILL)
        # INGEST_GRACE_S is 20.
        assert await asyncio.to_thread(first.process.wait, 33) == 0
        second.process.kill()


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
@pytest.mark.long
async def test_a_stop_hands_over_once_the_server_is_back(
    server: NatsServer, admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """It once gave the cameras up immediately; no ingest takes a camera until the server has been up for a lease."""
    stopping, other = ingests = [start(INGEST_TIMEOUT_S=PATIENT_S, INGEST_GRACE_S="60") for _ in range(2)]
    await shared_out(admin, ingests, camera)
    await server.stop(signal.SIGKILL)
    await asyncio.sleep(5)
    stopping.process.terminate()
    await asyncio.sleep(4)
    await server.start()
    assert await asyncio.to_thread(stopping.process.wait, patience_s()) == 0
    await until(lambda: admin.is_connected)
    await assert_handed_over(admin, other)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
async def test_a_stop_waits_for_an_ingest_that_was_away(
    admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """The other ingest was frozen just before, and takes nothing before it has heard the others for a lease."""
    async with slow_to_answer(camera) as url:
        stopping, other = ingests = [start(INGEST_TIMEOUT_S=PATIENT_S, INGEST_GRACE_S="60") for _ in range(2)]
        await shared_out(admin, ingests, url)
        other.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(3.5)
        other.process.send_signal(signal.SIGCONT)
        await until(lambda: "the server was away" in other.log)
        assert await asyncio.to_thread(stopping.stop) == 0
        await assert_handed_over(admin, other)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
async def test_a_stopping_ingest_stores_cameras_that_no_other_takes(
    admin: Client, start: Callable[..., Ingest], camera: str
) -> None:
    """The cameras were once on offer all the time: a late taker ended the storing, and the rest was dropped."""
    ingest = start(INGEST_TIMEOUT_S=PATIENT_S, INGEST_GRACE_S="60")
    await shared_out(admin, [ingest], camera)
    js = admin.jetstream()
    leases = await js.key_value(names.LEASES)
    # Another process that is there, and takes nothing.
    await leases.put("process.other-1-ab", b"other-1-ab/60")
    config = (await js.stream_info(names.MEDIA)).config
    await js.update_stream(config.evolve(subjects=["elsewhere.*"]))
    await asyncio.sleep(2)
    ingest.process.terminate()

    async def reported_cameras() -> set[bool]:
        return {b"offered" in ((await leases.get(f"camera.{name}")).value or b"") for name in CAMERAS}

    while await reported_cameras() != {True}:
        await asyncio.sleep(0.1)
    while await reported_cameras() != {False}:
        assert ingest.process.poll() is None
        await asyncio.sleep(0.1)
    await js.update_stream(config)
    assert await asyncio.to_thread(ingest.process.wait, patience_s()) == 0
    found = await stored(admin)
    assert_whole(found)
    assert "dropped what could not be stored" not in ingest.log
