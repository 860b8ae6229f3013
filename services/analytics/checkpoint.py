"""What a partition must not forget, in KV `analytics`: each camera's state, and from where to read on.

Keys: `camera.<partition>.<camera>`, zlib of msgpack; `settled.<partition>.<camera>`, the same of its second passes, or
empty; `position.<partition>`, JSON; `partitions`, how many there are. Each value is written over the revision that was
read. So where two processes think that they have a partition, one of them learns that it has not.
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
from nats.js.kv import KeyValue

from services.analytics import metrics
from services.analytics.partition import Partition
from services.analytics.settled.state import SettledState
from services.analytics.state import CameraState
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import names
from shared.contract.missing import check_read, kept
from shared.runtime.errors import BusError, SettingError, TidegateError, Unanswered
from shared.runtime.telemetry import logger

# This many writes are on their way at once.
PARALLEL = 32
# A state that is older is dropped: EVENTS keeps a week, and nothing can be said of what was before.
OLDEST_S = 7 * 86_400.0


# A state has at most so many bytes once it is unpacked: a few kilobytes could stand for gigabytes.
MOST_STATE = 64 * 2**20

_LAYOUT = "partitions"


S = TypeVar("S", CameraState, SettledState)


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a partition reads on. seq, verdicts: sequences in EVENTS of the next detections and the next verdicts.

    said: the sequence in EVENTS from which all is that was said after the checkpoint; 0 in those of 0.2.0.
    """

    seq: int
    verdicts: int
    said: int = 0


class Unreadable(TidegateError):
    """An entry that is no checkpoint, or is damaged."""


class Taken(Exception):
    """Another process has written the partition's checkpoint."""


def packed(state: CameraState | SettledState) -> bytes:
    """A camera's state as the bucket holds it."""
    return zlib.compress(msgspec.msgpack.encode(state), 1)


def unpacked(data: bytes, kind: type[S] = CameraState) -> S:  # type: ignore[assignment]
    """The inverse of `packed`. Raises Unreadable."""
    try:
        reader = zlib.decompressobj()
        found = reader.decompress(data, MOST_STATE)
        if not reader.eof:
            raise Unreadable(f"it is cut off, or has more than {MOST_STATE} bytes")
        return msgspec.msgpack.decode(found, type=kind)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Unreadable(str(e)) from e


def position(data: bytes) -> Position:
    """Where a partition reads on, of its entry. Raises Unreadable."""
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
        self._log = logger("checkpoint")

    async def agree(self, partitions: int) -> None:
        """Make sure that all replicas have as many partitions as the first one.

        Raises SettingError, or Unanswered.
        """
        try:
            with contextlib.suppress(nats.js.errors.KeyWrongLastSequenceError):
                await self._kv.create(_LAYOUT, str(partitions).encode())
            agreed = (await self._kv.get(_LAYOUT)).value or b""
        except (TimeoutError, nats.errors.Error) as e:
            raise Unanswered(f"no answer for bucket {names.ANALYTICS} ({e!r})") from e
        if agreed != str(partitions).encode():
            raise SettingError(
                f"ANALYTICS_PARTITIONS is {partitions}, and the checkpoints are of {agreed.decode(errors='replace')}: "
                f"give that to every replica, or stop all and purge bucket {names.ANALYTICS!r} to begin anew"
            )

    async def load(self, partition: Partition) -> bool:
        """Bring a partition to where its checkpoint is; False if there is none.

        Raises TimeoutError or nats.errors.Error.
        """
        number = partition.number
        prefix = f"$KV.{names.ANALYTICS}."
        async with Log(self._client, f"KV_{names.ANALYTICS}") as log:
            place = await log.last(f"{prefix}position.{number}")
            cameras = await log.all(f"{prefix}camera.{number}.*")
            settled = await log.all(f"{prefix}settled.{number}.*")
        # Nobody else writes them while we have the lease.
        js, stream = self._client.jetstream(), f"KV_{names.ANALYTICS}"
        entries = [*([place] if place else ()), *cameras, *settled]
        for subject in (f"{prefix}position.{number}", f"{prefix}camera.{number}.*", f"{prefix}settled.{number}.*"):
            check_read(stream, await kept(js, stream, subject), [entry.subject for entry in entries])
        self._revisions = {k: r for k, r in self._revisions.items() if not self._is_of(k, number)}
        for entry in entries:
            self._revisions[entry.subject.removeprefix(prefix)] = entry.seq
        if place is None or not place.data:
            return False
        try:
            where = position(place.data)
        except Unreadable as e:
            self._log.error("where a partition was can't be read: it begins anew", partition=number, error=str(e))
            return False
        partition.position, partition.verdicts = where.seq, where.verdicts
        partition.told = (where.said or where.seq) - 1
        for entry in cameras:
            if (state := await self._restored(entry, CameraState)) is not None:
                partition.restore(_camera_of(entry), state)
        for entry in settled:
            if (state_settled := await self._restored(entry, SettledState)) is not None:
                partition.restore_passes(_camera_of(entry), state_settled)
        return True

    async def _restored(self, entry: Stored, kind: type[S]) -> S | None:
        """The state in an entry; None where it is empty, can't be read or is too old."""
        if not entry.data:
            return None
        try:
            state = unpacked(entry.data, kind)
        except Unreadable as e:
            self._log.error(
                "a camera's checkpoint can't be read: it begins anew", camera=_camera_of(entry), error=str(e)
            )
            return None
        if time.time() - entry.time.timestamp() > OLDEST_S:
            await self._forget(entry.subject.removeprefix(f"$KV.{names.ANALYTICS}."))
            return None
        return state

    async def save(self, partition: Partition) -> None:
        """Store what has changed, and then from where to read on.

        Raises Taken if another has done so, BusError if it can't be stored now.
        """
        number = partition.number
        changed, partition.changed = sorted(partition.changed), set()
        second, partition.passes.changed = sorted(partition.passes.changed), set()
        seq = partition.first_needed()
        passes = {f"settled.{number}.{c}": self._packed_passes(partition, c) for c in second}
        entries = {f"camera.{number}.{c}": self._packed(partition, c) for c in changed}
        try:
            # A second pass is never behind the state that it was copied from.
            await self._put_all((k, data) for k, data in passes.items() if data or self._revisions.get(k))
            await self._put_all(entries.items())
            place = Position(seq=seq, verdicts=partition.verdicts, said=partition.first_untold())
            await self._put(f"position.{number}", msgspec.json.encode(place))
        except nats.js.errors.KeyWrongLastSequenceError as e:
            raise Taken(f"partition {number}") from e
        except (TimeoutError, nats.errors.Error) as e:
            partition.changed.update(changed)
            partition.passes.changed.update(second)
            raise BusError(f"the checkpoint of partition {number} can't be stored: {e!r}") from e

    def _packed(self, partition: Partition, camera: str) -> bytes:
        """A camera's state, packed.

        One that can't be written, or is too large, would keep all others from being stored: that camera is followed
        anew.
        """
        try:
            data = packed(partition.cameras[camera].state())
            if len(data) < self._client.max_payload - 1024:
                return data
            problem = f"{len(data)} bytes"
        except (msgspec.MsgspecError, OverflowError, ValueError, TypeError) as e:
            problem = repr(e)
        self._log.error("a camera's checkpoint can't be written: it is followed anew", camera=camera, problem=problem)
        partition.cameras[camera].anew(unasked=True)
        return packed(partition.cameras[camera].state())

    def _packed_passes(self, partition: Partition, camera: str) -> bytes:
        """A camera's second passes, packed; empty where there is none. Those that can't be written are given up."""
        settled = partition.passes.of(camera)
        if settled is None:
            return b""
        try:
            data = packed(settled.state())
            if len(data) < self._client.max_payload - 1024:
                return data
            problem = f"{len(data)} bytes"
        except (msgspec.MsgspecError, OverflowError, ValueError, TypeError) as e:
            problem = repr(e)
        self._log.error("a second pass can't be written: it is given up", camera=camera, problem=problem)
        metrics.PASSES.labels("failed").inc()
        partition.passes.forget(camera)
        return b""

    async def _put_all(self, entries: Iterable[tuple[str, bytes]]) -> None:
        todo = list(entries)
        for i in range(0, len(todo), PARALLEL):
            await asyncio.gather(*(self._put(key, value) for key, value in todo[i : i + PARALLEL]))

    async def _put(self, key: str, value: bytes) -> None:
        self._revisions[key] = await self._kv.update(key, value, last=self._revisions.get(key, 0))
        metrics.CHECKPOINT_BYTES.inc(len(value))

    async def _forget(self, key: str) -> None:
        """Empty a key rather than delete it: the next state is written over a revision that is known."""
        self._revisions[key] = await self._kv.update(key, b"", last=self._revisions[key])

    def _is_of(self, key: str, number: int) -> bool:
        return key == f"position.{number}" or key.startswith((f"camera.{number}.", f"settled.{number}."))


def _camera_of(entry: Stored) -> str:
    return entry.subject.rpartition(".")[2]
