"""Entries of buckets, consistent though others change them meanwhile.

A bucket is read until its last sequence is the same before and after. Cameras and credentials are two buckets that one
change writes in turn: they are read until each camera's pair stays the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from nats.aio.client import Client
from nats.js.api import StreamInfo
from nats.js.errors import NotFoundError

from shared.bus.log import Log
from shared.contract import names
from shared.contract.reading.missing import Unread
from shared.runtime.errors import BusError
from tidegate.backup import entries

# A change is over within milliseconds; one of several thousand cameras by a script is not.
TRIES = 12
PAUSE_S = 0.2
_DELETED = ("DEL", "PURGE")


class Value(NamedTuple):
    """seq: its sequence in the bucket's stream."""

    seq: int
    data: bytes


class Found(NamedTuple):
    """Entries by bucket and key. moving: what changed during every try."""

    entries: dict[str, dict[str, bytes]]
    moving: list[str]


class _Pair(NamedTuple):
    camera: Value | None
    credentials: Value | None


async def read(client: Client, bucket: str) -> Found:
    """Return the entries of one bucket. Raises BusError, and Unread if its server can't read it."""
    for is_last in (*[False] * (TRIES - 1), True):
        before = await _last_seq(client, bucket)
        found = await _values(client, bucket)
        is_same = before == await _last_seq(client, bucket)
        if is_same or is_last:
            values = {key: value.data for key, value in found.items()}
            return Found({bucket: values}, [] if is_same else [f"bucket {bucket}"])
        await asyncio.sleep(PAUSE_S)
    raise AssertionError


async def read_cameras(client: Client) -> Found:
    """Return cameras and their credentials, each pair as it was at one time. Raises as `read` does."""
    usable: dict[str, _Pair] = {}
    before: dict[str, _Pair] = {}
    for n in range(TRIES):
        found, torn = await _pairs(client)
        for id, pair in found.items():
            if id not in torn and _is_whole(id, pair, usable.get(id) or before.get(id)):
                usable[id] = pair
        moving = [id for id, pair in found.items() if before.get(id) != pair or id in torn]
        before = found
        if n and not moving:
            return _found(found, [])
        await asyncio.sleep(PAUSE_S)
    chosen = {id: usable.get(id, pair) if id in moving else pair for id, pair in before.items()}
    return _found(chosen, [f"camera {id}" for id in moving if id not in usable])


async def _pairs(client: Client) -> tuple[dict[str, _Pair], set[str]]:
    """Return every camera's pair, and the cameras whose credentials changed while their entry was read."""
    first = await _values(client, names.CREDENTIALS)
    cameras = await _values(client, names.CAMERAS)
    credentials = await _values(client, names.CREDENTIALS)
    found = {id: _Pair(value, credentials.get(id)) for id, value in cameras.items() if not names.is_removed(id)}
    return found, {id for id in found if first.get(id) != credentials.get(id)}


def _is_whole(id: str, pair: _Pair, other: _Pair | None) -> bool:
    """Return whether a pair is of no unfinished change, which erases credentials and writes new ones before the camera.

    other: the camera's pair of another time.
    """
    if pair.credentials is None:
        return other is None or other.credentials is None
    return pair.camera is not None and entries.is_settled(id, pair.camera.data, pair.credentials.data)


def _found(pairs: dict[str, _Pair], moving: Sequence[str]) -> Found:
    cameras = {id: pair.camera.data for id, pair in pairs.items() if pair.camera}
    credentials = {id: pair.credentials.data for id, pair in pairs.items() if pair.credentials}
    return Found({names.CREDENTIALS: credentials, names.CAMERAS: cameras}, list(moving))


async def _values(client: Client, bucket: str) -> dict[str, Value]:
    """Return the values of a bucket. A replica that lags behind the leader gets the request again."""
    prefix = f"$KV.{bucket}."
    for _ in range(TRIES):
        state = (await _info(client, bucket)).state
        async with Log(client, f"KV_{bucket}") as log:
            found = await log.all(f"{prefix}>")
        if len(found) >= state.messages or (await _info(client, bucket)).state.last_seq != state.last_seq:
            return {
                stored.subject.removeprefix(prefix): Value(stored.seq, stored.data)
                for stored in found
                if stored.headers.get("KV-Operation") not in _DELETED and not stored.headers.get("Nats-Marker-Reason")
            }
        await asyncio.sleep(PAUSE_S)
    raise Unread(f"{state.messages - len(found)} of the entries of bucket {bucket} were not read")


async def _last_seq(client: Client, bucket: str) -> int:
    return (await _info(client, bucket)).state.last_seq


async def _info(client: Client, bucket: str) -> StreamInfo:
    try:
        return await client.jetstream().stream_info(f"KV_{bucket}")
    except NotFoundError as e:
        raise BusError(f"bucket {bucket} is missing: run 'tidegate setup'") from e
