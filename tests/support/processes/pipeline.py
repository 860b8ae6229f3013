"""Real video, services as processes, and the detections that they publish."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from nats.aio.client import Client

from shared.contract.events import Detections
from tidegate.demo import footage
from tidegate.local.scaling.replicas import Replicas
from tidegate.local.server import NatsServer


@pytest.fixture(scope="session")
def videos() -> list[Path]:
    return footage.embedded(footage.cache() / f"footage-{footage.VERSION}")


@contextlib.asynccontextmanager
async def running(server: NatsServer, service: str, logs: Path, **env: str) -> AsyncIterator[Replicas]:
    pool = Replicas(service, [sys.executable, "-m", f"services.{service}"], server.environment(service) | env, logs)
    await pool.scale_to(1)
    try:
        yield pool
    finally:
        await pool.close()


async def all_detections(client: Client) -> list[Detections]:
    js = client.jetstream()
    found = []
    for seq in range(1, (await js.stream_info("EVENTS")).state.last_seq + 1):
        raw = await js.get_msg("EVENTS", seq, direct=True)
        if (raw.subject or "").startswith("events.detections."):
            found.append(msgspec.json.decode(raw.data or b"", type=Detections))
    return found
