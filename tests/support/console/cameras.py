"""Rules, statuses and video of cameras, as ingest and people publish them."""

from __future__ import annotations

import datetime as dt
from typing import Any

from nats.aio.client import Client

from shared.contract import events, names, segment
from shared.contract.events import CameraStatus
from shared.contract.segment import Segment


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


async def say(admin: Client, event: events.Event, id: str) -> None:
    headers = events.headers(event, id=id, source="test")
    await admin.jetstream().publish(events.subject(event), events.encode(event), headers=headers)


def status(camera: str, state: Any, reason: str = "video arrives", **more: Any) -> CameraStatus:
    return CameraStatus(
        camera=camera, time=now(), state=state, reason=reason, url="rtsp://10.0.0.7/a", ingest="i", **more
    )


async def film(admin: Client, camera: str, n: int, *, ago_s: float = 1.0) -> None:
    head = Segment(
        camera=camera,
        epoch="e",
        n=n,
        start=now() - dt.timedelta(seconds=ago_s),
        duration=1.0,
        codec="h264",
        width=1280,
        height=720,
        frames=25,
    )
    await admin.jetstream().publish(names.media(camera), b"video", headers=segment.to_headers(head))


RULES: dict[str, Any] = {
    "zones": {"door": {"polygon": [[0.4, 0.5], [0.6, 0.5], [0.6, 1], [0.4, 1]]}},
    "rules": [{"id": "in", "kind": "enter", "zone": "door"}],
}
