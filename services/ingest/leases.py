"""Which cameras this process may ingest: a lease each in KV `leases`, whose entries the server forgets after LEASE_S.

Keys: `camera.<id>` holds the id of the process that ingests it, `process.<id>` says that a process is there. Creating
and updating by revision is arbitrated by the server, so a camera has one holder; a holder that could not renew knows
by its own clock that its lease is over, and publishes nothing until it has regained it.
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.kv import KeyValue

from services.ingest import metrics
from shared.mirror import Mirror
from shared.telemetry import logger
from shared.topology import LEASE_S

# Three tries within a lease.
RENEW_S = 1.5
# Between our last look at the clock and the server's receipt of what we publish.
_MARGIN_S = 0.25


class _Lease(NamedTuple):
    """revision: of our entry. until: monotonic seconds, counted from before the request, so never too late."""

    revision: int
    until: float


class Leases:
    """`lost` collects cameras that another process has taken; who stops them takes them out."""

    def __init__(self, client: Client, kv: KeyValue, mirror: Mirror, process: str) -> None:
        self.process = process
        self.lost: set[str] = set()
        self._client = client
        self._kv = kv
        self._mirror = mirror
        self._value = process.encode()
        self._owned: dict[str, _Lease] = {}
        self._log = logger("leases")

    @property
    def owned(self) -> set[str]:
        return set(self._owned)

    def holds(self, camera: str) -> bool:
        """Whether we may publish for the camera at this instant."""
        lease = self._owned.get(camera)
        return lease is not None and time.monotonic() < lease.until

    def free(self, camera: str) -> bool:
        """Whether nobody seems to hold it; `claim` finds out."""
        return camera not in self._owned and not self._alive(f"camera.{camera}")

    def processes(self) -> int:
        """How many ingest processes share the cameras, this one included."""
        mine = f"process.{self.process}"
        return 1 + sum(k.startswith("process.") and k != mine and self._alive(k) for k in self._mirror.values)

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            if self._client.is_connected:
                await asyncio.gather(self._appear(), *(self._renew(c) for c in list(self._owned)))
            await asyncio.sleep(RENEW_S)

    async def claim(self, camera: str) -> bool:
        sent = time.monotonic()
        try:
            revision = await self._kv.create(f"camera.{camera}", self._value)
        except (TimeoutError, nats.errors.Error):  # taken, or unknown: the next look will tell
            return False
        self._own(camera, revision, sent)
        return True

    async def release(self, camera: str) -> None:
        """Let another process have it at once."""
        lease = self._owned.pop(camera, None)
        metrics.OWNED.set(len(self._owned))
        if lease:
            await self._delete(f"camera.{camera}", lease.revision)

    async def leave(self) -> None:
        """Release all, and no longer count as a process."""
        await asyncio.gather(*(self.release(c) for c in self.owned), self._delete(f"process.{self.process}", None))

    def _alive(self, key: str) -> bool:
        return time.monotonic() - self._mirror.seen.get(key, float("-inf")) < LEASE_S

    def _own(self, camera: str, revision: int, sent: float) -> None:
        self._owned[camera] = _Lease(revision, sent + LEASE_S - _MARGIN_S)
        metrics.OWNED.set(len(self._owned))

    async def _appear(self) -> None:
        try:
            await self._kv.put(f"process.{self.process}", self._value)
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("presence not stored", error=repr(e))

    async def _renew(self, camera: str) -> None:
        lease = self._owned.get(camera)
        if lease is None:
            return
        sent = time.monotonic()
        try:
            revision = await self._kv.update(f"camera.{camera}", self._value, last=lease.revision)
        except nats.js.errors.KeyWrongLastSequenceError:
            await self._regain(camera)
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("lease not renewed", camera=camera, error=repr(e))
        else:
            # Released meanwhile: our renewal then outlives us for a lease, unless the deletion came after it.
            if camera in self._owned:
                self._own(camera, revision, sent)

    async def _regain(self, camera: str) -> None:
        """Our entry is not as we left it: expired, renewed by a try of ours that timed out, or another's."""
        key = f"camera.{camera}"
        sent = time.monotonic()
        try:
            try:
                entry = await self._kv.get(key)
            except nats.js.errors.KeyNotFoundError:
                revision = await self._kv.create(key, self._value)
                self._own(camera, revision, sent)
                return
        except nats.js.errors.KeyWrongLastSequenceError:
            self._lose(camera)
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("lease not regained", camera=camera, error=repr(e))
        else:
            if entry.value != self._value:
                self._lose(camera)
            elif entry.revision is not None and camera in self._owned:
                # Ours, but of unknown age: the next renewal, which is now, dates it.
                self._owned[camera] = self._owned[camera]._replace(revision=entry.revision)
                await self._renew_once(camera, entry.revision)

    async def _renew_once(self, camera: str, revision: int) -> None:
        sent = time.monotonic()
        try:
            self._own(camera, await self._kv.update(f"camera.{camera}", self._value, last=revision), sent)
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("lease not regained", camera=camera, error=repr(e))

    def _lose(self, camera: str) -> None:
        self._log.warning("another process has taken the camera: its lease had run out", camera=camera)
        self._owned.pop(camera, None)
        metrics.OWNED.set(len(self._owned))
        self.lost.add(camera)

    async def _delete(self, key: str, revision: int | None) -> None:
        try:
            await self._kv.delete(key, last=revision)
        except (TimeoutError, nats.errors.Error) as e:  # it expires by itself
            self._log.debug("not released", key=key, error=repr(e))
