"""Checkpoints in KV `analytics`: each camera's state, and the position of each partition.

Keys: `camera.<partition>.<camera>`, zlib of msgpack; `settled.<partition>.<camera>`, the same of its second passes, or
empty; `position.<partition>`, JSON; `partitions`, their number. Each write expects the revision that was read. So when
two processes believe that they own a partition, one of them finds out.

States have a budget in bytes: the largest ones are dropped first, so that the bucket never fills. If it is full anyway,
analytics goes on without checkpoints. The key of a forgotten camera expires.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections.abc import Iterable
from typing import TypeVar

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import Header
from nats.js.kv import KeyValue

from services.analytics import metrics
from services.analytics.camera.state import CameraState
from services.analytics.partitions.partition import Partition
from services.analytics.second_pass.state import SecondPassState
from shared import bus
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import names
from shared.contract.missing import check_read, stored_subjects
from shared.runtime.errors import BusError, Full, SettingError, TidegateError, Unanswered
from shared.runtime.telemetry import logger

# This many writes are in flight at a time.
PARALLEL = 32
# Older states are dropped: EVENTS keeps a week, and no event can be published about earlier times.
OLDEST_S = 7 * 86_400.0


# Maximum bytes of an unpacked state: a few compressed kilobytes could stand for gigabytes.
MOST_STATE = 64 * 2**20
# Unlisted cameras have one part in this many of a partition's budget.
UNLISTED_PART = 4
# The entry of a forgotten camera expires after this.
EXPIRES_S = 60

_LAYOUT = "partitions"
_WRONG_SEQUENCE = (10071, 10164)
# Error code: a bucket set up by an earlier version takes no entry that expires.
_NO_TTL = 10166


S = TypeVar("S", CameraState, SecondPassState)


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a partition resumes. seq, verdicts: sequences in EVENTS of the next detections and the next verdicts.

    first_event: the sequence in EVENTS of the first event published after the checkpoint; 0 in those of 0.2.0.
    """

    seq: int
    verdicts: int
    first_event: int = msgspec.field(default=0, name="said")


class Unreadable(TidegateError):
    """An entry is no checkpoint, or is damaged."""


class OwnershipLost(Exception):
    """Another process has written the partition's checkpoint."""


def packed(state: CameraState | SecondPassState) -> bytes:
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


class Checkpoints:
    """See the module."""

    def __init__(self, client: Client, kv: KeyValue) -> None:
        self._client = client
        self._kv = kv
        self._revisions: dict[str, int] = {}
        self._sizes: dict[str, int] = {}  # bytes of each state, as msgpack
        self._expiring: dict[str, float] = {}  # monotonic seconds until which the server may hold an empty entry
        self._stored: dict[int, int] = {}  # the position of each partition's checkpoint
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
                f"give that to every replica, or stop all and purge bucket {names.ANALYTICS!r} to begin anew"
            )

    async def load(self, partition: Partition) -> bool:
        """Restore a partition from its checkpoint; return False if there is none.

        Raises TimeoutError or nats.errors.Error.
        """
        number = partition.number
        prefix = f"$KV.{names.ANALYTICS}."
        async with Log(self._client, f"KV_{names.ANALYTICS}") as log:
            place = await log.last(f"{prefix}position.{number}")
            cameras = await log.all(f"{prefix}camera.{number}.*")
            second_passes = await log.all(f"{prefix}settled.{number}.*")
        # No other process writes them while we have the lease.
        js, stream = self._client.jetstream(), f"KV_{names.ANALYTICS}"
        entries = [*([place] if place else ()), *cameras, *second_passes]
        for subject in (f"{prefix}position.{number}", f"{prefix}camera.{number}.*", f"{prefix}settled.{number}.*"):
            check_read(stream, await stored_subjects(js, stream, subject), [entry.subject for entry in entries])
        self.drop(number)
        for entry in entries:
            self._revisions[key := entry.subject.removeprefix(prefix)] = entry.seq
            if "Nats-TTL" in entry.headers:
                self._expire(key)
        if place is None or not place.data:
            return False
        try:
            where = position(place.data)
        except Unreadable as e:
            self._log.error("where a partition was can't be read: it begins anew", partition=number, error=str(e))
            return False
        partition.position, partition.verdicts = where.seq, where.verdicts
        self._stored[number] = where.seq
        partition.last_published = (where.first_event or where.seq) - 1
        for entry in cameras:
            if (state := await self._restored(entry, CameraState)) is not None:
                partition.restore(_camera_of(entry), state)
        for entry in second_passes:
            if (second_state := await self._restored(entry, SecondPassState)) is not None:
                partition.restore_passes(_camera_of(entry), second_state)
        return True

    def drop(self, number: int) -> None:
        """Forget the cached revisions of a partition's entries: another process may write them."""
        self._stored.pop(number, None)
        for cache in (self._revisions, self._sizes, self._expiring):
            for key in [k for k in cache if self._is_of(k, number)]:
                del cache[key]

    async def _restored(self, entry: Stored, kind: type[S]) -> S | None:
        """Return the state in an entry; None if it is empty, can't be read or is too old."""
        if not entry.data:
            return None
        key = entry.subject.removeprefix(f"$KV.{names.ANALYTICS}.")
        try:
            data = inflated(entry.data)
            state = _decoded(data, kind)
        except Unreadable as e:
            self._log.error(
                "a camera's checkpoint can't be read: it begins anew", camera=_camera_of(entry), error=str(e)
            )
            return None
        if time.time() - entry.time.timestamp() > OLDEST_S:
            with contextlib.suppress(nats.js.errors.APIError):  # a full bucket keeps it for now
                await self._forget(key)
            return None
        self._sizes[key] = len(data)
        return state

    async def save(self, partition: Partition) -> None:
        """Store what has changed, and then the position.

        Raises OwnershipLost if another process wrote it, Full if the bucket has no room, BusError if it can't be stored
        now.
        """
        number = partition.number
        changed, partition.changed = partition.changed, set()
        second, partition.passes.changed = partition.passes.changed, set()
        seq = partition.first_needed()
        passes = {f"settled.{number}.{c}": self._packed_passes(partition, c) for c in sorted(second)}
        states = {f"camera.{number}.{c}": self._packed(partition, c) for c in sorted(changed)}
        self._fit(partition, passes, states)
        try:
            # A second pass is never behind the state that it was copied from.
            await self._put_all((k, data) for k, data in passes.items() if data or self._revisions.get(k))
            await self._put_all(states.items())
            place = Position(seq=seq, verdicts=partition.verdicts, first_event=partition.recall_start())
            await self._put(f"position.{number}", msgspec.json.encode(place))
            await self._forget_unused(partition, self._stored.get(number, 0))
        except nats.js.errors.KeyWrongLastSequenceError as e:
            raise OwnershipLost(f"partition {number}") from e
        except (TimeoutError, nats.errors.Error) as e:
            # Cameras forgotten just now have no state to store.
            partition.changed.update(c for key in states if (c := key.rpartition(".")[2]) in partition.cameras)
            partition.passes.changed.update(c for key in passes if (c := key.rpartition(".")[2]) in partition.cameras)
            kind = Full if isinstance(e, nats.js.errors.APIError) and bus.is_full(e) else BusError
            raise kind(f"the checkpoint of partition {number} can't be stored: {e!r}") from e
        self._stored[number] = seq

    def _packed(self, partition: Partition, camera: str) -> bytes:
        """Return a camera's packed state.

        A camera whose state can't be written, or is too large, starts again: otherwise no other state could be stored.
        """
        key = f"camera.{partition.number}.{camera}"
        try:
            return self._weighed(key, partition.cameras[camera].state())
        except (msgspec.MsgspecError, OverflowError, ValueError, TypeError) as e:
            self._log.error("a camera's checkpoint can't be written: it begins again", camera=camera, problem=repr(e))
        return self._restart(partition, camera)

    def _restart(self, partition: Partition, camera: str) -> bytes:
        metrics.DROPPED.labels("state").inc()
        partition.ended.append((camera, partition.cameras[camera].restart(forget_verdicts=True)))
        return self._weighed(f"camera.{partition.number}.{camera}", partition.cameras[camera].state())

    def _packed_passes(self, partition: Partition, camera: str) -> bytes:
        """Return a camera's packed second passes; empty if there are none. Those that can't be written are given up."""
        second_passes = partition.passes.of(camera)
        key = f"settled.{partition.number}.{camera}"
        if second_passes is None:
            self._sizes.pop(key, None)
            return b""
        try:
            return self._weighed(key, second_passes.state())
        except (msgspec.MsgspecError, OverflowError, ValueError, TypeError) as e:
            self._log.error("a second pass can't be written: it is given up", camera=camera, problem=repr(e))
        metrics.PASSES.labels("failed").inc()
        return self._give_up(partition, camera)

    def _give_up(self, partition: Partition, camera: str) -> bytes:
        metrics.DROPPED.labels("passes").inc()
        self._sizes.pop(f"settled.{partition.number}.{camera}", None)
        partition.passes.forget(camera)
        return b""

    def _weighed(self, key: str, state: CameraState | SecondPassState) -> bytes:
        """Return the packed state, and record its size. Raises ValueError if the server takes no message of
        that size.
        """
        data = msgspec.msgpack.encode(state)
        entry = zlib.compress(data, 1)
        if len(entry) >= self._client.max_payload - 1024:
            raise ValueError(f"{len(entry)} bytes")
        self._sizes[key] = len(data)
        return entry

    def _fit(self, partition: Partition, passes: dict[str, bytes], states: dict[str, bytes]) -> None:
        """Drop the largest of a partition's states until the others fit its budget; update the entries accordingly.

        States of unlisted cameras go first, and may use only a part of the budget.
        """
        budget = partition.budget.state_bytes
        every = [key for key in self._sizes if self._is_of(key, partition.number)]
        unlisted = {key for key in every if partition.is_unlisted(key.rpartition(".")[2])}
        for keys, most in ((unlisted, budget // UNLISTED_PART), (every, budget)):
            total = sum(self._sizes[key] for key in keys)
            for key in sorted(keys, key=lambda key: (key not in unlisted, -self._sizes[key], key)):
                if total <= most:
                    break
                total -= self._sizes[key]
                kind, _, camera = key.split(".")
                self._log.error(
                    "a camera's state is dropped: those of its partition are over their share of ANALYTICS_STATE_BYTES",
                    camera=camera,
                    kind=kind,
                    bytes=self._sizes[key],
                    share=most,
                )
                if kind == "settled":
                    passes[key] = self._give_up(partition, camera)
                    self._sizes[key] = 0
                else:
                    states[key] = self._restart(partition, camera)
                total += self._sizes[key]
        metrics.STATE_BYTES.set(sum(self._sizes.values()))

    async def _put_all(self, entries: Iterable[tuple[str, bytes]]) -> None:
        todo = list(entries)
        for i in range(0, len(todo), PARALLEL):
            await asyncio.gather(*(self._put(key, value) for key, value in todo[i : i + PARALLEL]))

    async def _put(self, key: str, value: bytes) -> None:
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

    async def _forget_unused(self, partition: Partition, before: int) -> None:
        """Forget cameras that no checkpoint needs: `before` is the position of the last one."""
        for camera in partition.unused(before):
            for key in (f"camera.{partition.number}.{camera}", f"settled.{partition.number}.{camera}"):
                if key in self._revisions and key not in self._expiring:
                    await self._forget(key)
            partition.forget(camera)
        now = time.monotonic()
        for key in [k for k, until in self._expiring.items() if until < now]:
            del self._expiring[key]
            del self._revisions[key]

    async def _forget(self, key: str) -> None:
        """Empty a key at its known revision, by an entry that expires."""
        headers = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(self._revisions[key])}
        subject = f"$KV.{names.ANALYTICS}.{key}"
        self._sizes.pop(key, None)
        try:
            ack = await self._client.jetstream().publish(subject, b"", headers=headers, msg_ttl=EXPIRES_S)
        except nats.js.errors.APIError as e:
            if e.err_code in _WRONG_SEQUENCE:
                raise nats.js.errors.KeyWrongLastSequenceError(description=e.description) from e
            if e.err_code != _NO_TTL:
                raise
            await self._put(key, b"")
            return
        self._revisions[key] = ack.seq
        self._expire(key)

    def _expire(self, key: str) -> None:
        # The server may take a while to remove what has expired.
        self._expiring[key] = time.monotonic() + 2 * EXPIRES_S

    def _is_of(self, key: str, number: int) -> bool:
        return key == f"position.{number}" or key.startswith((f"camera.{number}.", f"settled.{number}."))


def _camera_of(entry: Stored) -> str:
    return entry.subject.rpartition(".")[2]
