"""What this process alone may work on: a lease each in a KV bucket.

    leases = Leases(client, kv, mirror, process_id(), Kind("camera", "process", gauge), settings.lease_s)
    await leases.claim("lobby")
    leases.holds("lobby")               # at this instant

Keys: `camera.<id>`, for cameras, says which process has it, `process.<id>` that a process is there. The value is the
process and its LEASE_S, as in `host-17-ab12/5`. Creating and updating by revision is arbitrated by the server, so a
thing has one holder; a holder that could not renew knows by its own clock that its lease is over, and publishes nothing
until it has regained it.

`host-17-ab12/offered/5`: the process has too many. It keeps what it offers until another has taken it, and works on it
until that one says from when on it does: were it given up first, an outage could come between. `host-18-cd34/new/5` is
that one's, `host-18-cd34/since-1764250662104/5` once it has begun, in Unix milliseconds.

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
from shared.bus.mirror import Mirror
from shared.runtime.settings import MOST_LEASE_S
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger

# In leases. A request that fails must do so while there is time for another.
RENEW = 0.3
TIMEOUT = 1 / 3
# Between our last look at the clock and the server's receipt of what we publish.
_MARGIN = 0.05
# Without an answer for so long we may be cut off. With the time between two renewals it is less than a lease: by then
# nobody seems silent to us.
_DEAF = 2 * RENEW
# How often we look whether there is a server again.
_POLL_S = 0.1
# A server that is behind its cluster is not for longer than so many renewals.
_DOUBTS = 5
# In leases: for so long we work on what another has taken, and has not begun to work on.
_LEAVING = 2.0
# Once the other one knows from when on we have it, it stores what is before that.
_STORES_S = 0.5
# In the value of what may be taken from a holder that is alive, and of what was.
_OFFERED, _NEW, _SINCE = b"offered", b"new", b"since-"


class _Lease(NamedTuple):
    """revision: of our entry. until: monotonic seconds, counted from before the request, so never too late.

    doubts: how often it was said to be another's since, by an older entry than ours.
    """

    revision: int
    until: float
    doubts: int = 0


class _Handed(NamedTuple):
    """Of what we have from who offered it. begun: when we began to work on it, in Unix milliseconds. told: when that
    was stored, in monotonic seconds. Each is None before.
    """

    begun: int | None = None
    told: float | None = None


class Kind(NamedTuple):
    """Of what is leased. thing, process: begin the keys. owned: how many this process has."""

    thing: str
    process: str
    owned: Gauge


class Leases:
    """`lost` collects what another process has taken, and until when it was ours, in Unix seconds: the end of our
    lease, or where we offered it the time from which on the other works on it, infinity where that is not known.

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
        self._value = f"{process}/{lease_s:g}".encode()
        self._owned: dict[str, _Lease] = {}
        self._offered: set[str] = set()
        self._handed: dict[str, _Handed] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._is_going = False
        # Until when we wait for others to begin, in monotonic seconds.
        self._leaving: dict[str, float] = {}
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
        lease, handed, now = self._owned.get(thing), self._handed.get(thing), time.monotonic()
        if handed and (handed.told is None or now < handed.told + _STORES_S):
            return False
        return lease is not None and now < lease.until

    def free(self, thing: str) -> bool:
        """Whether nobody seems to hold it, as far as we may judge; `claim` finds out."""
        key = self._key(thing)
        if thing in self._owned:
            return False
        # What its holder has given up is nobody's, whatever we have not heard; so is, to us, what we took unanswered.
        if self._mirror.is_deleted(key) or self._is_ours(self._mirror.values.get(key, b"")):
            return True
        # What its holder offers is its own as long as it may not have heard of an outage's end.
        return self.hears() and (not self._alive(key) or self.is_offered(thing))

    def is_anothers(self, thing: str) -> bool:
        """Whether another process has it, or had it last."""
        value = self._mirror.values.get(self._key(thing))
        return value is not None and not self._is_ours(value)

    def is_offered(self, thing: str) -> bool:
        """Whether who has it would have another take it."""
        return _OFFERED in self._said_of(thing)

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
        if {_OFFERED, _NEW} & self._said_of(thing) and thing not in self._leaving:
            self._handed[thing] = _Handed()
        sent = time.monotonic()
        try:
            revision = await self._take(thing)
        except (TimeoutError, nats.errors.Error):  # taken, or unknown: the next look will tell
            self._handed.pop(thing, None)
            return False
        self._own(thing, revision, sent)
        return True

    def begun(self, thing: str, at: float | None) -> bool:
        """We work on it since `at`, in Unix seconds; None: we can't while another does, which is to stop.

        Whether another had it until now, and is told. Later calls change nothing.
        """
        if self._handed.get(thing) != _Handed():
            return False
        if at is None:
            del self._handed[thing]
        else:
            self._handed[thing] = _Handed(int(at * 1000))
        telling = asyncio.create_task(self._renew(thing))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)
        return True

    async def offer(self, things: Iterable[str]) -> None:
        """Let other processes take these of ours, and no others."""
        before, self._offered = self._offered, set(things) & self.owned
        await asyncio.gather(*(self._renew(thing) for thing in before ^ self._offered))

    def hear(self) -> None:
        """Have `lost` tell of what was offered, and is another's now. Each is seen in `leaving` first."""
        for thing, until in list(self._leaving.items()):
            heard = self.is_anothers(thing)
            said = self._said_of(thing) if heard else set()
            begun = _begun(said)
            # Whoever does not say that it is new can't work on it while we do, or is of an older version.
            if begun or time.monotonic() > until or (heard and _NEW not in said):
                del self._leaving[thing]
                self.lost[thing] = begun or math.inf
        for thing in self._offered & self.owned:
            newer = (self._mirror.revision(self._key(thing)) or 0) > self._owned[thing].revision
            if newer and self.is_anothers(thing):
                self._lose(thing, self._said_of(thing))

    async def release(self, thing: str) -> None:
        """Let another process have it at once."""
        lease = self._owned.pop(thing, None)
        self._forget(thing)
        if lease:
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
        states = [_OFFERED] if thing in self._offered else []
        if thing in self._handed:
            begun = self._handed[thing].begun
            states.append(_NEW if begun is None else _SINCE + str(begun).encode())
        process, lease = self._value.split(b"/")
        return b"/".join([process, *states, lease])

    def _said_of(self, thing: str) -> set[bytes]:
        return _said(self._mirror.values.get(self._key(thing), b""))

    def _is_ours(self, value: bytes) -> bool:
        return value.partition(b"/")[0] == self.process.encode()

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
        return max(self._lease_s, _lease_of(self._mirror.values.get(key, b"")))

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
        if self._is_going:
            return
        try:
            await self._kv.put(self._presence, self._value)
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
        if handed and handed == self._handed.get(thing) and handed.begun and not handed.told:
            self._handed[thing] = handed._replace(told=time.monotonic())

    async def _regain(self, thing: str) -> None:
        """Our entry is not as we left it: renewed by a try of ours that timed out, another's, or forgotten."""
        key = self._key(thing)
        sent = time.monotonic()
        try:
            entry = await self._kv.get(key)
            is_ours = self._is_ours(entry.value or b"")
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
            self._lose(thing, _said(entry.value or b""))
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

    def _lose(self, thing: str, said: set[bytes]) -> None:
        """said: by who has it now."""
        lease = self._owned.pop(thing)
        self._forget(thing)
        left_s = lease.until - time.monotonic()
        what = f"another process has taken the {self._kind.thing}"
        # Of what was not offered nobody can, while we hold it.
        if left_s <= 0:
            self._log.warning(f"{what}: its lease had run out", **{self._kind.thing: thing})
            self.lost[thing] = time.time() + left_s
            return
        self._log.info(f"{what} that was offered", **{self._kind.thing: thing})
        if _NEW in said or _begun(said):
            self._leaving[thing] = time.monotonic() + _LEAVING * self._lease_s
        else:
            self.lost[thing] = math.inf

    def _forget(self, thing: str) -> None:
        """It is not ours any more."""
        self._handed.pop(thing, None)
        self._offered.discard(thing)
        self._kind.owned.set(len(self._owned))

    async def _delete(self, key: str, revision: int | None) -> None:
        try:
            try:
                await self._kv.delete(key, last=revision)
            except nats.js.errors.APIError:
                # A renewal that was cut off as we stopped may have been stored: it would outlive us for a lease.
                entry = await self._kv.get(key)
                if self._is_ours(entry.value or b""):
                    await self._kv.delete(key, last=entry.revision)
        except (TimeoutError, nats.errors.Error) as e:  # it expires by itself
            self._log.debug("not released", key=key, error=repr(e))


def process_id() -> str:
    """Of this process, unlike any other's."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:32]
    return f"{host}-{os.getpid()}-{secrets.token_hex(2)}"


def _said(value: bytes) -> set[bytes]:
    """What an entry says beside its holder and the length of its lease."""
    return set(value.split(b"/")[1:-1])


def _begun(said: set[bytes]) -> float | None:
    """Since when the holder works on it, in Unix seconds; None where it does not say so in a way that may be."""
    found = (re.fullmatch(_SINCE + rb"(\d{1,15})", s) for s in said)
    return next((int(f[1]) / 1000 for f in found if f), None)


def _lease_of(value: bytes) -> float:
    """Seconds for which the writer of an entry holds it; 0 where it does not say so in a way that may be."""
    try:
        seconds = float(value.rpartition(b"/")[2])
    except ValueError:
        return 0.0
    return seconds if 0 < seconds <= MOST_LEASE_S else 0.0
