"""The external scaler over gRPC, and KEDA's client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from services.scaler.consumers.readers import EVERY_S
from services.scaler.external_scaler import ScalerService, serving
from services.scaler.settings import ScalerSettings
from tests.support.kube.keda_calls import KedaClient, generate
from tests.support.worlds.scalers import estimating
from tidegate.local.server import NatsServer

CV = {"service": "cv", "scalerAddress": "scaler:9090", "lagThreshold": "20", "coldStart": "10"}


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("generated"))


@asynccontextmanager
async def running(server: NatsServer, every_s: float = EVERY_S, **settings: Any) -> AsyncIterator[str]:
    """The service as the identity `scaler`, with its few rights; yields its address."""
    async with (
        estimating(server, every_s) as live_metrics,
        serving(ScalerService(live_metrics), ScalerSettings(scaler_port=0, **settings)) as port,
    ):
        yield f"localhost:{port}" if settings else f"127.0.0.1:{port}"


@pytest_asyncio.fixture
async def keda(server: NatsServer, generated: Path) -> AsyncIterator[KedaClient]:
    async with running(server) as address, KedaClient(address, generated) as client:
        yield client


@pytest_asyncio.fixture
async def pushed(server: NatsServer, generated: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KedaClient]:
    """A scaler that polls once, at its start: all later messages of its streams are pushes."""
    monkeypatch.setattr("services.scaler.consumers.readers.STALE_S", float("inf"))
    async with running(server, every_s=1e6) as address, KedaClient(address, generated) as client:
        yield client


def requests(consumer: str = "cv", stream: str = "MEDIA") -> float:
    labels = {"stream": stream, "consumer": consumer}
    return REGISTRY.get_sample_value("tidegate_scaler_consumer_requests_total", labels) or 0.0
