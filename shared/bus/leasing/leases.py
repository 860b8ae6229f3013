"""Exclusive work of this process: one lease per thing, in a KV bucket.

    kind = Kind("partition", "analytics", gauge)
    leased, leases = await open_leases(client, names.PARTITIONS, kind, settings.lease_s, changed)
    await leases.claim("7")
    leases.holds("7")               # at this instant
    leases.take_lost()              # stop that work

Key `<kind>.<thing>` names the thing's holder; `entry` has the format, and `state` the states. The server arbitrates
creates and updates by revision, so a thing has one holder. A holder that could not renew knows by its own clock
that its lease is over, and publishes nothing until it has regained it. Entries outlive an outage: holders continue
where they were, with all that they have buffered.

A process renews its session, one key, however many things it has. The leases last as long. Another process that finds
the session silent ends it, by revision, before it takes any of those things: so the holder learns of that from its next
renewal, and then writes each of its entries again. Those that others may take are renewed one by one, as all are while
a process of a version without sessions is present.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import socket
import time
from collections.abc import Collection
from typing import NamedTuple

import nats.errors
import nats.js.errors
from nats.js.kv import KeyValue
from prometheus_client import Gauge

from shared.bus.client import Connection
from shared.bus.leasing.entry import SESSION, WITHDRAWN, Entry, decode
from shared.bus.leasing.presence import RENEW, Presence
from shared.bus.leasing.state import OWNED, Lease, LeaseEvent, LeaseState, Loss
from shared.bus.mirror import Mirror, bind, mirror
from shared.runtime.telemetry import logger
from shared.runtime.ticks import until_tick

# In leases. A request must fail while there is time for another.
_TIMEOUT = 1 / 3
# How often we check for a server during an outage.
_POLL_S = 0.1
# A server lags its cluster for at most this many renewals.
_DOUBTS = 5


class Kind(NamedTuple):
    """A kind of leased thing. thing, process: prefixes of the keys. owned: how many this process has."""

    thing: str
    process: str
    owned: Gauge

    def key(self, thing: str) -> str:
        return f"{self.thing}.{thing}"


class Newest(NamedTuple):
    """The newest known entry of a thing; an empty one if it has none. is_silent: neither it nor its holder's session
    was written within its lease.
    """

    entry: Entry
    revision: int
    is_silent: bool


class Leases:
    """The leases of one process. table: of all things that are not FREE. presence: this process among the others."""

    def __init__(
        self, client: Connection, kv: KeyValue, mirror: Mirror, process: str, kind: Kind, lease_s: float
    ) -> None:
        self.process = process
        self._facts: tuple[str, ...] = (SESSION,)
        self.presence = Presence(kv, mirror, kind.process, process, lease_s, lambda: self._facts)
        self._client = client
        self._kv = kv
        self._mirror = mirror
        self._kind = kind
        self._lease_s = lease_s
        self.table: dict[str, Lease] = {}
        self._free = Lease(process, lease_s)
        self._claiming: set[str] = set()
        self._log = logger("leases")
        # A scrape comes from another thread.
        kind.owned.set_function(lambda: sum(lease.state in OWNED for lease in list(self.table.values())))

    @property
    def owned(self) -> set[str]:
        return set(self.having(*OWNED))

    def having(self, *states: LeaseState) -> dict[str, Lease]:
        """Return the leases in one of these states."""
        return {thing: lease for thing, lease in self.table.items() if lease.state in states}

    def holds(self, thing: str) -> bool:
        """Whether we may publish for it now."""
        return self.table.get(thing, self._free).holds(time.monotonic())

    def is_free(self, thing: str) -> bool:
        """Whether it seems to have no holder, as far as we may judge; `claim` decides."""
        state = self.table.get(thing, self._free).state
        entry, _, is_silent = self.newest(thing)
        # One that has begun to work on it takes it from us, even if it has offered it since.
        may_return = state is LeaseState.LEAVING and entry.since is None
        if state is not LeaseState.FREE and not may_return:
            return False
        # A thing that its holder has given up is free, even if we are cut off. So is, to us, one that we took without
        # an answer.
        if self._mirror.is_deleted(self._kind.key(thing)) or entry.process == self.process:
            return True
        # An offered thing stays its holder's as long as that may not know of an outage's end.
        return self.presence.may_judge() and (entry.offered or is_silent)

    def newest(self, thing: str) -> Newest:
        """Return the newest entry of a thing, which may be another process's."""
        key = self._kind.key(thing)
        entry = decode(self._mirror.values.get(key, b""))
        is_alive = self.presence.is_alive(key) or self.presence.has_session(entry.process)
        return Newest(entry, self._mirror.revision(key) or 0, not is_alive)

    def is_superseded(self, thing: str, lease: Lease) -> bool:
        """Whether another process has written over our entry, and may have deleted its own since."""
        key = self._kind.key(thing)
        is_newer = self._mirror.last_known(key) > lease.revision
        return is_newer and (self._mirror.is_deleted(key) or self.newest(thing).entry.is_of_another(self.process))

    def take_lost(self) -> dict[str, Loss]:
        """Return the things lost since the last call. The caller stops its work on them; only then are they free."""
        lost = self.having(LeaseState.LOST)
        for thing, lease in lost.items():
            lease.apply(LeaseEvent.FORGET)
            del self.table[thing]
        return {thing: lease.loss for thing, lease in lost.items()}

    async def run(self) -> None:
        """Renew until cancelled."""
        next_at, connection = 0.0, -1
        while True:
            # Immediately after a reconnect: leases may be about to end then.
            now, reconnects = time.monotonic(), self._client.stats["reconnects"]
            if self._client.is_connected and (now >= next_at or reconnects != connection):
                next_at, connection = now + until_tick(RENEW * self._lease_s, time.time(), closest=0.1), reconnects
                await self.keep()
            if self._client.is_connected:
                await self._client.until_lost(next_at - time.monotonic())
            else:
                await asyncio.sleep(_POLL_S)

    async def keep(self) -> None:
        """Renew the session, and the leases that do not last with it."""
        before = self._lasting()
        others = [self.renew(thing) for thing in self.owned - before.keys()]
        disowned = [self._disown(thing, self.newest(thing)) for thing in self._unknown()]
        await asyncio.gather(self._renew_session(before.keys()), *others, *disowned)

    async def _renew_session(self, before: Collection[str]) -> None:
        """Renew the session, and extend what lasts with it. before: what lasted with it until now."""
        sent = await self.presence.appear()
        if sent is None:
            return
        lasting = self._lasting()
        for lease in lasting.values():
            lease.extend(sent)
        # Of a session that has ended.
        await asyncio.gather(*(self.renew(thing) for thing in set(before) - lasting.keys()))

    def _lasting(self) -> dict[str, Lease]:
        """Return the leases that last with the session."""
        if not self.presence.all_have_sessions():
            return {}
        session, now, newest = self.presence.session, time.monotonic(), self._mirror.last_known
        held = self.having(LeaseState.HELD).items()
        return {
            t: lease
            for t, lease in held
            if lease.lasts_with(session, now) and 0 < newest(self._kind.key(t)) <= lease.revision
        }

    def _unknown(self) -> list[str]:
        """Return the things that only the bucket says are ours: of a write without an answer. Nobody would take them as
        long as our session lasts.
        """
        ours, prefix = f"{self.process}/".encode(), self._kind.key("")
        things = (
            key.removeprefix(prefix)
            for key, value in self._mirror.values.items()
            if value.startswith(ours) and key.startswith(prefix) and not decode(value).offered
        )
        return [thing for thing in things if thing not in self.table and thing not in self._claiming]

    async def _disown(self, thing: str, ours: Newest) -> None:
        """Give up what only the bucket says is ours. If we never started, the previous holder keeps it."""
        key = self._kind.key(thing)
        with contextlib.suppress(TimeoutError, nats.errors.Error):  # the next renewal tries again
            if ours.entry.waits:
                await self._kv.update(key, ours.entry._replace(offered=True).encode(), last=ours.revision)
            else:
                await self._kv.delete(key, last=ours.revision)

    async def claim(self, thing: str) -> bool:
        """Take it if it is free; return whether we have it."""
        self._claiming.add(thing)
        try:
            return await self._claim(thing)
        finally:
            self._claiming.discard(thing)

    async def _claim(self, thing: str) -> bool:
        # Another may have taken it meanwhile: our revision would be of that.
        if not self.is_free(thing):
            return False
        silent, lease = self.newest(thing), self.table.get(thing, self._free)
        claim, key = lease.claimed(silent.entry), self._kind.key(thing)
        entry, sent, session, revision = claim.entry(), time.monotonic(), self.presence.session, 0
        try:
            if not silent.entry.offered and not await self.presence.end_session(silent.entry.process, silent.revision):
                return False
            if silent.revision:
                # It fails if the holder has renewed it, or the server has forgotten it.
                with contextlib.suppress(nats.js.errors.KeyWrongLastSequenceError):
                    revision = await self._kv.update(key, entry.encode(), last=silent.revision)
            revision = revision or await self._kv.create(key, entry.encode())
        except (TimeoutError, nats.errors.Error):  # taken, or unknown: the next check decides
            return False
        claim.record_write(entry, revision, sent, time.monotonic(), session)
        self.table[thing] = claim
        return True

    async def renew(self, thing: str) -> None:
        """Write our entry, if we have the thing. Another process's entry ends our lease."""
        lease = self.table.get(thing, self._free)
        try:
            await self._write(thing, lease)
        except nats.js.errors.KeyWrongLastSequenceError:
            await self._regain(thing, lease)
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("lease not renewed", thing=self._kind.key(thing), error=repr(e))

    async def release(self, thing: str) -> None:
        """Give it up immediately. If we never started, the previous holder keeps it."""
        lease = self.table.get(thing, self._free)
        if lease.state not in OWNED:
            return
        returned = lease.returned() if lease.state is LeaseState.TAKEN else None
        lease.apply(LeaseEvent.RELEASE)
        del self.table[thing]
        if returned:
            with contextlib.suppress(TimeoutError, nats.errors.Error):
                await self._kv.update(self._kind.key(thing), returned.encode(), last=lease.revision)
        else:
            await self.presence.delete(self._kind.key(thing), lease.revision)

    async def withdraw(self) -> None:
        """No longer count as a process: others may take all that we offer."""
        if self.presence.all_have_sessions():
            self._facts = (SESSION, WITHDRAWN)
            await self.presence.appear()
        else:
            await self.presence.withdraw()

    async def leave(self) -> None:
        """Release all, and be absent."""
        await asyncio.gather(*(self.release(c) for c in self.owned))
        await self.presence.withdraw()

    def lose(self, thing: str, entry: Entry) -> None:
        """Lose a thing of ours to the holder that `entry` names."""
        lease = self.table[thing]
        lease.lose(entry, time.monotonic(), time.time())
        text = f"another process has taken the {self._kind.thing}"
        if lease.loss.until is not None:
            self._log.warning(f"{text}: its lease had run out", **{self._kind.thing: thing})
        elif lease.loss.was_ours:
            self._log.info(f"{text} that was offered", **{self._kind.thing: thing})

    async def _write(self, thing: str, lease: Lease, *, create: bool = False) -> None:
        """Write our entry over our last one, or create it. Raises what KV does."""
        if lease.state not in OWNED:
            return
        key, entry, sent, session = self._kind.key(thing), lease.entry(), time.monotonic(), self.presence.session
        lease.stored_at = None
        if create:
            revision = await self._kv.create(key, entry.encode())
        else:
            revision = await self._kv.update(key, entry.encode(), last=lease.revision)
        # If it was released meanwhile, our renewal outlives us for a lease, unless the deletion came after it.
        lease.record_write(entry, revision, sent, time.monotonic(), session)

    async def _regain(self, thing: str, lease: Lease) -> None:
        """Handle an entry that is not our last write: our own timed-out try, another's, or forgotten."""
        known = self.newest(thing)
        try:
            if known.entry.process == self.process and known.revision > lease.revision:
                # Our own try, also if it can't be read: as long as our session lasts, nobody else would take it.
                lease.revision = known.revision
                await self._write(thing, lease)
                return
            try:
                found = await self._kv.get(self._kind.key(thing))
            except nats.js.errors.KeyNotFoundError as missing:
                found = missing.entry
            value, revision = (found.value or b"", found.revision or 0) if found else (b"", 0)
            entry = decode(value)
            if lease.state not in OWNED:  # released meanwhile
                return
            if not found:
                await self._write(thing, lease, create=True)
            elif entry.process == self.process:
                # Its age is unknown: the next renewal, which is now, dates it.
                lease.revision = revision
                await self._write(thing, lease)
            # A server that was cut off names previous holders for a while. So does a new bucket, with new revisions.
            elif revision > lease.revision or lease.doubts >= _DOUBTS:
                self.lose(thing, entry)
            else:
                lease.doubts += 1
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("lease not regained", thing=self._kind.key(thing), error=repr(e))


async def open_leases(
    client: Connection, bucket: str, kind: Kind, lease_s: float, changed: asyncio.Event
) -> tuple[Mirror, Leases]:
    """Return a copy of the bucket, for the caller to run, and this process's leases in it. Raises as `bind` does."""
    client.has_leases = True
    leased = await mirror(client, bucket, changed)
    kv = await bind(client.jetstream(timeout=_TIMEOUT * lease_s), bucket)
    return leased, Leases(client, kv, leased, process_id(), kind, lease_s)


def process_id() -> str:
    """Return a unique id of this process."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:32]
    return f"{host}-{os.getpid()}-{secrets.token_hex(2)}"
