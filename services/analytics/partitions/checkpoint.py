"""Checkpoints in KV `analytics`: each camera's state, and the position of each partition.

Keys: `camera.<partition>.<camera>`, zlib of msgpack; `<kind>.<partition>.<camera>`, the same of an extension, or empty;
`position.<partition>`, JSON; `partitions`, their number.

States have a budget in bytes: the largest ones are dropped first, so that the bucket never fills. If it is full anyway,
analytics goes on without checkpoints.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from itertools import chain
from typing import Any, TypeAlias, TypeVar

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.kv import KeyValue

from services.analytics import metrics
from services.analytics.camera.state import CameraState
from services.analytics.partitions.entries import SUBJECT, Entries, is_of
from services.analytics.partitions.extension import Extension
from services.analytics.partitions.partition import Partition, Position, camera_of
from shared import bus
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import names
from shared.contract.reading.missing import check_read, stored_subjects
from shared.runtime.errors import BusError, Full, SettingError, TidegateError, Unanswered
from shared.runtime.telemetry import logger

# Older states are dropped: EVENTS keeps a week, and no event can be published about earlier times.
OLDEST_S = 7 * 86_400.0
# Maximum bytes of an unpacked state: a few compressed kilobytes could stand for gigabytes.
MOST_STATE = 64 * 2**20
# Unlisted cameras have one part in this many of a partition's budget.
UNLISTED_PART = 4
_LAYOUT = "partitions"

S = TypeVar("S")


class Unreadable(TidegateError):
    """An entry is no checkpoint, or is damaged."""


class OwnershipLost(Exception):
    """Another process has written the partition's checkpoint."""


def packed(state: Any) -> bytes:
    """Return a camera's state as the bucket stores it."""
    return zlib.compress(msgspec.msgpack.encode(state), 1)


def inflated(data: bytes) -> bytes:
    """Return the msgpack of a `packed` state. Raises Unreadable."""
    try:
        reader = zlib.decompressobj()
        found = reader.decompress(data, MOST_STATE)
    except zlib.error as e:
        raise Unreadable(str(e)) from e
    if not reader.eof:
        raise Unreadable(f"it is cut off, or has more than {MOST_STATE} bytes")
    return found


def unpacked(data: bytes, kind: type[S] = CameraState) -> S:  # type: ignore[assignment]
    """The inverse of `packed`. Raises Unreadable."""
    return _decoded(inflated(data), kind)


def _decoded(data: bytes, kind: type[S]) -> S:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Unreadable(str(e)) from e


def position(data: bytes) -> Position:
    """Return the position in a partition's entry. Raises Unreadable."""
    try:
        return msgspec.json.decode(data, type=Position)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Unreadable(str(e)) from e


# What has states to store.
CameraStates: TypeAlias = Partition | Extension


def _states(partition: Partition) -> list[CameraStates]:
    """Return what has states to store, the cameras themselves first."""
    return [partition, partition.extension] if partition.extension.kind else [partition]


class Checkpoints:
    """See the module."""

    def __init__(self, client: Client, kv: KeyValue) -> None:
        self.entries = Entries(client, kv)
        self._client = client
        self._kv = kv
        self._sizes: dict[str, int] = {}  # bytes of each state, as msgpack
        self._stored: dict[int, Position] = {}  # of each partition's checkpoint
        self._log = logger("checkpoint")

    async def agree(self, partitions: int) -> None:
        """Make sure that all replicas have the same number of partitions as the first one.

        Raises SettingError, or Unanswered.
        """
        try:
            with contextlib.suppress(nats.js.errors.KeyWrongLastSequenceError):
                await self._kv.create(_LAYOUT, str(partitions).encode())
            layout = (await self._kv.get(_LAYOUT)).value or b""
        except (TimeoutError, nats.errors.Error) as e:
            raise Unanswered(f"no answer for bucket {names.ANALYTICS} ({e!r})") from e
        if layout != str(partitions).encode():
            raise SettingError(
                f"ANALYTICS_PARTITIONS is {partitions}, and the checkpoints are of {layout.decode(errors='replace')}: "
                f"give that to every replica, or stop all and purge bucket {names.ANALYTICS!r} to start again"
            )

    async def load(self, partition: Partition) -> bool:
        """Restore a partition from its checkpoint; return False if there is none.

        Raises TimeoutError or nats.errors.Error.
        """
        number, every = partition.number, _states(partition)
        subjects = [f"{SUBJECT}{states.kind}.{number}.*" for states in every]
        async with Log(self._client, f"KV_{names.ANALYTICS}") as log:
            place = await log.last(f"{SUBJECT}position.{number}")
            stored = [await log.all(subject) for subject in subjects]
        # No other process writes them while we have the lease.
        js, stream = self._client.jetstream(), f"KV_{names.ANALYTICS}"
        entries = [*([place] if place else ()), *chain(*stored)]
        for subject in (f"{SUBJECT}position.{number}", *subjects):
            check_read(stream, await stored_subjects(js, stream, subject), [entry.subject for entry in entries])
        self.drop(number)
        for entry in entries:
            self.entries.note(entry)
        if place is None or not place.data:
            return False
        try:
            where = position(place.data)
        except Unreadable as e:
            self._log.error("where a partition was can't be read: it starts again", partition=number, error=str(e))
            return False
        partition.position, partition.verdicts = where.seq, where.verdicts
        self._stored[number] = where
        partition.last_published = (where.first_event or where.seq) - 1
        for states, of_cameras in zip(every, stored, strict=True):
            for entry in of_cameras:
                if (state := await self._restored(entry, states.state_type)) is not None:
                    states.restore(camera_of(entry.subject), state)
        return True

    def drop(self, number: int) -> None:
        """Forget the cached revisions of a partition's entries: another process may write them."""
        self._stored.pop(number, None)
        self._sizes = {key: size for key, size in self._sizes.items() if not is_of(key, number)}
        self.entries.drop(number)

    async def _restored(self, entry: Stored, kind: type[S]) -> S | None:
        """Return the state in an entry; None if it is empty, can't be read or is too old."""
        if not entry.data:
            return None
        key = entry.subject.removeprefix(SUBJECT)
        try:
            data = inflated(entry.data)
            state = _decoded(data, kind)
        except Unreadable as e:
            self._log.error("a camera's checkpoint can't be read: it starts again", camera=camera_of(key), error=str(e))
            return None
        if time.time() - entry.time.timestamp() > OLDEST_S:
            with contextlib.suppress(nats.js.errors.APIError):  # a full bucket keeps it for now
                await self.entries.empty(key)
            return None
        self._sizes[key] = len(data)
        return state

    async def save(self, partition: Partition) -> None:
        """Store what has changed, and then the position.

        Raises OwnershipLost if another process wrote it, Full if the bucket has no room, BusError if it can't be stored
        now.
        """
        number = partition.number
        before, place = self._stored.get(number), partition.resume_at()
        # An extension's state is never behind the state that it was copied from, so it is stored first.
        states = _states(partition)[::-1]
        taken = [(one, one.changed) for one in states]
        for one in states:
            one.changed = set()
        entries = {
            one.kind: {f"{one.kind}.{number}.{c}": self._packed(number, one, c) for c in sorted(changed)}
            for one, changed in taken
        }
        self._fit(partition, entries)
        try:
            for of_kind in entries.values():
                await self.entries.put_all((key, data) for key, data in of_kind.items() if data or key in self.entries)
            if place != before:
                await self.entries.put(f"position.{number}", msgspec.json.encode(place))
            await self._forget_unused(partition, before.seq if before else 0)
        except nats.js.errors.KeyWrongLastSequenceError as e:
            raise OwnershipLost(f"partition {number}") from e
        except (TimeoutError, nats.errors.Error) as e:
            for one in states:
                # Cameras forgotten just now have no state to store.
                one.changed.update(c for key in entries[one.kind] if (c := camera_of(key)) in partition.cameras)
            kind = Full if isinstance(e, nats.js.errors.APIError) and bus.is_full(e) else BusError
            raise kind(f"the checkpoint of partition {number} can't be stored: {e!r}") from e
        self._stored[number] = place

    def _packed(self, number: int, states: CameraStates, camera: str) -> bytes:
        """Return a camera's packed state; empty if there is none.

        A state that can't be written, or is too large, begins again: otherwise no other state could be stored.
        """
        try:
            return self._weighed(number, states, camera)
        except (msgspec.MsgspecError, OverflowError, ValueError, TypeError) as e:
            return self._restart(number, states, camera, e)

    def _restart(self, number: int, states: CameraStates, camera: str, problem: Exception | None = None) -> bytes:
        states.restart(camera, problem)
        return self._weighed(number, states, camera)

    def _weighed(self, number: int, states: CameraStates, camera: str) -> bytes:
        """Return the packed state, and record its size. Raises ValueError if the server takes no message of
        that size.
        """
        key = f"{states.kind}.{number}.{camera}"
        state = states.state(camera)
        if state is None:
            self._sizes.pop(key, None)
            return b""
        data = msgspec.msgpack.encode(state)
        entry = zlib.compress(data, 1)
        if len(entry) >= self._client.max_payload - 1024:
            raise ValueError(f"its state takes {len(entry)} bytes, over max_payload")
        self._sizes[key] = len(data)
        return entry

    def _fit(self, partition: Partition, entries: dict[str, dict[str, bytes]]) -> None:
        """Drop the largest of a partition's states until the others fit its budget; update the entries accordingly.

        States of unlisted cameras go first, and may use only a part of the budget.
        """
        number, budget = partition.number, partition.budget.state_bytes
        states = {one.kind: one for one in _states(partition)}

        def is_unlisted(key: str) -> bool:
            return camera_of(key) in partition.unlisted

        for which, most in ((is_unlisted, budget // UNLISTED_PART), (lambda key: True, budget)):
            sizes = {key: size for key, size in self._sizes.items() if is_of(key, number) and which(key)}
            total = sum(sizes.values())
            for key in sorted(sizes, key=lambda key: (not is_unlisted(key), -sizes[key], key)):
                if total <= most:
                    break
                kind, _, camera = key.split(".")
                self._log.error(
                    "a camera's state is dropped: those of its partition are over their share of ANALYTICS_STATE_BYTES",
                    camera=camera,
                    kind=kind,
                    bytes=sizes[key],
                    share=most,
                )
                entries[kind][key] = self._restart(number, states[kind], camera)
                total += self._sizes.get(key, 0) - sizes[key]
        metrics.STATE_BYTES.set(sum(self._sizes.values()))

    async def _forget_unused(self, partition: Partition, before: int) -> None:
        """Forget cameras that no checkpoint needs: `before` is the position of the last one."""
        for camera in partition.unused(before):
            for states in _states(partition):
                if (key := f"{states.kind}.{partition.number}.{camera}") in self.entries:
                    self._sizes.pop(key, None)
                    await self.entries.empty(key)
            partition.forget(camera)
        self.entries.forget_expired()
