"""The data directory of an older version."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from nats.aio.client import Client

from shared.contract import names
from tests.support.video.walking_people import Walk

CAMERA = "cam-1"
ACROSS = Walk(0, 9, (0.1, 0.7), (0.9, 0.7))


class Older(msgspec.Struct, frozen=True):
    """The data of an older version. checkpoints: of bucket `analytics`, by their keys, in base64. read_to: in EVENTS.

    entries: of other buckets, by `<bucket>/<key>`.
    """

    streams: list[dict[str, Any]]
    consumers: list[dict[str, Any]]
    checkpoints: dict[str, str]
    read_to: int
    entries: dict[str, str] = {}

    def value(self, key: str) -> bytes:
        return base64.b64decode(self.checkpoints[key])


async def create(admin: Client, older: Older) -> None:
    """Create streams, consumers and checkpoints of the older version."""
    for config in older.streams:
        first = {"first_seq": older.read_to} if config["name"] == names.EVENTS else {}
        await _create(admin, f"STREAM.CREATE.{config['name']}", config | first)
    for consumer in older.consumers:
        name = consumer["config"]["durable_name"]
        await _create(admin, f"CONSUMER.DURABLE.CREATE.{consumer['stream_name']}.{name}", consumer)
    bucket = await admin.jetstream().key_value(names.ANALYTICS)
    for key in older.checkpoints:
        await bucket.put(key, older.value(key))


async def _create(admin: Client, what: str, config: dict[str, Any]) -> None:
    answer = await admin.request(names.api(what), msgspec.json.encode(config), timeout=30)
    assert "error" not in msgspec.json.decode(answer.data)
