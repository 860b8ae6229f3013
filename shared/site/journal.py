"""Applies a plan as a whole: a crash leaves the old state, or a journal that the next process completes.

1. The key `apply` of the bucket `site` is the lock. Its holder renews it.
2. The holder writes each change to `site`, and then marks the lock as committed.
3. It writes the changes to their buckets, and then erases them from `site`, since they include passwords.

The webhook comes last, in one write of its own. The console's admins may read and write `site`, but not the webhook.

A process that finds a lock which is not renewed takes it over. It completes committed changes, and drops others.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

import msgspec
from nats.js import JetStreamContext
from nats.js.errors import APIError, BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from shared.client import registry, secret_entries
from shared.contract import names
from shared.contract.reading.entries import entries_with_revisions
from shared.contract.reading.missing import read_entry
from shared.runtime.errors import BusError
from shared.site.plan import Write
from shared.site.state import State

Tell = Callable[[str], None]

LOCK = "apply"
_CHANGE = "change."
# A lock that is not renewed for this long is of a dead process. Its holder stops earlier.
LEASE_S = 15.0
_HOLD_S = 10.0
_RENEW_S = 1.0
_POLL_S = 0.2
# The server's error code for a key that another has written since.
_WRONG_SEQUENCE = 10071
# Writes in flight.
_MOST_IN_FLIGHT = 32
# New values come before the camera that needs them; a camera goes before its values.
# Only these are journaled: a process that completes a journal lends its rights to the author of the journal.
_ORDER = (names.CREDENTIALS, names.RECORDINGS, names.RULES, names.CAMERAS)
_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")

_LOST = "this process did not answer for too long, and another may complete its changes: run the command again"


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """by: the person and the host. phase: whether all changes are written. count: of changes. renewed: how often."""

    by: str
    phase: Literal["preparing", "committed"] = "preparing"
    count: int = 0
    renewed: int = 0


class Moved(BusError):
    """The site changed after its plan was shown."""


class Journal:
    """The lock, and the changes of its holder."""

    def __init__(self, js: JetStreamContext, bucket: KeyValue, lock: Lock, revision: int) -> None:
        self._js = js
        self._bucket = bucket
        self._lock = lock
        self._revision = revision
        self._renewed_at = time.monotonic()
        # What happened to an interrupted apply, a line each.
        self.notes: list[str] = []

    async def apply(self, writes: Iterable[Write], tell: Tell = lambda _: None) -> None:
        """Write all changes. Raises BusError if another process took the lock over before they were committed."""
        ordered = in_order(writes)
        journaled = [write for write in ordered if write.bucket in _ORDER]
        for n, write in enumerate(journaled):
            await self._js.publish(_subject(n), msgspec.json.encode(write))
            await self._renew()
        await self._update(phase="committed", count=len(journaled))
        left = await self._write_unchanged(ordered, tell)
        self.notes += [f"{entry} was changed meanwhile, and stays" for entry in left]
        await self.erase()

    async def complete(self, tell: Tell) -> list[str]:
        """Complete the committed changes of a dead process. Return a line for each that is not made."""
        writes, notes = await _stored_writes(self._js, self._lock)
        left = await self._write_unchanged(writes, tell)
        return [*notes, *(f"{entry} was changed since, and stays" for entry in left)]

    async def erase(self) -> None:
        """Overwrite the changes on disk, and release the lock."""
        stored = await entries_with_revisions(self._js, names.SITE)
        for key, entry in stored.items():
            if key.startswith(_CHANGE):
                with contextlib.suppress(NotFoundError):
                    await self._js.delete_msg(f"KV_{names.SITE}", entry.revision)
                await self._renew()
        try:
            await self._bucket.delete(LOCK, last=self._revision)
        except APIError as e:  # nats-py gives this error no class of its own
            if e.err_code != _WRONG_SEQUENCE:
                raise

    async def _write_unchanged(self, writes: Sequence[Write], tell: Tell) -> list[str]:
        """Write all entries but those that others have changed since the plan; return these."""
        left: list[str] = []

        async def put_held(write: Write) -> None:
            self._check_held()
            if not await _put_unchanged(self._js, write):
                left.append(f"{write.bucket} {write.key}")

        for begin in range(0, len(writes), _MOST_IN_FLIGHT):
            part = writes[begin : begin + _MOST_IN_FLIGHT]
            tell(f"writing {begin + len(part)} of {len(writes)}")
            for _, alike in groupby(part, key=lambda write: (write.bucket, write.value is None)):
                await asyncio.gather(*map(put_held, alike))
            await self._renew()
        return sorted(left)

    def _check_held(self) -> None:
        """Raise BusError if the lock may be another's by now."""
        if time.monotonic() - self._renewed_at > _HOLD_S:
            raise BusError(_LOST)

    async def _renew(self) -> None:
        if time.monotonic() - self._renewed_at > _RENEW_S:
            await self._update(renewed=self._lock.renewed + 1)

    async def _update(self, **fields: object) -> None:
        new = msgspec.structs.replace(self._lock, **fields)
        try:
            self._revision = await self._bucket.update(LOCK, msgspec.json.encode(new), last=self._revision)
        except KeyWrongLastSequenceError as e:
            raise BusError(_LOST) from e
        self._lock, self._renewed_at = new, time.monotonic()


def in_order(writes: Iterable[Write]) -> list[Write]:
    """Return new values first, those of cameras last; then removals, those of cameras first; then the webhook's."""
    rank = {bucket: n for n, bucket in enumerate(_ORDER)}

    def place(write: Write) -> tuple[int, int]:
        if write.bucket not in rank:
            return 2, 0
        return (0, rank[write.bucket]) if write.value is not None else (1, -rank[write.bucket])

    return sorted(writes, key=place)


@contextlib.asynccontextmanager
async def locked(js: JetStreamContext, by: str, tell: Tell) -> AsyncIterator[Journal]:
    """Hold the lock for the block, after the changes of a dead process are completed. Raises BusError.

    tell: gets progress.
    """
    journal = await _acquired(js, by, tell)
    try:
        yield journal
    except BaseException:
        # Committed changes are for the next process.
        if journal._lock.phase == "preparing":
            await journal.erase()
        raise
    if journal._lock.phase == "preparing":
        await journal.erase()


async def recover(js: JetStreamContext, by: str, tell: Tell = lambda _: None) -> list[str]:
    """Complete an interrupted apply, or wait for a running one; return a line for each change. Raises BusError."""
    if await pending(js) is None:
        return []
    async with locked(js, by, tell) as journal:
        return journal.notes


async def pending(js: JetStreamContext) -> Lock | None:
    """Return the lock of an apply that runs, or that was interrupted; None if there is none."""
    found = await _lock(js, await _bucket(js))
    return found.lock if found else None


class _Found(NamedTuple):
    lock: Lock
    revision: int


async def _acquired(js: JetStreamContext, by: str, tell: Tell) -> Journal:
    bucket = await _bucket(js)
    notes: list[str] = []
    while True:
        found = await _lock(js, bucket)
        try:
            if found is None:
                lock = Lock(by=by)
                journal = Journal(js, bucket, lock, await bucket.create(LOCK, msgspec.json.encode(lock)))
                journal.notes += notes
                return journal
            if not await _is_dead(js, bucket, found, tell):
                continue
            lock = msgspec.structs.replace(found.lock, by=by)
            revision = await bucket.update(LOCK, msgspec.json.encode(lock), last=found.revision)
        except KeyWrongLastSequenceError:
            continue
        journal = Journal(js, bucket, lock, revision)
        if lock.phase == "committed":
            left = await journal.complete(tell)
            notes += [f"the interrupted changes of {found.lock.by} are complete", *left]
        await journal.erase()


async def _stored_writes(js: JetStreamContext, lock: Lock) -> tuple[list[Write], list[str]]:
    """Return (the committed changes, a line for each that is not made): their author may have fewer rights."""
    stored = await entries_with_revisions(js, names.SITE)
    places = (key.removeprefix(_CHANGE) for key in stored if key.startswith(_CHANGE))
    writes: list[Write] = []
    notes: list[str] = []
    for n in sorted(int(place) for place in places if re.fullmatch("[0-9]{1,9}", place)):
        if n >= lock.count:
            break
        try:
            write = msgspec.json.decode(stored[f"{_CHANGE}{n}"].value, type=Write)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            notes.append(f"its change {n} can't be read, and is left out")
            continue
        if write.bucket in _ORDER and _KEY.fullmatch(write.key):
            writes.append(write)
        else:
            notes.append(f"{write.bucket} {write.key} is nothing that a journal changes, and stays")
    return writes, notes


async def _is_dead(js: JetStreamContext, bucket: KeyValue, found: _Found, tell: Tell) -> bool:
    """Wait until the lock is released, renewed or not renewed for LEASE_S; return whether its holder is dead."""
    since = time.monotonic()
    while (waited := time.monotonic() - since) < LEASE_S:
        now = await _lock(js, bucket)
        if now is None or now.revision != found.revision:
            return False
        tell(f"waiting for {found.lock.by}, who applies a site file: {waited:.0f} s")
        await asyncio.sleep(_POLL_S)
    return True


async def _lock(js: JetStreamContext, bucket: KeyValue) -> _Found | None:
    try:
        entry = await read_entry(js, bucket, names.SITE, LOCK)
    except KeyNotFoundError:
        return None
    try:
        return _Found(msgspec.json.decode(entry.value or b"", type=Lock), entry.revision or 0)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise BusError(f"the lock in bucket {names.SITE} can't be read ({e}): delete its key {LOCK!r}") from e


async def _put(js: JetStreamContext, write: Write) -> None:
    if write.bucket in secret_entries.BUCKETS:
        await secret_entries.write(js, write.bucket, write.key, write.value)
    elif write.value is not None:
        await (await js.key_value(write.bucket)).put(write.key, write.value)
    elif write.bucket == names.CAMERAS:
        with contextlib.suppress(registry.NoCamera):
            await registry.remove(js, write.key)
    else:
        await (await js.key_value(write.bucket)).delete(write.key)


async def _put_unchanged(js: JetStreamContext, write: Write) -> bool:
    """Write an entry that has its former revision; return False if it has another, and another value."""
    try:
        entry = await read_entry(js, await js.key_value(write.bucket), write.bucket, write.key)
        value, revision = entry.value, entry.revision or 0
    except KeyNotFoundError:
        value, revision = None, 0
    if value == write.value:
        return True
    # A secret is erased before the new one is written: the dead process may have come so far.
    erased = write.bucket in secret_entries.BUCKETS and value is None
    if revision != write.before and not erased:
        return False
    await _put(js, write)
    return True


def _subject(n: int) -> str:
    return f"$KV.{names.SITE}.{_CHANGE}{n}"


async def _bucket(js: JetStreamContext) -> KeyValue:
    try:
        return await js.key_value(names.SITE)
    except (BucketNotFoundError, NotFoundError) as e:
        raise BusError(f"bucket {names.SITE} is missing: run 'tidegate setup'") from e


def check_unmoved(shown: State, now: State) -> None:
    """Raise Moved if the site changed after `shown` was read."""
    if shown.revisions != now.revisions or shown.readers != now.readers:
        raise Moved("somebody changed the site meanwhile: 'tidegate diff' shows the changes that are left")
