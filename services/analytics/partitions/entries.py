"""Entries of KV `analytics`, each written at the revision that was read.

So when two processes believe that they own a partition, one of them finds out. The number of its partition is the
second token of a key. An entry that is no longer needed is emptied, and expires.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import nats.js.errors
from nats.aio.client import Client
from nats.js.api import Header
from nats.js.kv import KeyValue

from services.analytics import metrics
from shared.bus.direct import Stored
from shared.contract import names

# This many writes are in flight at a time.
PARALLEL = 32
# An emptied entry expires after this.
EXPIRES_S = 60
SUBJECT = f"$KV.{names.ANALYTICS}."

_WRONG_SEQUENCE = (10071, 10164)
# Error code: a bucket set up by an earlier version takes no entry that expires.
_NO_TTL = 10166


def is_of(key: str, partition: int) -> bool:
    return key.split(".")[1] == str(partition)


class Entries:
    """See the module. Writes raise KeyWrongLastSequenceError if another process has written the entry."""

    def __init__(self, client: Client, kv: KeyValue) -> None:
        self._client = client
        self._kv = kv
        self._revisions: dict[str, int] = {}
        self._expiring: dict[str, float] = {}  # monotonic seconds until which the server may hold an empty entry

    def __contains__(self, key: str) -> bool:
        """Whether an entry has been read or written."""
        return key in self._revisions

    def note(self, entry: Stored) -> None:
        """Record the revision of an entry that was read."""
        key = entry.subject.removeprefix(SUBJECT)
        self._revisions[key] = entry.seq
        if "Nats-TTL" in entry.headers:
            self._expire(key)

    def drop(self, partition: int) -> None:
        """Forget the revisions of a partition's entries: another process may write them."""
        for key in [key for key in self._revisions if is_of(key, partition)]:
            del self._revisions[key]
            self._expiring.pop(key, None)

    async def put_all(self, entries: Iterable[tuple[str, bytes]]) -> None:
        todo = list(entries)
        for i in range(0, len(todo), PARALLEL):
            await asyncio.gather(*(self.put(key, value) for key, value in todo[i : i + PARALLEL]))

    async def put(self, key: str, value: bytes) -> None:
        last = self._revisions.get(key, 0)
        try:
            revision = await self._kv.update(key, value, last=last)
        except nats.js.errors.KeyWrongLastSequenceError:
            if not (last and key in self._expiring):
                raise
            revision = await self._kv.update(key, value, last=0)
        self._expiring.pop(key, None)
        self._revisions[key] = revision
        metrics.CHECKPOINT_BYTES.inc(len(value))

    async def empty(self, key: str) -> None:
        """Empty an entry that was read or written, unless it is empty already; it expires."""
        if key in self._expiring:
            return
        headers = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(self._revisions[key])}
        try:
            ack = await self._client.jetstream().publish(SUBJECT + key, b"", headers=headers, msg_ttl=EXPIRES_S)
        except nats.js.errors.APIError as e:
            if e.err_code in _WRONG_SEQUENCE:
                raise nats.js.errors.KeyWrongLastSequenceError(description=e.description) from e
            if e.err_code != _NO_TTL:
                raise
            await self.put(key, b"")
            return
        self._revisions[key] = ack.seq
        self._expire(key)

    def forget_expired(self) -> None:
        """Forget the revisions of entries that the server has removed by now."""
        now = time.monotonic()
        for key in [k for k, until in self._expiring.items() if until < now]:
            del self._expiring[key]
            del self._revisions[key]

    def _expire(self, key: str) -> None:
        # The server may take a while to remove what has expired.
        self._expiring[key] = time.monotonic() + 2 * EXPIRES_S
