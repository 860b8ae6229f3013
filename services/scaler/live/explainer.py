"""Answers `svc.scaler.explain.<service>`: the terms behind the replicas of each query about a service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.scaler.live.live_metrics import LiveMetrics
from shared.contract import names
from shared.contract.questions.explain import Explanations


@asynccontextmanager
async def explaining(client: Client, live_metrics: LiveMetrics, by: str) -> AsyncIterator[None]:
    """Answer while the block runs. by: the kind of this process, such as `autoscaler`."""

    async def answer(request: Msg) -> None:
        service = request.subject.rpartition(".")[2]
        lives = live_metrics.lives()
        found = [live.explanation() for live in lives if live.query.service == service]
        explanations = Explanations(by=by, services=sorted({live.query.service for live in lives}), found=found)
        with suppress(nats.errors.Error, OSError):
            await request.respond(msgspec.json.encode(explanations))

    subscription = await client.subscribe(names.explain("*"), cb=answer)
    try:
        yield
    finally:
        with suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()
