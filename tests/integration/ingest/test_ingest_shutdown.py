"""Ingest stops: what is buffered is stored, or counted as dropped."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Callable

import pytest
from nats.aio.client import Client

from tests.support.processes.ingest_process import Bus, Ingest, add, assert_gapless, bus, start
from tests.support.waiting import patience_s, until
from tests.support.worlds.ingest_server import away_from, looped, rtsp, stored_segments
from tidegate.local.server import NatsServer

__all__ = ["bus", "rtsp", "start"]

# One camera server, whose video takes seconds to make.
pytestmark = pytest.mark.xdist_group("ingest")


@pytest.mark.slow
async def test_a_stop_stores_the_buffer_once_the_server_is_back(
    server: NatsServer, admin: Client, start: Callable[..., Ingest], rtsp: str
) -> None:
    """Regression: both restart in one rollout, and ingest dropped the whole buffer after 3 s."""
    ingest = start(INGEST_GRACE_S="60")
    away_since = await away_from(server, admin, ingest, rtsp)
    await asyncio.sleep(4)
    ingest.process.terminate()
    await until(lambda: "filming until the server is back" in ingest.log)
    await asyncio.sleep(4)
    await server.start()
    assert await asyncio.to_thread(ingest.process.wait, patience_s()) == 0
    await until(lambda: admin.is_connected)
    stored = await stored_segments(admin.jetstream())
    assert_gapless(stored)
    assert max(s.start for s in stored) > away_since + dt.timedelta(seconds=2)


@pytest.mark.slow
async def test_segments_unstored_at_the_end_are_reported_as_dropped(
    server: NatsServer, admin: Client, start: Callable[..., Ingest], rtsp: str
) -> None:
    ingest = start(INGEST_GRACE_S="1")
    await away_from(server, admin, ingest, rtsp)
    await until(lambda: ingest.metric("tidegate_ingest_waiting_seconds") > 0)
    assert ingest.stop() == 0
    assert "raise INGEST_GRACE_S" in ingest.log


async def test_a_second_signal_ends_immediately(
    server: NatsServer, admin: Client, bus: Bus, start: Callable[..., Ingest], rtsp: str
) -> None:
    ingest = start()
    await add(admin, "cam", looped(rtsp, "short"))
    await until(lambda: bus.of("cam"))
    await server.stop()
    ingest.process.terminate()
    # The text depends on whether it has noticed the outage yet.
    await until(lambda: re.search("filming until the server is back|publishing what is buffered", ingest.log))
    assert ingest.process.poll() is None, "still trying to flush"
    ingest.process.terminate()
    assert await asyncio.to_thread(ingest.process.wait, patience_s()) == 1
