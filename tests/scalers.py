"""The scaler's own parts in a test, with no more rights than the service has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from services.scaler.live.consumers import EVERY_S
from services.scaler.live.estimator import Estimator
from services.scaler.live.explainer import explaining
from shared import bus
from tidegate.local.server import NatsServer


@asynccontextmanager
async def estimating(
    server: NatsServer, every_s: float = EVERY_S, *, keeps: bool = False, pages: Sequence[str] = ()
) -> AsyncIterator[Estimator]:
    """An estimator that connects as the identity `scaler`, and explains. every_s: seconds between two polls."""
    client = await bus.connect(server.settings("scaler"), "scaler")
    try:
        async with (
            Estimator(client, every_s, has_history=keeps, pages=pages) as estimator,
            explaining(client, estimator, "scaler"),
        ):
            yield estimator
    finally:
        await client.close()
