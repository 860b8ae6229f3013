"""What this process alone may work on: a lease each in a KV bucket.

    leased, leases = await opened(client, names.LEASES, Kind("camera", "process", gauge), settings.lease_s, changed)
    await leases.claim("lobby")
    leases.holds("lobby")               # at this instant

Keys: `camera.<id>`, for cameras, says which process has it, `process.<id>` that a process is there. Creating and
updating by revision is arbitrated by the server, so a thing has one holder; a holder that could not renew knows by its
own clock that its lease is over, and publishes nothing until it has regained it.

A process that has too many offers what it keeps until another has taken it, and works on it until that one says from
when on it does: were it given up first, an outage could come between. `lease_entry` has what is written.

Whoever watches decides that a holder is gone, not the server: when it has heard no renewal for LEASE_S. An outage of
the server silences all alike, so who could not write itself judges nobody, until it has listened for LEASE_S again.
Entries outlive the outage: holders go on where they were, with all that they have buffered.
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

# In leases. A request that fails must do so while there is time for another.
RENEW = 0.3
_TIMEOUT = 1 / 3
# Between our last look at the clock and the server's receipt of what we publish.
_MARGIN = 0.05
# Without an answer for so long we may be cut off. With the time between two renewals it is less than a lease: by then
# nobody seems silent to us.
_DEAF = 2 * RENEW
# How often we look whether there is a server again.
_POLL_S = 0.1
# A server that is behind its cluster is not for longer than so many renewals.
_DOUBTS = 5
# In leases: for so long we work on what another has taken, and is silent about.
_LEAVING = 2.0
# Once the other one knows from when on we have it, it stores what is before that.
_STORES_S = 1.0
# Who takes over may have a little of before that, as cameras send what they have sent last to who connects.
_BEFORE_S = 10.0
# Clocks that are further apart can't say when a thing has changed hands.
_APART_S = 2.0


class _Lease(NamedTuple):
    """revision: of our entry. until: monotonic seconds, counted from before the request, so never too late.

    doubts: how often it was said to be another's since, by an older entry than ours.
    """

    revision: int
    until: float
    doubts: int = 0


class _Handed(NamedTuple):
    """Of what we have from who offered it. after: who had it. since: when we began to work on it, in Unix milliseconds.
    told: when that was stored, in monotonic seconds. Each is None before.
    """

    after: str
    since: int | None = None
    told: float | None = None


class _Leaving(NamedTuple):
    """Of what another has taken from us. until: for how long we wait for one that is silent, in monotonic seconds.
    held_at: when it was surely ours yet, in Unix seconds.
    """

    until: float
    held_at: float


class Kind(NamedTuple):
    """Of what is leased. thing, process: begin the keys. owned: how many this process has."""

    thing: str
    process: str
    owned: Gauge


class Leases:
    """`lost` collects what another process has taken, and until when it was ours, in Unix seconds: the end of our
    lease, or where it was handed over the time from which on the other works on it. Infinity where that is not known,
    and minus infinity where we had not begun: then it was never ours.

    Whoever stops working on it takes it out. `leaving`: what another has taken, and is worked on here until it begins.
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
        self._handed: dict[str, _Handed] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._is_going = False
        self._leaving: dict[str, _Leaving] = {}
        # What we have back from who had not begun.
        self._again: set[str] = set()
        # Monotonic seconds: our last write that the server confirmed, and since when there was no gap between these.
        self._confirmed: float | None = None
        self._steady_since = float("-inf")
        # When we came, by the server's clock.
        self._began: float | None = None
        self._log = logger("leases")

    @property
    def owned(self) -> set[str]:
        return set(self._owned)

    @property
    def leaving(self) -> set[str]:
        return set(self._leaving)

    def holds(self, thing: str) -> bool:
        """Whether we may publish for it at this instant."""
        lease = self._owned.get(thing)
        return lease is not None and time.monotonic() < lease.until and self._is_heard(thing)

    def _is_heard(self, thing: str) -> bool:
        """Whether who had it before us, if somebody had, knows since when we have it, and has stored the rest."""
        handed = self._handed.get(thing)
        return handed is None or (handed.told is not None and time.monotonic() >= handed.told + _STORES_S)

    def free(self, thing: str) -> bool:
        """Whether nobody seems to hold it, as far as we may judge; `claim` finds out."""
        key = self._key(thing)
        if thing in self._owned:
            return False
        # What its holder has given up is nobody's, whatever we have not heard; so is, to us, what we took unanswered.
        if self._mirror.is_deleted(key) or self._said_of(thing).process == self.process:
            return True
        # What its holder offers is its own as long as it may not have heard of an outage's end.
        return self.hears() and (not self._alive(key) or self.is_offered(thing))

    def is_anothers(self, thing: str) -> bool:
        """Whether another process has it, or had it last."""
        return self._said_of(thing).process not in ("", self.process)

    def is_offered(self, thing: str) -> bool:
        """Whether who has it would have another take it."""
        return self._said_of(thing).offered

    def waits(self, thing: str) -> bool:
        """Whether we have taken it from a process that works on it, as we have not begun."""
        return thing in self._handed and self._handed[thing].since is None

    def processes(self) -> int:
        """How many processes share what there is, this one included."""
        self._began = self._began or self._mirror.written.get(self._presence)
        others = (k for k in self._mirror.values if k.startswith(f"{self._kind.process}.") and k != self._presence)
        return 1 + sum(self._alive(k) and not self._had_gone(k) for k in others)

    async def run(self) -> None:
        """Renew until cancelled."""
        due, connection = float("-inf"), -1
        while True:
            # On another connection at once: leases may be about to end then.
            now, reconnects = time.monotonic(), self._client.stats["reconnects"]
            if self._client.is_connected and (now >= due or reconnects != connection):
                due, connection = now + RENEW * self._lease_s, reconnects
                await asyncio.gather(self._appear(), *(self._renew(c) for c in list(self._owned)))
            if self._client.is_connected:
                await self._client.until_lost(due - time.monotonic())
            else:
                await asyncio.sleep(_POLL_S)

    async def claim(self, thing: str) -> bool:
        """Take it if it is free; whether we have it."""
        # Another may have taken it since we looked: our revision would be of that.
        if not self.free(thing):
            return False
        said = self._said_of(thing)
        if thing in self._leaving:
            self._again.add(thing)
        elif said.offered or said.waits:
            self._handed[thing] = _Handed(said.after if said.waits else said.process)
        sent = time.monotonic()
        try:
            revision = await self._take(thing)
        except (TimeoutError, nats.errors.Error):  # taken, or unknown: the next look will tell
            self._handed.pop(thing, None)
            self._again.discard(thing)
            return False
        self._own(thing, revision, sent)
        return True

    def begun(self, thing: str, at: float | None) -> bool:
        """We work on it since `at`, in Unix seconds; None: we can't while another does, which is to stop.

        Whether another had it until now, and is told. Later calls change nothing.
        """
        if not self.waits(thing):
            return False
        if at is None:
            del self._handed[thing]
        else:
            self._handed[thing] = self._handed[thing]._replace(since=int(at * 1000))
        telling = asyncio.create_task(self._renew(thing))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)
        return True

    async def offer(self, things: Iterable[str]) -> set[str]:
        """Let other processes take these of ours, and no others; those that they may take. What we have just taken
        waits until who had it has heard that we have begun.
        """
        before, self._offered = self._offered, {t for t in set(things) & self.owned if self._is_heard(t)}
        await asyncio.gather(*(self._renew(thing) for thing in before ^ self._offered))
        return set(self._offered)

    def hear(self) -> None:
        """Have `lost` tell of what was offered, and is another's now. Each is seen in `leaving` first."""
        for thing, ours in list(self._leaving.items()):
            until = self._ended(thing, ours)
            if until is not None:
                del self._leaving[thing]
                self.lost[thing] = until
        for thing in self._offered & self.owned:
            newer = (self._mirror.revision(self._key(thing)) or 0) > self._owned[thing].revision
            if newer and self.is_anothers(thing):
                self._lose(thing, self._said_of(thing))

    def _ended(self, thing: str, ours: _Leaving) -> float | None:
        """Until when what is leaving was ours; None while it is."""
        said, heard = self._said_of(thing), self.is_anothers(thing)
        if heard and said.since is not None:
            at = said.since / 1000
            return at if ours.held_at - _BEFORE_S <= at <= time.time() + _APART_S else math.inf
        # Whoever follows another has heard that this one had begun. Who follows nobody can't work on it while we do.
        if heard and not (said.waits and said.after == self.process):
            return math.inf
        # As long as we hear nobody, or it lives, it may begin yet, or give it back.
        silent = self.hears() and not (heard and self._alive(self._key(thing)))
        return math.inf if silent and time.monotonic() > ours.until else None

    async def release(self, thing: str) -> None:
        """Let another process have it at once: who had it before us has it on, where we have not begun."""
        lease, handed = self._owned.pop(thing, None), self._handed.get(thing)
        self._forget(thing)
        if lease and handed and handed.since is None:
            back = self._entry._replace(offered=True, after=handed.after)
            with contextlib.suppress(TimeoutError, nats.errors.Error):
                await self._kv.update(self._key(thing), back.encode(), last=lease.revision)
        elif lease:
            await self._delete(self._key(thing), lease.revision)

    async def go(self) -> None:
        """No longer count as a process: others may have what we offer, all of it."""
        self._is_going = True
        await self._delete(self._presence, None)

    async def leave(self) -> None:
        """Release all, and no longer count as a process."""
        await end(*self._telling)
        await asyncio.gather(*(self.release(c) for c in self.owned), self._delete(self._presence, None))

    def _key(self, thing: str) -> str:
        return f"{self._kind.thing}.{thing}"

    def _value_of(self, thing: str) -> bytes:
        handed = self._handed.get(thing, _Handed(""))
        again = thing in self._again
        return Entry(self.process, self._lease_s, thing in self._offered, handed.after, handed.since, again).encode()

    def _said_of(self, thing: str) -> Entry:
        return decode(self._mirror.values.get(self._key(thing), b""))

    def hears(self) -> bool:
        """Whether others' silence is theirs, and not that of the server or of the way to it."""
        now = time.monotonic()
        if self._confirmed is None or now - self._confirmed > _DEAF * self._lease_s:
            return False
        return now - self._steady_since >= self._lease_s

    def _alive(self, key: str) -> bool:
        return time.monotonic() - self._mirror.seen.get(key, float("-inf")) < self._longest_s(key)

    def _had_gone(self, key: str) -> bool:
        """Whether it had been silent for a lease when we came. After an outage the living seem so too, until they
        renew: good enough to share what is free, and not to take what is another's.
        """
        return self._began is not None and self._began - self._mirror.written[key] > self._longest_s(key)

    def _longest_s(self, key: str) -> float:
        """For how long its writer may be silent."""
        return max(self._lease_s, decode(self._mirror.values.get(key, b"")).lease_s)

    async def _take(self, thing: str) -> int:
        """Revision of our entry, which is new, or in the place of one whose holder was silent. Raises what KV does."""
        key, value = self._key(thing), self._value_of(thing)
        silent = self._mirror.revision(key)
        if silent is not None:
            # It fails if the holder has renewed it, and where the server has forgotten it.
            with contextlib.suppress(nats.js.errors.KeyWrongLastSequenceError):
                return await self._kv.update(key, value, last=silent)
        return await self._kv.create(key, value)

    def _own(self, thing: str, revision: int, sent: float) -> None:
        self._owned[thing] = _Lease(revision, sent + (1 - _MARGIN) * self._lease_s)
        self._leaving.pop(thing, None)
        self._kind.owned.set(len(self._owned))

    async def _appear(self) -> None:
        try:
            if self._is_going:  # nobody is to hear of us, and we go on hearing whether the server is there
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
        sent, handed = time.monotonic(), self._handed.get(thing)
        try:
            revision = await self._kv.update(self._key(thing), self._value_of(thing), last=lease.revision)
        except nats.js.errors.KeyWrongLastSequenceError:
            await self._regain(thing)
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("lease not renewed", thing=self._key(thing), error=repr(e))
        else:
            # Released meanwhile: our renewal then outlives us for a lease, unless the deletion came after it.
            if thing in self._owned:
                self._own(thing, revision, sent)
                self._told(thing, handed)

    def _told(self, thing: str, handed: _Handed | None) -> None:
        """handed: as it was when it was sent."""
        if handed and handed == self._handed.get(thing) and handed.since and not handed.told:
            self._handed[thing] = handed._replace(told=time.monotonic())

    async def _regain(self, thing: str) -> None:
        """Our entry is not as we left it: renewed by a try of ours that timed out, another's, or forgotten."""
        key = self._key(thing)
        sent = time.monotonic()
        try:
            entry = await self._kv.get(key)
            is_ours = decode(entry.value or b"").process == self.process
        except nats.js.errors.KeyNotFoundError as gone:
            entry, is_ours = gone.entry, False
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
            # Of unknown age: the next renewal, which is now, dates it.
            self._owned[thing] = lease._replace(revision=entry.revision)
            await self._renew_once(thing, entry.revision)
        # A server that was cut off tells of holders before us, for a while. So does a new bucket, which counts anew.
        elif (entry.revision or 0) > lease.revision or lease.doubts >= _DOUBTS:
            self._lose(thing, decode(entry.value or b""))
        else:
            self._owned[thing] = lease._replace(doubts=lease.doubts + 1)

    async def _renew_once(self, thing: str, revision: int) -> None:
        sent, handed = time.monotonic(), self._handed.get(thing)
        try:
            renewed = await self._kv.update(self._key(thing), self._value_of(thing), last=revision)
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("lease not regained", thing=self._key(thing), error=repr(e))
        else:
            if thing in self._owned:
                self._own(thing, renewed, sent)
                self._told(thing, handed)

    def _lose(self, thing: str, said: Entry) -> None:
        """said: by who has it now."""
        lease, handed = self._owned.pop(thing), self._handed.get(thing)
        self._forget(thing)
        left_s = lease.until - time.monotonic()
        what = f"another process has taken the {self._kind.thing}"
        # Where the one before has it again, or has handed it to another, it has not heard that we had begun.
        unheard = handed and not handed.told and (said.again or said.after == handed.after)
        if handed and (handed.since is None or unheard):
            self.lost[thing] = -math.inf
        elif said.after == self.process:
            self._log.info(f"{what} that was offered", **{self._kind.thing: thing})
            held_at = time.time() + left_s - self._lease_s
            self._leaving[thing] = _Leaving(time.monotonic() + _LEAVING * self._lease_s, held_at)
        # Of what was not offered nobody can, while we hold it.
        elif left_s <= 0:
            self._log.warning(f"{what}: its lease had run out", **{self._kind.thing: thing})
            self.lost[thing] = time.time() + left_s
        else:
            self._log.info(f"{what} that was offered", **{self._kind.thing: thing})
            self.lost[thing] = math.inf

    def _forget(self, thing: str) -> None:
        """It is not ours any more."""
        self._handed.pop(thing, None)
        self._again.discard(thing)
        self._offered.discard(thing)
        self._kind.owned.set(len(self._owned))

    async def _delete(self, key: str, revision: int | None) -> None:
        try:
            try:
                await self._kv.delete(key, last=revision)
            except nats.js.errors.APIError:
                # A renewal that was cut off as we stopped may have been stored: it would outlive us for a lease.
                entry = await self._kv.get(key)
                if decode(entry.value or b"").process == self.process:
                    await self._kv.delete(key, last=entry.revision)
        except (TimeoutError, nats.errors.Error) as e:  # it expires by itself
            self._log.debug("not released", key=key, error=repr(e))


async def opened(
    client: Connection, bucket: str, kind: Kind, lease_s: float, changed: asyncio.Event
) -> tuple[Mirror, Leases]:
    """A copy of the bucket, to be run, and this process's leases in it. Raises as `bind` does."""
    leased = await mirror(client, bucket, changed)
    kv = await bind(client.jetstream(timeout=_TIMEOUT * lease_s), bucket)
    return leased, Leases(client, kv, leased, process_id(), kind, lease_s)


def process_id() -> str:
    """Of this process, unlike any other's."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:32]
    return f"{host}-{os.getpid()}-{secrets.token_hex(2)}"
