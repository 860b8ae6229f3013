"""A live copy of a KV bucket: watched, and read anew after every reconnect and now and then.

A watch is a consumer that the server may lose when it restarts, and nothing tells the client so.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import BucketNotFoundError, NotFoundError
from nats.js.kv import KeyValue

from shared.runtime.errors import BusError
from shared.runtime.telemetry import logger

# How long a watch that died unseen can go unnoticed.
_RESYNC_S = 20.0
_POLL_S = 0.5
_RETRY_S = 0.5


async def bind(js: JetStreamContext, bucket: str) -> KeyValue:
    """The bucket, which `tidegate setup` has made. Raises BusError."""
    try:
        return await js.key_value(bucket)
    except (BucketNotFoundError, NotFoundError) as e:
        raise BusError(f"bucket {bucket} is missing: run 'tidegate setup'") from e
    except (TimeoutError, nats.errors.Error) as e:
        raise BusError(
            f"JetStream does not answer for bucket {bucket}: is it enabled, and may this user read it?"
        ) from e


class Mirror:
    """values: what the bucket holds. seen: monotonic seconds at which each key was last written, as far as known.

    `ready` is set once the copy is complete; `changed` whenever it moves, and cleared by whoever waits for it.
    """

    def __init__(self, client: Client, kv: KeyValue, bucket: str, changed: asyncio.Event) -> None:
        self.values: dict[str, bytes] = {}
        self.seen: dict[str, float] = {}
        self.ready = asyncio.Event()
        self._client = client
        self._kv = kv
        self._changed = changed
        self._connection = -1
        self._log = logger("mirror").bind(bucket=bucket)

    async def run(self) -> None:
        """Follow the bucket until cancelled. Raises BusError once the connection is closed."""
        while not self._client.is_closed:
            try:
                await self._follow()
            except (TimeoutError, nats.errors.Error) as e:
                self._log.debug("watch failed", error=repr(e))
                await asyncio.sleep(_RETRY_S)
        raise BusError("the server has closed the connection for good: see the log for its reason")

    async def _follow(self) -> None:
        connection = self._client.stats["reconnects"]
        # Only half of nats-py is typed.
        watcher: Any = await self._kv.watchall(inactive_threshold=2 * _RESYNC_S)
        try:
            await self._read_all(watcher, reconnected=connection != self._connection)
            self._connection = connection
            until = time.monotonic() + _RESYNC_S
            while self._client.stats["reconnects"] == connection and time.monotonic() < until:
                try:
                    entry = await watcher.updates(timeout=_POLL_S)
                except nats.errors.TimeoutError:
                    continue
                if entry is not None:
                    self._apply(entry)
        finally:
            await watcher.stop()

    async def _read_all(self, watcher: Any, reconnected: bool) -> None:
        fresh: dict[str, bytes] = {}
        while (entry := await watcher.updates(timeout=5.0)) is not None:
            if entry.operation is None:
                fresh[entry.key] = entry.value or b""
        # Whoever was cut off with us gets the time to write again before it counts as silent.
        now = time.monotonic()
        known = {} if reconnected else self.seen
        seen = {k: known.get(k, now) if self.values.get(k) == v else now for k, v in fresh.items()}
        self.values, self.seen = fresh, seen
        self.ready.set()
        self._changed.set()

    def _apply(self, entry: KeyValue.Entry) -> None:
        if entry.operation is None:
            moved = self.values.get(entry.key) != entry.value
            self.values[entry.key] = entry.value or b""
            self.seen[entry.key] = time.monotonic()
        else:
            moved = self.values.pop(entry.key, None) is not None
            self.seen.pop(entry.key, None)
        if moved:
            self._changed.set()
