"""What this process alone may work on: a lease each in a KV bucket, whose entries the server forgets after LEASE_S.

    leases = Leases(client, kv, mirror, process_id(), Kind("camera", "process", gauge))
    await leases.claim("lobby")
    leases.holds("lobby")               # at this instant

Keys: `camera.<id>`, for cameras, holds the id of the process that has it, `process.<id>` says that a process is there.
Creating and updating by revision is arbitrated by the server, so a thing has one holder; a holder that could not renew
knows by its own clock that its lease is over, and publishes nothing until it has regained it.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
import time
from typing import NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.kv import KeyValue
from prometheus_client import Gauge

from shared.bus.mirror import Mirror
from shared.contract.topology import LEASE_S
from shared.runtime.telemetry import logger

# Three tries within a lease; requests must fail while there is time for another.
RENEW_S = 1.5
TIMEOUT_S = LEASE_S / 3
# Between our last look at the clock and the server's receipt of what we publish.
_MARGIN_S = 0.25


class _Lease(NamedTuple):
    """revision: of our entry. until: monotonic seconds, counted from before the request, so never too late."""

    revision: int
    until: float


class Kind(NamedTuple):
    """Of what is leased. thing, process: begin the keys. owned: how many this process has."""

    thing: str
    process: str
    owned: Gauge


class Leases:
    """`lost` collects what another process has taken; who stops working on it takes it out."""

    def __init__(self, client: Client, kv: KeyValue, mirror: Mirror, process: str, kind: Kind) -> None:
        self.process = process
        self._kind = kind
        self.lost: set[str] = set()
        self._client = client
        self._kv = kv
        self._mirror = mirror
        self._presence = f"{kind.process}.{process}"
        self._value = process.encode()
        self._owned: dict[str, _Lease] = {}
        self._log = logger("leases")

    @property
    def owned(self) -> set[str]:
        return set(self._owned)

    def holds(self, thing: str) -> bool:
        """Whether we may publish for it at this instant."""
        lease = self._owned.get(thing)
        return lease is not None and time.monotonic() < lease.until

    def free(self, thing: str) -> bool:
        """Whether nobody seems to hold it; `claim` finds out."""
        return thing not in self._owned and not self._alive(self._key(thing))

    def processes(self) -> int:
        """How many processes share what there is, this one included."""
        others = (k for k in self._mirror.values if k.startswith(f"{self._kind.process}.") and k != self._presence)
        return 1 + sum(map(self._alive, others))

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            if self._client.is_connected:
                await asyncio.gather(self._appear(), *(self._renew(c) for c in list(self._owned)))
            await asyncio.sleep(RENEW_S)

    async def claim(self, thing: str) -> bool:
        sent = time.monotonic()
        try:
            revision = await self._kv.create(self._key(thing), self._value)
        except (TimeoutError, nats.errors.Error):  # taken, or unknown: the next look will tell
            return False
        self._own(thing, revision, sent)
        return True

    async def release(self, thing: str) -> None:
        """Let another process have it at once."""
        lease = self._owned.pop(thing, None)
        self._kind.owned.set(len(self._owned))
        if lease:
            await self._delete(self._key(thing), lease.revision)

    async def leave(self) -> None:
        """Release all, and no longer count as a process."""
        await asyncio.gather(*(self.release(c) for c in self.owned), self._delete(self._presence, None))

    def _key(self, thing: str) -> str:
        return f"{self._kind.thing}.{thing}"

    def _alive(self, key: str) -> bool:
        return time.monotonic() - self._mirror.seen.get(key, float("-inf")) < LEASE_S

    def _own(self, thing: str, revision: int, sent: float) -> None:
        self._owned[thing] = _Lease(revision, sent + LEASE_S - _MARGIN_S)
        self._kind.owned.set(len(self._owned))

    async def _appear(self) -> None:
        try:
            await self._kv.put(self._presence, self._value)
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("presence not stored", error=repr(e))

    async def _renew(self, thing: str) -> None:
        lease = self._owned.get(thing)
        if lease is None:
            return
        sent = time.monotonic()
        try:
            revision = await self._kv.update(self._key(thing), self._value, last=lease.revision)
        except nats.js.errors.KeyWrongLastSequenceError:
            await self._regain(thing)
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("lease not renewed", thing=self._key(thing), error=repr(e))
        else:
            # Released meanwhile: our renewal then outlives us for a lease, unless the deletion came after it.
            if thing in self._owned:
                self._own(thing, revision, sent)

    async def _regain(self, thing: str) -> None:
        """Our entry is not as we left it: expired, renewed by a try of ours that timed out, or another's."""
        key = self._key(thing)
        sent = time.monotonic()
        try:
            try:
                entry = await self._kv.get(key)
            except nats.js.errors.KeyNotFoundError:
                revision = await self._kv.create(key, self._value)
                self._own(thing, revision, sent)
                return
        except nats.js.errors.KeyWrongLastSequenceError:
            self._lose(thing)
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("lease not regained", thing=self._key(thing), error=repr(e))
        else:
            if entry.value != self._value:
                self._lose(thing)
            elif entry.revision is not None and thing in self._owned:
                # Ours, but of unknown age: the next renewal, which is now, dates it.
                self._owned[thing] = self._owned[thing]._replace(revision=entry.revision)
                await self._renew_once(thing, entry.revision)

    async def _renew_once(self, thing: str, revision: int) -> None:
        sent = time.monotonic()
        try:
            self._own(thing, await self._kv.update(self._key(thing), self._value, last=revision), sent)
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("lease not regained", thing=self._key(thing), error=repr(e))

    def _lose(self, thing: str) -> None:
        what = f"another process has taken the {self._kind.thing}: its lease had run out"
        self._log.warning(what, **{self._kind.thing: thing})
        self._owned.pop(thing, None)
        self._kind.owned.set(len(self._owned))
        self.lost.add(thing)

    async def _delete(self, key: str, revision: int | None) -> None:
        try:
            await self._kv.delete(key, last=revision)
        except (TimeoutError, nats.errors.Error) as e:  # it expires by itself
            self._log.debug("not released", key=key, error=repr(e))


def process_id() -> str:
    """Of this process, unlike any other's."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:32]
    return f"{host}-{os.getpid()}-{secrets.token_hex(2)}"
