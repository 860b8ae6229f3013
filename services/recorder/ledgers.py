"""Each camera's position, in KV `recorder`: `camera.<id>`, written over the revision that was read.

So if two processes believe that they record a camera, one of them learns that it does not.
"""

from __future__ import annotations

import asyncio

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.kv import KeyValue

from shared import bus
from shared.contract import names
from shared.contract.reading.missing import read_entry, stored_subjects
from shared.recordings import ledger as ledgers
from shared.recordings.ledger import Ledger
from shared.recordings.policy import camera_key
from shared.recordings.records import Unreadable
from shared.runtime.errors import Full, Unanswered
from shared.runtime.telemetry import logger


class Taken(Exception):
    """Another process has written a camera's ledger."""


class Ledgers:
    """See the module. An entry is cached until `forget`."""

    def __init__(self, js: JetStreamContext, kv: KeyValue) -> None:
        self._js = js
        self._kv = kv
        self._locks: dict[str, asyncio.Lock] = {}
        self._cached: dict[str, tuple[Ledger, int]] = {}
        self._log = logger("recorder")

    def only(self, camera: str) -> asyncio.Lock:
        """The lock of a camera's ledger, for reading and then storing it."""
        return self._locks.setdefault(camera, asyncio.Lock())

    async def cameras(self) -> list[str]:
        """Return all cameras that were ever recorded. Raises nats.errors.Error or TimeoutError."""
        prefix = f"$KV.{names.RECORDER}.{camera_key('')}"
        return sorted(
            s.removeprefix(prefix) for s in await stored_subjects(self._js, f"KV_{names.RECORDER}", f"{prefix}*")
        )

    async def of(self, camera: str) -> Ledger:
        """Return a camera's ledger, cached. Raises Unanswered."""
        if camera not in self._cached:
            self._cached[camera] = await self._read(camera)
        return self._cached[camera][0]

    async def fresh(self, camera: str) -> Ledger:
        """Read a camera's current ledger, which any process may have written. Raises Unanswered."""
        return (await self._read(camera))[0]

    async def store(self, camera: str, ledger: Ledger) -> None:
        """Replace the cached ledger. Raises Taken, Full, or Unanswered: it may be stored, or not."""
        _, revision = self._cached[camera]
        try:
            # Cached only once it is stored: if that is uncertain, it is read again.
            del self._cached[camera]
            revision = await self._kv.update(camera_key(camera), ledgers.encode(ledger), last=revision)
        except nats.js.errors.KeyWrongLastSequenceError as e:
            raise Taken(camera) from e
        except (TimeoutError, nats.errors.Error) as e:
            if isinstance(e, nats.js.errors.APIError) and bus.is_full(e):
                raise Full(
                    f"the bucket {names.RECORDER} has no room for the ledger of {camera}: {e.description}"
                ) from e
            raise Unanswered(f"the ledger of {camera} can't be stored ({e!r})") from e
        self._cached[camera] = ledger, revision

    def forget(self, camera: str) -> None:
        """Drop the cached ledger, as another process may have changed it."""
        self._cached.pop(camera, None)
        if (lock := self._locks.get(camera)) and not lock.locked():
            del self._locks[camera]

    async def _read(self, camera: str) -> tuple[Ledger, int]:
        key = camera_key(camera)
        try:
            try:
                entry = await read_entry(self._js, self._kv, names.RECORDER, key)
            except nats.js.errors.KeyNotFoundError as e:
                # A deleted key has a revision, too.
                return Ledger(), (e.entry.revision if e.entry else 0) or 0
        except (TimeoutError, nats.errors.Error) as e:
            raise Unanswered(f"the ledger of {camera} can't be read ({e!r})") from e
        try:
            return ledgers.decode(entry.value or b""), entry.revision or 0
        except Unreadable as e:
            self._log.error("a ledger can't be read: the camera starts again", camera=camera, error=str(e))
            return Ledger(), entry.revision or 0
