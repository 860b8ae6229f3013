"""The service pictures in a test: alerts about real video, and what PICTURES stores of them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from nats.aio.client import Client
from prometheus_client import REGISTRY

import services.pictures.__main__ as pictures
from services.ingest.cutting.piece import Piece
from services.pictures.settings import PicturesSettings
from shared import bus
from shared.client import dlq
from shared.contract import events, names
from shared.contract.events import Alert, Incident, Snapshot
from shared.recordings.policy import Policy, camera_key
from shared.runtime.telemetry import Health
from tests.support.processes.service import serving
from tests.support.waiting import patience_s
from tests.support.worlds.webhook_world import incident
from tidegate.local.server import NatsServer


def keeping(server: NatsServer, **changes: Any) -> contextlib.AbstractAsyncContextManager[Health]:
    return serving(server, names.PICTURE, pictures.run, PicturesSettings(**changes))


def alert_of(piece: Piece, seq: int, n: int = 1, *, offset_s: float = 0.0, camera: str = "cam") -> Alert:
    """An alert as analytics publishes it, about a frame of a segment at `seq` of MEDIA."""
    time = piece.segment.start + dt.timedelta(seconds=offset_s)
    alert = incident(Alert, n, camera)
    assert isinstance(alert, Alert)
    return msgspec.structs.replace(
        alert, incident=f"fence.a1.{n}", start=time, time=time, snapshot=Snapshot(stream="MEDIA", seq=seq, time=time)
    )


async def alerted(client: Client, alert: Incident, id: str = "") -> None:
    headers = events.headers(alert, id=id or f"alerts/{alert.incident}", source="/tidegate/analytics")
    await bus.publish(client, client.jetstream(), events.subject(alert), events.encode(alert), headers)


async def all_handled(client: Client) -> None:
    """Wait until the consumer has processed the whole stream."""
    js = client.jetstream()
    last = (await js.stream_info(names.EVENTS)).state.last_seq
    async with asyncio.timeout(patience_s()):
        while (await js.consumer_info(names.EVENTS, names.PICTURE)).ack_floor.stream_seq < last:
            await asyncio.sleep(0.05)


async def mask(client: Client, masks: Sequence[Sequence[tuple[float, float]]] = (), **fields: Any) -> None:
    """Set the policy of recordings of the camera `cam`."""
    policy = Policy(masks=tuple(map(tuple, masks)) or None, **fields)
    bucket = await client.jetstream().key_value(names.RECORDINGS)
    await bucket.put(camera_key("cam"), msgspec.json.encode(policy))


async def letters(client: Client) -> list[dlq.DeadLetter]:
    return [x async for x in dlq.entries(client)]


def counts(outcomes: Iterable[str] = ("stored", "expired", "excluded", "unreadable", "again")) -> dict[str, float]:
    name = "tidegate_pictures_total"
    return {one: REGISTRY.get_sample_value(name, {"outcome": one}) or 0.0 for one in outcomes}
