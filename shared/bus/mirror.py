"""A live copy of a KV bucket: read whole by direct get, then updated by the server's change messages.

    cameras = await mirror(client, "cameras", changed)
    following = asyncio.create_task(cameras.run())
    await cameras.ready.wait()
    cameras.values["lobby"]

It needs no consumer: readers may not create one, as it could deliver to any subject. Change messages are not stored for
us, so the bucket is re-read after every reconnect, and periodically.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import NamedTuple

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import BucketNotFoundError, NotFoundError
from nats.js.kv import KeyValue

from shared.bus import direct
from shared.bus.client import Connection
from shared.bus.direct import Stored, stored
from shared.bus.log import Log
from shared.bus.waiting import unanswered
from shared.contract import names
from shared.contract.reading.missing import Unread, check_read, stored_subjects
from shared.runtime.errors import BusError, connection_closed
from shared.runtime.telemetry import logger
from shared.runtime.ticks import until_tick

# How long a missed change can go unnoticed.
_RESYNC_S = 20.0
_POLL_S = 0.5
_RETRY_S = 0.5
# A header of an entry that deletes its key.
_OPERATION = "KV-Operation"


async def bind(js: JetStreamContext, bucket: str) -> KeyValue:
    """Return the bucket, made by `tidegate setup`. Raises Unanswered if JetStream does not answer, and BusError."""
    try:
        return await js.key_value(bucket)
    except (BucketNotFoundError, NotFoundError) as e:
        raise BusError(f"bucket {bucket} is missing: run 'tidegate setup'") from e
    except (TimeoutError, nats.errors.Error) as e:
        raise unanswered(f"bucket {bucket}", e) from e


async def mirror(client: Connection, bucket: str, changed: asyncio.Event) -> Mirror:
    """Return a copy of a bucket, for the caller to run. Raises as `bind` does."""
    await bind(client.jetstream(), bucket)
    return Mirror(client, bucket, changed)


async def all_read(*mirrors: Mirror) -> None:
    """Wait until each copy is complete."""
    for one in mirrors:
        await one.ready.wait()


class _Entry(NamedTuple):
    """value: None if the key was deleted. seq: of the bucket's stream. time: Unix seconds, by the server's clock."""

    value: bytes | None
    seq: int
    time: float


class Mirror:
    """values: the bucket's values. seen: monotonic seconds of each key's last known write.
    written: the same in Unix seconds by the server's clock.

    `ready` is set once the copy is complete. `changed` is set at every change; its waiter clears it.
    """

    def __init__(self, client: Connection, bucket: str, changed: asyncio.Event) -> None:
        self.values: dict[str, bytes] = {}
        self.seen: dict[str, float] = {}
        self.written: dict[str, float] = {}
        self.ready = asyncio.Event()
        self._client = client
        self._bucket = bucket
        self._changed = changed
        self._followed = time.monotonic()
        # The newest known sequence of each key: a change message may come after the change was read.
        self._sequences: dict[str, int] = {}
        self._unreadable = 0  # times in a row
        self._log = logger("mirror").bind(bucket=bucket)

    def revision(self, key: str) -> int | None:
        """Return the revision of a key's newest known entry; None if there is none."""
        return self._sequences.get(key) if key in self.values else None

    def last_known(self, key: str) -> int:
        """Return the newest known sequence of a key, also of its deletion; 0 if there never was one."""
        return self._sequences.get(key, 0)

    def is_deleted(self, key: str) -> bool:
        """Whether the key is known to be deleted; False if it has expired, or never was."""
        return key in self._sequences and key not in self.values

    async def run(self) -> None:
        """Follow the bucket until cancelled. Raises BusError once the connection is closed."""

        # Also while it is read, which takes long if the server hangs.
        async def apply(message: Msg) -> None:
            change = stored(message)
            self._apply(change.subject.removeprefix(f"$KV.{self._bucket}."), _entry(change))

        subscription = await self._client.subscribe(names.change(self._bucket, ">"), cb=apply)
        try:
            while not self._client.is_closed:
                try:
                    await self._follow()
                except (TimeoutError, nats.errors.Error) as e:
                    self._log.debug("bucket not read", error=repr(e))
                    await asyncio.sleep(_RETRY_S)
        finally:
            if not self._client.is_closed:
                await subscription.unsubscribe()
        raise connection_closed()

    async def _follow(self) -> None:
        connection = self._client.stats["reconnects"]
        pause_s = await self._read_again()
        # At a whole second, when other work wakes the server anyway.
        pause_s += until_tick(min(1.0, pause_s), time.time() + pause_s)
        until = time.monotonic() + pause_s
        while self._client.stats["reconnects"] == connection and (left := until - time.monotonic()) > 0:
            if self._client.is_connected:
                await self._client.until_lost(left)
                self._followed = time.monotonic()
            else:
                await asyncio.sleep(min(left, _POLL_S))

    async def _read_again(self) -> float:
        """Re-read; return the seconds until the next read. If the server can't read the bucket, the copy stays."""
        try:
            await self._read_all()
        except Unread as e:
            # A single failure may be an entry that was deleted and created again.
            self._unreadable += 1
            if self._unreadable == 2:
                self._log.warning("bucket can't be read", error=str(e))
            if not self.ready.is_set():
                raise
            return _RETRY_S
        self._unreadable = 0
        return _RESYNC_S

    async def _read_all(self) -> None:
        prefix = f"$KV.{self._bucket}."
        js, stream = self._client.jetstream(), f"KV_{self._bucket}"
        # Changes during the read don't matter: their messages arrive.
        wanted = set() if self.ready.is_set() else await stored_subjects(js, stream, f"{prefix}>")
        before = dict(self._sequences)
        entries = await self._stored(f"{prefix}>")
        found = {s.subject.removeprefix(prefix): _entry(s) for s in entries}
        if missing := {f"{prefix}{key}" for key in before.keys() - found.keys()}:
            wanted |= missing & await stored_subjects(js, stream, f"{prefix}>")
        check_read(stream, wanted, {s.subject for s in entries})
        # Our absence counts against no process: those silent before still are, and no other.
        now = time.monotonic()
        away = max(0.0, now - self._followed - _POLL_S)
        for key in found.keys() | before.keys():
            if self._sequences.get(key) != before.get(key):
                pass  # changed meanwhile
            elif key not in found:
                self._forget(key)
                del self._sequences[key]
            elif (found[key].seq, found[key].value) != (self._sequences.get(key), self.values.get(key)):
                self._set(key, found[key])
            elif key in self.seen:
                self.seen[key] = min(now, self.seen[key] + away)
        self._followed = now
        self.ready.set()
        self._changed.set()

    async def _stored(self, subject: str) -> list[Stored]:
        """Return all entries of the bucket, in batches if the server supports that."""
        stream, version = f"KV_{self._bucket}", self._client.connected_server_version
        if (version.major, version.minor) >= (2, 11):
            async with Log(self._client, stream) as log:
                return await log.all(subject)
        found: list[Stored] = []
        with suppress(NotFoundError):
            while True:
                seq = found[-1].seq + 1 if found else 1
                found.append(await direct.get(self._client, stream, subject=subject, seq=seq))
        return found

    def _apply(self, key: str, entry: _Entry) -> None:
        if entry.seq > self._sequences.get(key, 0):
            before = self.values.get(key)
            self._set(key, entry)
            if entry.value != before:
                self._changed.set()

    def _set(self, key: str, entry: _Entry) -> None:
        self._sequences[key] = entry.seq
        if entry.value is None:
            self._forget(key)
        else:
            self.values[key] = entry.value
            self.seen[key] = time.monotonic()
            self.written[key] = entry.time

    def _forget(self, key: str) -> None:
        self.values.pop(key, None)
        for times in (self.seen, self.written):
            times.pop(key, None)


def _entry(entry: Stored) -> _Entry:
    is_deletion = entry.headers.get(_OPERATION) in ("DEL", "PURGE")
    return _Entry(None if is_deletion else entry.data, entry.seq, entry.time.timestamp())
