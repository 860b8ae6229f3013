"""The processes that share leased things: how many there are, and whether one's silence means that it is gone.

Key `<prefix>.<process>` shows that a process is present. The watchers, not the server, decide that a process is gone:
after LEASE_S without a write. An outage of the server silences all processes. So a process that could not write judges
no other until it has listened for LEASE_S again.

A session begins with the first write of that key. Each later write expects the one before it. So a session ends as soon
as another process writes the key, and its process learns of that from its next write, which begins a new session.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Sequence

import nats.errors
import nats.js.errors
from nats.js.kv import KeyValue

from shared.bus.leasing.entry import ENDED, SESSION, WITHDRAWN, Entry, decode
from shared.bus.mirror import Mirror
from shared.runtime.telemetry import logger

# In leases: the interval between renewals. The first one may take a tenth of it longer.
RENEW = 0.3
# Without an answer for this long we may be cut off. Plus the longest renewal interval it is less than a lease: by then
# no process seems silent to us.
_DEAF = 2 * RENEW
_PROCESS = re.compile("[A-Za-z0-9_-]+")


class Presence:
    """This process among the others. mirror: of the bucket `kv`. facts: what its entry says about it, such as
    `most-2`; without '/'. session: the number of its session, in which a lease has to be written to last with it; 0
    without one.
    """

    def __init__(
        self,
        kv: KeyValue,
        mirror: Mirror,
        prefix: str,
        process: str,
        lease_s: float,
        facts: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self.process = process
        self.session = 0
        self._sessions = 0
        self._revision = 0
        self._writing = asyncio.Lock()
        # The revisions with which we ended other sessions, until the mirror has them.
        self._ended: dict[str, int] = {}
        self._ending = asyncio.Lock()
        self._facts = facts
        self._kv = kv
        self._mirror = mirror
        self._prefix = f"{prefix}."
        self._key = f"{prefix}.{process}"
        self._lease_s = lease_s
        self._is_withdrawn = False
        # Monotonic seconds: our last confirmed write, and the end of the time in which we judge no other process.
        self._confirmed: float | None = None
        self._judges_from = 0.0
        # Our first appearance, by the server's clock.
        self._began: float | None = None
        self._log = logger("leases")

    def count(self) -> int:
        """Return the number of processes, this one included."""
        self._began = self._began or self._mirror.written.get(self._key)
        others = (k for k in self._mirror.values if k.startswith(self._prefix) and k != self._key)
        return 1 + sum(self.is_alive(k) and not self._was_silent(k) and self._takes_part(k) for k in others)

    def facts(self) -> dict[str, tuple[str, ...]]:
        """Return the facts in the entry of each live process, this one included once it has appeared."""
        live = {key: decode(value) for key, value in self._mirror.values.items() if self._is_present(key)}
        return {key.removeprefix(self._prefix): entry.facts for key, entry in live.items()}

    def _is_present(self, key: str) -> bool:
        if not key.startswith(self._prefix) or ENDED in decode(self._mirror.values[key]).facts:
            return False
        return key == self._key or self.is_alive(key)

    def _takes_part(self, key: str) -> bool:
        return not {ENDED, WITHDRAWN} & set(decode(self._mirror.values[key]).facts)

    def all_have_sessions(self) -> bool:
        """Whether no process is present that takes what is not renewed, and ends no session before that."""
        return all(SESSION in facts for facts in self.facts().values())

    def has_session(self, process: str) -> bool:
        """Whether that process has a session, renewed within its lease."""
        entry = self._entry(process)
        return SESSION in entry.facts and self.is_alive(self._prefix + process)

    async def end_session(self, process: str, revision: int) -> bool:
        """End the session of a silent process; return whether none remains in which it wrote `revision`.

        Raises TimeoutError or nats.errors.Error if the server does not answer.
        """
        if not _PROCESS.fullmatch(process) or process == self.process:
            return True
        key = self._prefix + process
        async with self._ending:
            entry, newest = self._entry(process), self._mirror.last_known(key)
            self._ended = {k: r for k, r in self._ended.items() if r > self._mirror.last_known(k)}
            if entry.process and SESSION not in entry.facts:  # it renews each lease
                return True
            # It may have been renewed, or the server may have been away, while another claim had the lock.
            if self.has_session(process) or not self.may_judge():
                return False
            if revision < self._ended.get(key, 0) or (SESSION not in entry.facts and revision < newest):
                return True
            value = Entry("", self._lease_s, facts=(ENDED,)).encode()
            # A recreated bucket has no entry of it.
            for last in {self._ended.get(key, newest): None, 0: None}:
                with contextlib.suppress(nats.js.errors.KeyWrongLastSequenceError):
                    self._ended[key] = await self._kv.update(key, value, last=last)
                    return True
        return False

    def may_judge(self) -> bool:
        """Whether we may judge others by their silence: it is not that of the server or the network."""
        now = time.monotonic()
        return self._confirmed is not None and self._is_heard(now) and now >= self._judges_from

    def is_alive(self, key: str) -> bool:
        """Whether the writer of `key` has written it within its lease."""
        seen = self._mirror.seen.get(key)
        return seen is not None and time.monotonic() - seen < self._longest_s(key)

    async def appear(self) -> float | None:
        """Store that this process is present, unless it has withdrawn; return when that was sent, in monotonic seconds;
        None without an answer.
        """
        async with self._writing:
            sent = time.monotonic()
            try:
                if self._is_withdrawn:  # we stay absent, and the delete checks the server
                    await self._kv.delete(self._key)
                else:
                    await self._write()
            except (TimeoutError, nats.errors.Error) as e:
                self._log.debug("presence not stored", error=repr(e))
                return None
        self._confirm()
        return sent

    async def _write(self) -> None:
        """Renew the session, or begin a new one."""
        value = Entry(self.process, self._lease_s, facts=tuple(self._facts())).encode()
        if self._revision:
            with contextlib.suppress(nats.js.errors.KeyWrongLastSequenceError):
                self._revision = await self._kv.update(self._key, value, last=self._revision)
                return
            self._end()
        self._revision = await self._kv.put(self._key, value)
        self._begin()

    def _begin(self) -> None:
        self._sessions += 1
        self.session = self._sessions

    def _end(self) -> None:
        self.session = self._revision = 0
        # A recreated bucket, which has no entry of ours, has other revisions.
        self._ended.clear()

    def _entry(self, process: str) -> Entry:
        return decode(self._mirror.values.get(self._prefix + process, b""))

    def _confirm(self) -> None:
        now = time.monotonic()
        if self._confirmed is not None and not self._is_heard(now):
            self._log.info("the server was away: what others hold is theirs for a lease", lease_s=self._lease_s)
            self._judges_from = now + self._lease_s
            # A process of a version without sessions, which we have not heard, may have taken what we held: each lease
            # is written once by itself.
            if self.session:
                self._begin()
        self._confirmed = now

    async def withdraw(self) -> None:
        """Be absent from now on: others may take all that we offer, and all that is not renewed."""
        self._is_withdrawn = True
        # A write that is under way may begin a session.
        async with self._writing:
            self._end()
            await self.delete(self._key, None)

    async def delete(self, key: str, revision: int | None) -> None:
        """Delete an entry of this process."""
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

    def _is_heard(self, now: float) -> bool:
        return self._confirmed is not None and now - self._confirmed <= _DEAF * self._lease_s

    def _was_silent(self, key: str) -> bool:
        """Whether it had been silent for a lease at our first appearance. After an outage live processes seem so too,
        until they renew. This suffices to share free things, not to take another's.
        """
        return self._began is not None and self._began - self._mirror.written[key] > self._longest_s(key)

    def _longest_s(self, key: str) -> float:
        """Return how long its writer may be silent."""
        return max(self._lease_s, decode(self._mirror.values.get(key, b"")).lease_s)
