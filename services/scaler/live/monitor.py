"""A policy's observations of one consumer and its workers, including those of an earlier scaler.

    monitor = ConsumerMonitor(reader, heartbeats, HistoryStore(client, key))
    monitor.listeners.add(listener)      # after every reply, error, or first message
    monitor.latest                       # this scaler's newest observation; None before the first
    monitor.observations                 # those of the last hour, for replay in a new policy

The history is stored in the bucket `scaler`. So when one of two scalers goes, the other has its data, even if KEDA
never queried it; and a changed setting starts with the hour before it.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from contextlib import suppress

import nats.errors
from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from services.scaler.consumers.combined import DeferredReader, Reader
from services.scaler.consumers.counts import ConsumerState
from services.scaler.consumers.listeners import Listeners
from services.scaler.demand.observation import Observation
from services.scaler.live.heartbeats import Heartbeats
from services.scaler.live.history import MOST, History, Unreadable, unpacked
from shared.bus.infos import Missing, Unavailable
from shared.bus.mirror import bind
from shared.contract import names
from shared.contract.work import stats
from shared.runtime.errors import BusError
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger

# The maximum loss if a scaler is killed.
STORE_S = 10.0
TIMEOUT_S = 2.0
# After this time, every worker has sent a heartbeat.
LISTEN_S = 1.5 * stats.INTERVAL_S
RETRY_S = 0.5
# The tries to load the history before the monitor starts without it.
TRIES = 2

# nats-py's JetStream errors are NATS errors too.
_FAILURES = (BusError, TimeoutError, nats.errors.Error, OSError)

log = logger("scaler")


class HistoryStore:
    """The stored history of one consumer's service in the bucket."""

    def __init__(self, client: Client, service: str, *of: str) -> None:
        """of: the other parts that identify its history."""
        digest = hashlib.sha256("/".join(of).encode()).hexdigest()[:16]
        self._client = client
        self._key = f"{service}.{digest}"
        self._bound: KeyValue | None = None

    async def load(self) -> list[Observation]:
        """Return the stored observations, if any.

        Raises Unreadable, BusError without such a bucket, TimeoutError or nats.errors.Error.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                entry = await (await self._bucket()).get(self._key)
        except KeyNotFoundError:
            return []
        return unpacked(entry.value or b"", time.monotonic(), time.time())

    async def store(self, history: History) -> None:
        """Store the history. Raises as `load`."""
        data = history.packed(time.monotonic(), time.time())
        async with asyncio.timeout(TIMEOUT_S):
            await (await self._bucket()).put(self._key, data)

    async def _bucket(self) -> KeyValue:
        if self._bound is None:
            self._bound = await bind(self._client.jetstream(), names.SCALER)
        return self._bound


class ConsumerMonitor:
    """See the module. store: None to store nothing beyond this process."""

    def __init__(self, reader: Reader, heartbeats: Heartbeats, store: HistoryStore | None) -> None:
        self.listeners = Listeners()
        self.reader = reader
        self.heartbeats = heartbeats
        self.latest: Observation | None = None
        self._deferred: DeferredReader | None = None
        # Set once the stored history is loaded, or given up.
        self.ready = asyncio.Event()
        self._listen_until = -math.inf
        # None until the stored history is loaded.
        self._history_store: HistoryStore | None = None
        self._failed = False
        self._history = History(most=MOST if store else 1)
        self._task: asyncio.Task[None] | None = None
        if store:
            self._task = asyncio.create_task(self._persist(store), name=f"history of {reader.consumer}")
        else:
            self.ready.set()
        reader.listeners.add(self._read)

    @property
    def observations(self) -> list[Observation]:
        """The observations of the last hour, the oldest first."""
        return self._history.observations

    @property
    def problem(self) -> str:
        """Why the deferred segments are unknown, if they are followed."""
        return self._deferred.problem if self._deferred else ""

    def follow(self, deferred: DeferredReader) -> None:
        """Observe the deferred segments, too, from now on."""
        if self._deferred is None:
            self._deferred = deferred
            deferred.open()

    async def close(self) -> None:
        self.reader.listeners.discard(self._read)
        if self._deferred:
            self._deferred.close()
        await end(self._task)
        if self._history_store and self.latest:
            await self._store(self._history_store)

    def _read(self) -> None:
        if self.ready.is_set() and time.monotonic() >= self._listen_until:
            with suppress(Missing, Unavailable):
                self._observe(self.reader.state())
        self.listeners.notify(consumer=self.reader.consumer, stream=self.reader.stream)

    def _observe(self, state: ConsumerState) -> None:
        latest = self.latest
        if latest and state.at <= latest.time:
            return
        self.latest = Observation(
            time=state.at,
            arrived=state.arrived,
            pending=state.pending,
            in_flight=state.in_flight,
            fleet=self.heartbeats.fleet(time.monotonic()),
            deferred=self._deferred.latest if self._deferred else None,
            # This scaler's sums start with its first observation.
            is_new_observer=latest is None,
        )
        self._history.add(self.latest)

    async def _persist(self, store: HistoryStore) -> None:
        """Continue the stored history, and store new observations. An unreadable bucket is not overwritten."""
        tries = 0
        while not await self._load(store):
            # Count a try only if there is a state: otherwise no request waits for it.
            tries += self._is_readable()
            if tries >= TRIES:
                self.ready.set()
            await asyncio.sleep(STORE_S if self.ready.is_set() else RETRY_S)
        self._history_store = store
        self.ready.set()
        await asyncio.sleep(max(0.0, self._listen_until - time.monotonic()))
        self._read()
        while True:
            await asyncio.sleep(STORE_S)
            await self._store(store)

    async def _load(self, store: HistoryStore) -> bool:
        try:
            before = await store.load()
        except Unreadable as e:
            log.warning("the stored history can't be read: this scaler starts without it", error=str(e))
            before = []
        except _FAILURES as e:
            self._say(str(e) or repr(e))
            return False
        ours = self._history.observations
        # After a late load, our own observations come after the stored ones.
        self._history = History([*(o for o in before if not ours or o.time < ours[0].time), *ours])
        if not ours and any(o.fleet for o in before):
            # Workers without a heartbeat yet are not gone.
            self._listen_until = time.monotonic() + LISTEN_S
        self._say("")
        return True

    async def _store(self, store: HistoryStore) -> None:
        try:
            await store.store(self._history)
            self._say("")
        except _FAILURES as e:
            self._say(str(e) or repr(e))

    def _say(self, problem: str) -> None:
        """Log when the history can no longer be stored, and when it can again."""
        if bool(problem) == self._failed:
            return
        self._failed = bool(problem)
        if problem:
            log.warning(
                "the history can't be stored: a scaler that takes over starts without it",
                bucket=names.SCALER,
                error=problem,
            )
        else:
            log.info("the history is stored again", bucket=names.SCALER)

    def _is_readable(self) -> bool:
        try:
            self.reader.state()
        except (Missing, Unavailable):
            return False
        return True
