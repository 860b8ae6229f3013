"""A real ingest process under test, and its messages on the bus. `bus` and `start` are fixtures: import them."""

from __future__ import annotations

import io
import json
import re
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import av
import pytest_asyncio
from nats.aio.client import Client

from shared.client import registry
from shared.contract import segment as segments
from shared.contract.cameras import new_camera
from shared.contract.segment import Segment
from tests.support.processes.service_process import ServiceProcess
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer


class Ingest(ServiceProcess):
    """A process of ingest, its log and its metrics."""

    def __init__(self, server: NatsServer, folder: Path, **env: str) -> None:
        settings = {"LOG_LEVEL": "debug", "INGEST_TIMEOUT_S": "2"}
        super().__init__("ingest", server.environment("ingest"), folder, **settings | env)

    @property
    def metrics(self) -> str:
        url = re.findall(r"http://[^\"]+/metrics", self.log)[-1]
        with urllib.request.urlopen(url, timeout=5) as response:
            return str(response.read().decode())

    def metric(self, name: str, **labels: str) -> float:
        """The sum over the series with these labels; 0 while the process starts."""
        total = 0.0
        if "metrics served" not in self.log:
            return total
        for line in self.metrics.splitlines():
            found = re.fullmatch(r"(\w+)(\{.*\})? (\S+)", line)
            if found and found[1] == name and all(f'{k}="{v}"' in (found[2] or "") for k, v in labels.items()):
                total += float(found[3])
        return total

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(patience_s())


class Bus:
    """The messages on `media.>` and `events.cameras.>`."""

    def __init__(self) -> None:
        self.segments: list[tuple[Segment, bytes, float]] = []
        self.events: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    async def on_message(self, message: Any) -> None:
        self.headers.append(dict(message.headers))
        if message.subject.startswith("media."):
            segment = segments.from_headers(message.headers)
            self.segments.append((segment, message.data, time.monotonic()))
        else:
            self.events.append(json.loads(message.data))

    def of(self, camera: str) -> list[Segment]:
        return [s for s, _, _ in self.segments if s.camera == camera]

    def states(self, camera: str) -> list[str]:
        return [e["state"] for e in self.events if e["camera"] == camera]


@pytest_asyncio.fixture
async def bus(admin: Client) -> Bus:
    heard = Bus()
    await admin.subscribe("media.>", cb=heard.on_message)
    await admin.subscribe("events.cameras.>", cb=heard.on_message)
    return heard


@pytest_asyncio.fixture
async def start(server: NatsServer, tmp_path: Path) -> AsyncIterator[Callable[..., Ingest]]:
    started: list[Ingest] = []

    def go(**env: str) -> Ingest:
        started.append(Ingest(server, tmp_path, **env))
        return started[-1]

    yield go
    for ingest in started:
        if ingest.process.poll() is None:
            ingest.process.kill()
        ingest.process.wait(patience_s())


async def add(admin: Client, name: str, url: str, **fields: object) -> None:
    camera, userinfo = new_camera(url, **fields)
    await registry.put(admin.jetstream(), name, camera, userinfo)


def assert_gapless(got: list[Segment]) -> None:
    """Every epoch's counter starts at 0 and misses nothing; dependents name a segment."""
    for epoch in {s.epoch for s in got}:
        assert sorted({s.n for s in got if s.epoch == epoch}) == list(range(sum(s.epoch == epoch for s in got)))


def frames_of(payload: bytes) -> int:
    with av.open(io.BytesIO(payload)) as container:
        return sum(1 for _ in container.decode(video=0))
