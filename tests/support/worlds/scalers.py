"""The scaler's own parts in a test, with the service's rights; states, metadata and messages for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from nats.aio.client import Client

from services.scaler.consumers.readers import EVERY_S
from services.scaler.live.explainer import explaining
from services.scaler.live.live_metrics import LiveMetrics
from shared import bus
from tidegate.local.scaling.autoscaler import ScalerState
from tidegate.local.server import NatsServer

IDLE = ScalerState(
    time=0,
    pending=3,
    ack_pending=2,
    desired=1,
    replicas=1,
    peak_replicas=1,
    replica_seconds=5,
    expired=0,
    reason="lag 5",
)
BAD: list[tuple[dict[str, str], str]] = [
    ({}, "service"),
    ({"service": "c.v"}, "service"),
    ({"service": "cv", "stream": "M*"}, "stream"),
    ({"service": "mine"}, "stream"),
    ({"service": "cv", "consumer": "a b"}, "consumer"),
    ({"service": "cv", "latencyTarget": "0"}, "latencyTarget"),
    ({"service": "cv", "coldStart": "-1"}, "coldStart"),
    ({"service": "cv", "headroom": "ten"}, "headroom"),
    ({"service": "cv", "lagThreshold": "1e999"}, "lagThreshold"),
    ({"service": "cv", "metricsUrl": "file:///etc/passwd"}, "metricsUrl"),
    ({"service": "cv", "metricsUrl": "http://me:s3cret@prometheus/federate"}, "metricsUrl"),
    ({"service": "cv", "lagTreshold": "10"}, "lagTreshold"),
    ({"service": "ingest", "bucket": "credentials"}, "bucket"),
    ({"service": "ingest", "camerasPerReplica": "0"}, "camerasPerReplica"),
    ({"service": "ingest", "latencyTarget": "2"}, "latencyTarget"),
]


@asynccontextmanager
async def estimating(
    server: NatsServer, every_s: float = EVERY_S, *, keeps: bool = False, pages: Sequence[str] = ()
) -> AsyncIterator[LiveMetrics]:
    """Live metrics that connect as the identity `scaler`, and explain. every_s: seconds between two polls."""
    client = await bus.connect(server.settings("scaler"), "scaler")
    try:
        async with (
            LiveMetrics(client, every_s, has_history=keeps, pages=pages) as live_metrics,
            explaining(client, live_metrics, "scaler"),
        ):
            yield live_metrics
    finally:
        await client.close()


async def publish(client: Client, count: int, subject: str = "media.lobby") -> None:
    js = client.jetstream()
    await asyncio.gather(*(js.publish(subject, b"video") for _ in range(count)))
