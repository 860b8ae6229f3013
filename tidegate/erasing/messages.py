"""A stream's messages: found by subject and time, and deleted one by one.

The server overwrites a message that is deleted by its sequence; a purge would leave its bytes in the file. In an
encrypted store it overwrites nothing: there a deleted message stays, unreadable without the server's key, until the
server rewrites or drops its file.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from shared.bus import direct
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import names
from shared.runtime.errors import BusError
from tidegate.erasing.scope import Scope, span_of

# Deletions in flight, where the server overwrites nothing: 11,000 a second.
PARALLEL = 32
# The first deletions of each part are timed. If they are slow, the others follow one by one, with a rest after each of
# this many times its duration. A plain store writes a file of up to 8 MB for each, and stores nothing meanwhile: 32 in
# flight cut what others can store from 6600 to 49 messages a second, one with rests to 3400.
PROBES, PART = 8, 400
SLOW_S = 0.01
REST = 1.0
PATIENCE_S = 120.0
# The server's error code of a failed deletion.
_DENIED = 10057
Tell = Callable[[str], None]


class Message(NamedTuple):
    """A message to delete. size: bytes of its payload."""

    seq: int
    size: int


class Undeletable(BusError):
    """The stream permits no deletion of single messages: an earlier version created it."""


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Reply(msgspec.Struct):
    success: bool = False
    error: _Error | None = None


async def find(
    client: Client,
    stream: str,
    subjects: Sequence[str],
    scope: Scope,
    tell: Tell,
    look: Callable[[Stored], None] = lambda stored: None,
) -> list[Message]:
    """Return the messages of a camera, by sequence. look: is called with each of them.

    Raises nats.errors.Error or TimeoutError.
    """
    found: dict[int, int] = {}
    async with Log(client, stream) as log:
        for subject in subjects:
            seq = 1
            while batch := await log.read(subject, seq):
                for stored in batch:
                    if scope.is_whole or scope.takes(span_of(stored)):
                        found[stored.seq] = len(stored.data)
                        look(stored)
                seq = batch[-1].seq + 1
                if len(found) >= 1000:
                    tell(f"{stream}: {len(found):,} messages found")
    return [Message(seq, found[seq]) for seq in sorted(found)]


async def delete(client: Client, stream: str, found: Sequence[Message], tell: Tell) -> None:
    """Delete messages, so that the server overwrites them. Those that are gone meanwhile count as deleted.

    Raises Undeletable, BusError, nats.errors.Error or TimeoutError.
    """
    for begin in range(0, len(found), PART):
        part = found[begin : begin + PART]
        took = [await _timed(client, stream, message) for message in part[:PROBES]]
        if sum(took) > SLOW_S * len(took):
            for message in part[PROBES:]:
                await asyncio.sleep(REST * await _timed(client, stream, message))
        else:
            await _together(client, stream, part[PROBES:])
        done = begin + len(part)
        if done < len(found):
            tell(f"{stream}: {done:,} of {len(found):,} messages erased")


async def _together(client: Client, stream: str, found: Sequence[Message]) -> None:
    waiting = iter(found)

    async def work() -> None:
        for message in waiting:
            await _delete(client, stream, message.seq)

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(PARALLEL, len(found))):
                tasks.create_task(work())
    except BaseExceptionGroup as group:
        # One reason is enough: the others are the same, or follow from it.
        raise group.exceptions[0] from None


async def _timed(client: Client, stream: str, message: Message) -> float:
    """Delete a message; return the seconds that it took."""
    began = time.monotonic()
    await _delete(client, stream, message.seq)
    return time.monotonic() - began


async def _delete(client: Client, stream: str, seq: int) -> None:
    payload = msgspec.json.encode({"seq": seq, "no_erase": False})
    answer = await client.request(names.api("STREAM.MSG.DELETE", stream), payload, timeout=PATIENCE_S)
    try:
        reply = msgspec.json.decode(answer.data, type=_Reply)
    except msgspec.DecodeError as e:
        raise BusError(f"a message of {stream} can't be deleted: the server's answer can't be read") from e
    if reply.success:
        return
    error = reply.error or _Error()
    if error.err_code == _DENIED and "not permitted" in error.description:
        raise Undeletable(f"{stream} permits no deletion: {error.description}")
    # The server reports a message that is gone under several codes.
    with contextlib.suppress(NotFoundError):
        await direct.get(client, stream, seq=seq)
        raise BusError(f"message {seq} of {stream} can't be deleted: {error.description} (error {error.err_code})")


async def purge(client: Client, stream: str, subjects: Sequence[str]) -> None:
    """Purge subjects of a stream that permits no deletion: the bytes stay in its file until the server rewrites it."""
    for subject in subjects:
        await client.jetstream().purge_stream(stream, subject=subject)
