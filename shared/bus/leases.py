"""Exclusive work of this process: one lease per thing, in a KV bucket.

    kind = Kind("camera", "process", gauge)
    leased, leases = await open_leases(client, names.LEASES, kind, settings.lease_s, changed)
    await leases.claim("lobby")
    leases.holds("lobby")               # at this instant

Keys: `camera.<id>`, for cameras, names its holder; `process.<id>` shows that a process is present. The server
arbitrates creates and updates by revision, so a thing has one holder. A holder that could not renew knows by its own
clock that its lease is over, and publishes nothing until it has regained it.

An overloaded process offers a thing, keeps it until another has taken it, and works on it until that one announces its
start. If it gave the thing up first, an outage could come between. `lease_entry` has the format.

The watchers, not the server, decide that a holder is gone: after LEASE_S without a renewal. An outage of the server
silences all processes. So a process that could not write judges no other until it has listened for LEASE_S again.
Entries outlive the outage: holders continue where they were, with all that they have buffered.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable
from typing import NamedTuple

import nats.errors
import nats.js.errors
from nats.js.kv import KeyValue
from prometheus_client import Gauge

from shared.bus.client import Connection
from shared.bus.lease_entry import Entry, decode
from shared.bus.mirror import Mirror, bind, mirror
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger

# In leases. A request must fail while there is time for another.
RENEW = 0.3
_TIMEOUT = 1 / 3
# Between our last read of the clock and the server's receipt of our publish.
_MARGIN = 0.05
# Without an answer for this long we may be cut off. Plus one renewal interval it is less than a lease: by then no
# process seems silent to us.
_DEAF = 2 * RENEW
# How often we check for a server during an outage.
_POLL_S = 0.1
# A server lags its cluster for at most this many renewals.
_DOUBTS = 5
# In leases: how long we work on a thing that another process has taken but not begun.
_LEAVING = 2.0
# The time in which the previous holder stores what precedes our start, once it knows that.
_STORES_S = 1.0
# The new holder may start a little earlier, as cameras repeat their last video to a new connection.
_BEFORE_S = 10.0
# Clocks that are further apart can't date a handover.
_APART_S = 2.0


class _Lease(NamedTuple):
    """revision: of our entry. until: monotonic seconds, from before the request, so never too late.

    doubts: how often an older entry than ours has named another holder since.
    """

    revision: int
    until: float
    doubts: int = 0


class _Handover(NamedTuple):
    """A thing taken from an offer. after: the previous holder. since: our start of work, in Unix milliseconds.
    announced_at: when that was stored, in monotonic seconds. Each is None before.
    """

    after: str
    since: int | None = None
    announced_at: float | None = None


class _Leaving(NamedTuple):
    """A thing that another process took from us. until: how long we wait for a silent one, in monotonic seconds.
    owned_at: when it was still surely ours, in Unix seconds.
    """

    until: float
    owned_at: float


class Kind(NamedTuple):
    """A kind of leased thing. thing, process: prefixes of the keys. owned: how many this process has."""

    thing: str
    process: str
    owned: Gauge


class Leases:
    """`lost` collects things that another process has taken, and until when each was ours, in Unix seconds. That is the
    end of our lease or, after a handover, the start of the other's work. Infinity if that is unknown, and minus
    infinity if we had not begun: then it was never ours.

    The caller removes an entry when it stops that work. `leaving`: things that another has taken, and we work on until
    it begins.
    """

    def __init__(
        self, client: Connection, kv: KeyValue, mirror: Mirror, process: str, kind: Kind, lease_s: float
    ) -> None:
        self.process = process
        self._kind = kind
        self._lease_s = lease_s
        self.lost: dict[str, float] = {}
        self._client = client
        self._kv = kv
        self._mirror = mirror
        self._presence = f"{kind.process}.{process}"
        self._entry = Entry(process, lease_s)
        self._owned: dict[str, _Lease] = {}
        self._offered: set[str] = set()
        self._handovers: dict[str, _Handover] = {}
        self._announcing: set[asyncio.Task[None]] = set()
        self._is_withdrawn = False
        self._leaving: dict[str, _Leaving] = {}
        # Things that we took back from a holder that had not begun.
        self._again: set[str] = set()
        # Monotonic seconds: our last confirmed write, and the start of the period without a gap between these.
        self._confirmed: float | None = None
        self._steady_since = float("-inf")
        # Our first appearance, by the server's clock.
        self._began: float | None = None
        self._log = logger("leases")

    @property
    def owned(self) -> set[str]:
        return set(self._owned)

    @property
    def leaving(self) -> set[str]:
        return set(self._leaving)

    def holds(self, thing: str) -> bool:
        """Whether we may publish for it now."""
        lease = self._owned.get(thing)
        return lease is not None and time.monotonic() < lease.until and self._is_announced(thing)

    def _is_announced(self, thing: str) -> bool:
        """Whether the previous holder, if any, knows the time of our start, and has stored the rest."""
        handover = self._handovers.get(thing)
        return handover is None or (
            handover.announced_at is not None and time.monotonic() >= handover.announced_at + _STORES_S
        )

    def is_free(self, thing: str) -> bool:
        """Whether it seems to have no holder, as far as we may judge; `claim` decides."""
        key = self._key(thing)
        if thing in self._owned:
            return False
        # A thing that its holder has given up is free, even if we are cut off. So is, to us, one that we took without
        # an answer.
        if self._mirror.is_deleted(key) or self._entry_of(thing).process == self.process:
            return True
        # An offered thing stays its holder's as long as that may not know of an outage's end.
        return self.may_judge() and (not self._alive(key) or self.is_offered(thing))

    def is_anothers(self, thing: str) -> bool:
        """Whether another process holds it, or held it last."""
        return self._entry_of(thing).process not in ("", self.process)

    def is_offered(self, thing: str) -> bool:
        """Whether its holder offers it."""
        return self._entry_of(thing).offered

    def waits(self, thing: str) -> bool:
        """Whether we took it from a process that still works on it, as we have not begun."""
        return thing in self._handovers and self._handovers[thing].since is None

    def processes(self) -> int:
        """Return the number of processes that share the things, this one included."""
        self._began = self._began or self._mirror.written.get(self._presence)
        others = (k for k in self._mirror.values if k.startswith(f"{self._kind.process}.") and k != self._presence)
        return 1 + sum(self._alive(k) and not self._was_gone(k) for k in others)

    async def run(self) -> None:
        """Renew until cancelled."""
        next_at, connection = float("-inf"), -1
        while True:
            # Immediately after a reconnect: leases may be about to end then.
            now, reconnects = time.monotonic(), self._client.stats["reconnects"]
            if self._client.is_connected and (now >= next_at or reconnects != connection):
                next_at, connection = now + RENEW * self._lease_s, reconnects
                await asyncio.gather(self._appear(), *(self._renew(c) for c in list(self._owned)))
            if self._client.is_connected:
                await self._client.until_lost(next_at - time.monotonic())
            else:
                await asyncio.sleep(_POLL_S)

    async def claim(self, thing: str) -> bool:
        """Take it if it is free; return whether we have it."""
        # Another may have taken it meanwhile: our revision would be of that.
        if not self.is_free(thing):
            return False
        entry = self._entry_of(thing)
        if thing in self._leaving:
            self._again.add(thing)
        elif entry.offered or entry.waits:
            self._handovers[thing] = _Handover(entry.after if entry.waits else entry.process)
        sent = time.monotonic()
        try:
            revision = await self._take(thing)
        except (TimeoutError, nats.errors.Error):  # taken, or unknown: the next check decides
            self._handovers.pop(thing, None)
            self._again.discard(thing)
            return False
        self._own(thing, revision, sent)
        return True

    def record_start(self, thing: str, at: float | None) -> bool:
        """Record that we work on it since `at`, in Unix seconds; None: we can't until another process stops.

        Return whether another process had it until now, and is notified. Later calls change nothing.
        """
        if not self.waits(thing):
            return False
        if at is None:
            del self._handovers[thing]
        else:
            self._handovers[thing] = self._handovers[thing]._replace(since=int(at * 1000))
        announcing = asyncio.create_task(self._renew(thing))
        self._announcing.add(announcing)
        announcing.add_done_callback(self._announcing.discard)
        return True

    async def offer(self, things: Iterable[str]) -> set[str]:
        """Offer only these of our things; return those that others may take. A thing just taken is not offered until
        its previous holder knows of our start.
        """
        before, self._offered = self._offered, {t for t in set(things) & self.owned if self._is_announced(t)}
        await asyncio.gather(*(self._renew(thing) for thing in before ^ self._offered))
        return set(self._offered)

    def update_lost(self) -> None:
        """Move things that others have taken from our offers to `lost`. Each is in `leaving` first."""
        for thing, ours in list(self._leaving.items()):
            until = self._ended(thing, ours)
            if until is not None:
                del self._leaving[thing]
                self.lost[thing] = until
        for thing in self._offered & self.owned:
            newer = (self._mirror.revision(self._key(thing)) or 0) > self._owned[thing].revision
            if newer and self.is_anothers(thing):
                self._lose(thing, self._entry_of(thing))

    def _ended(self, thing: str, ours: _Leaving) -> float | None:
        """Return until when a leaving thing was ours; None while it is."""
        entry, is_taken = self._entry_of(thing), self.is_anothers(thing)
        if is_taken and entry.since is not None:
            at = entry.since / 1000
            return at if ours.owned_at - _BEFORE_S <= at <= time.time() + _APART_S else math.inf
        # The follower of another process knows that this one had begun. One that follows none can't work on it while we
        # do.
        if is_taken and not (entry.waits and entry.after == self.process):
            return math.inf
        # As long as we are cut off, or it is alive, it may still begin, or give it back.
        silent = self.may_judge() and not (is_taken and self._alive(self._key(thing)))
        return math.inf if silent and time.monotonic() > ours.until else None

    async def release(self, thing: str) -> None:
        """Give it up immediately. If we never started, the previous holder keeps it."""
        lease, handover = self._owned.pop(thing, None), self._handovers.get(thing)
        self._forget(thing)
        if lease and handover and handover.since is None:
            back = self._entry._replace(offered=True, after=handover.after)
            with contextlib.suppress(TimeoutError, nats.errors.Error):
                await self._kv.update(self._key(thing), back.encode(), last=lease.revision)
        elif lease:
            await self._delete(self._key(thing), lease.revision)

    async def withdraw(self) -> None:
        """No longer count as a process: others may take all that we offer."""
        self._is_withdrawn = True
        await self._delete(self._presence, None)

    async def leave(self) -> None:
        """Release all, and no longer count as a process."""
        await end(*self._announcing)
        await asyncio.gather(*(self.release(c) for c in self.owned), self._delete(self._presence, None))

    def _key(self, thing: str) -> str:
        return f"{self._kind.thing}.{thing}"

    def _value_of(self, thing: str) -> bytes:
        handover = self._handovers.get(thing, _Handover(""))
        again = thing in self._again
        return Entry(
            self.process, self._lease_s, thing in self._offered, handover.after, handover.since, again
        ).encode()

    def _entry_of(self, thing: str) -> Entry:
        return decode(self._mirror.values.get(self._key(thing), b""))

    def may_judge(self) -> bool:
        """Whether we may judge others by their silence: it is not that of the server or the network."""
        now = time.monotonic()
        if self._confirmed is None or now - self._confirmed > _DEAF * self._lease_s:
            return False
        return now - self._steady_since >= self._lease_s

    def _alive(self, key: str) -> bool:
        return time.monotonic() - self._mirror.seen.get(key, float("-inf")) < self._longest_s(key)

    def _was_gone(self, key: str) -> bool:
        """Whether it had been silent for a lease at our first appearance. After an outage live processes seem so too,
        until they renew. This suffices to share free things, not to take another's.
        """
        return self._began is not None and self._began - self._mirror.written[key] > self._longest_s(key)

    def _longest_s(self, key: str) -> float:
        """Return how long its writer may be silent."""
        return max(self._lease_s, decode(self._mirror.values.get(key, b"")).lease_s)

    async def _take(self, thing: str) -> int:
        """Write our entry, new or over a silent holder's; return its revision. Raises what KV does."""
        key, value = self._key(thing), self._value_of(thing)
        silent = self._mirror.revision(key)
        if silent is not None:
            # It fails if the holder has renewed it, or the server has forgotten it.
            with contextlib.suppress(nats.js.errors.KeyWrongLastSequenceError):
                return await self._kv.update(key, value, last=silent)
        return await self._kv.create(key, value)

    def _own(self, thing: str, revision: int, sent: float) -> None:
        self._owned[thing] = _Lease(revision, sent + (1 - _MARGIN) * self._lease_s)
        self._leaving.pop(thing, None)
        self._kind.owned.set(len(self._owned))

    async def _appear(self) -> None:
        try:
            if self._is_withdrawn:  # we stay absent, and the delete checks the server
                await self._kv.delete(self._presence)
            else:
                await self._kv.put(self._presence, self._entry.encode())
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("presence not stored", error=repr(e))
            return
        now = time.monotonic()
        if self._confirmed is not None and now - self._confirmed > _DEAF * self._lease_s:
            self._log.info("the server was away: what others hold is theirs for a lease", lease_s=self._lease_s)
            self._steady_since = now
        self._confirmed = now

    async def _renew(self, thing: str) -> None:
        lease = self._owned.get(thing)
        if lease is None:
            return
        sent, handover = time.monotonic(), self._handovers.get(thing)
        try:
            revision = await self._kv.update(self._key(thing), self._value_of(thing), last=lease.revision)
        except nats.js.errors.KeyWrongLastSequenceError:
            await self._regain(thing)
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("lease not renewed", thing=self._key(thing), error=repr(e))
        else:
            # If it was released meanwhile, our renewal outlives us for a lease, unless the deletion came after it.
            if thing in self._owned:
                self._own(thing, revision, sent)
                self._record_announced(thing, handover)

    def _record_announced(self, thing: str, handover: _Handover | None) -> None:
        """Record the announcement of our start. handover: its state when it was sent."""
        if handover and handover == self._handovers.get(thing) and handover.since and not handover.announced_at:
            self._handovers[thing] = handover._replace(announced_at=time.monotonic())

    async def _regain(self, thing: str) -> None:
        """Handle an entry that is not our last write: our own timed-out try, another's, or forgotten."""
        key = self._key(thing)
        sent = time.monotonic()
        try:
            entry = await self._kv.get(key)
            is_ours = decode(entry.value or b"").process == self.process
        except nats.js.errors.KeyNotFoundError as missing:
            entry, is_ours = missing.entry, False
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("lease not regained", thing=self._key(thing), error=repr(e))
            return
        lease = self._owned.get(thing)
        if lease is None:  # released meanwhile
            return
        if entry is None:
            with contextlib.suppress(TimeoutError, nats.errors.Error):
                self._own(thing, await self._kv.create(key, self._value_of(thing)), sent)
        elif is_ours:
            assert entry.revision is not None
            # Its age is unknown: the next renewal, which is now, dates it.
            self._owned[thing] = lease._replace(revision=entry.revision)
            await self._renew_once(thing, entry.revision)
        # A server that was cut off names previous holders for a while. So does a new bucket, with new revisions.
        elif (entry.revision or 0) > lease.revision or lease.doubts >= _DOUBTS:
            self._lose(thing, decode(entry.value or b""))
        else:
            self._owned[thing] = lease._replace(doubts=lease.doubts + 1)

    async def _renew_once(self, thing: str, revision: int) -> None:
        sent, handover = time.monotonic(), self._handovers.get(thing)
        try:
            renewed = await self._kv.update(self._key(thing), self._value_of(thing), last=revision)
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("lease not regained", thing=self._key(thing), error=repr(e))
        else:
            if thing in self._owned:
                self._own(thing, renewed, sent)
                self._record_announced(thing, handover)

    def _lose(self, thing: str, entry: Entry) -> None:
        """Lose a thing. entry: of its new holder."""
        lease, handover = self._owned.pop(thing), self._handovers.get(thing)
        self._forget(thing)
        left_s = lease.until - time.monotonic()
        what = f"another process has taken the {self._kind.thing}"
        # If the previous holder took it back, or handed it to another, it did not know of our start.
        is_unannounced = handover and not handover.announced_at and (entry.again or entry.after == handover.after)
        if handover and (handover.since is None or is_unannounced):
            self.lost[thing] = -math.inf
        elif entry.after == self.process:
            self._log.info(f"{what} that was offered", **{self._kind.thing: thing})
            owned_at = time.time() + left_s - self._lease_s
            self._leaving[thing] = _Leaving(time.monotonic() + _LEAVING * self._lease_s, owned_at)
        # No process can take a thing that was not offered, while we hold it.
        elif left_s <= 0:
            self._log.warning(f"{what}: its lease had run out", **{self._kind.thing: thing})
            self.lost[thing] = time.time() + left_s
        else:
            self._log.info(f"{what} that was offered", **{self._kind.thing: thing})
            self.lost[thing] = math.inf

    def _forget(self, thing: str) -> None:
        """Drop the state of a thing that is no longer ours."""
        self._handovers.pop(thing, None)
        self._again.discard(thing)
        self._offered.discard(thing)
        self._kind.owned.set(len(self._owned))

    async def _delete(self, key: str, revision: int | None) -> None:
        try:
            try:
                await self._kv.delete(key, last=revision)
            except nats.js.errors.APIError:
                # A renewal that we cancelled at the stop may be stored: it would outlive us for a lease.
                entry = await self._kv.get(key)
                if decode(entry.value or b"").process == self.process:
                    await self._kv.delete(key, last=entry.revision)
        except (TimeoutError, nats.errors.Error) as e:  # it expires by itself
            self._log.debug("not released", key=key, error=repr(e))


async def open_leases(
    client: Connection, bucket: str, kind: Kind, lease_s: float, changed: asyncio.Event
) -> tuple[Mirror, Leases]:
    """Return a copy of the bucket, for the caller to run, and this process's leases in it. Raises as `bind` does."""
    leased = await mirror(client, bucket, changed)
    kv = await bind(client.jetstream(timeout=_TIMEOUT * lease_s), bucket)
    return leased, Leases(client, kv, leased, process_id(), kind, lease_s)


def process_id() -> str:
    """Return a unique id of this process."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:32]
    return f"{host}-{os.getpid()}-{secrets.token_hex(2)}"
