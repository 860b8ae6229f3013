"""Indexes EVENTS: in batches, acknowledged once they are on disk, and never twice.

A written event that was not acknowledged comes again, and the index drops it by its id. If the index can't be written,
its disk full for instance, writes are retried until it can: `/readyz` says so, and no event is given up.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from nats.aio.client import Client
from nats.js.api import ConsumerInfo

from services.search import chunk, metrics
from services.search.index import Index
from services.search.retention import Retention
from services.search.rows import IndexedEvent, LabelRow, Row, VectorRow, read_event
from services.search.settings import SearchSettings
from shared import bus
from shared.bus.pull import Puller
from shared.contract import names
from shared.runtime.backoff import Backoff
from shared.runtime.errors import BadMessage, BusError
from shared.runtime.redact import redact
from shared.runtime.tasks import supervise, unless
from shared.runtime.telemetry import Health, logger
from shared.runtime.ticks import tick
from shared.service.process import beat
from shared.worker.drain import drain
from shared.worker.in_flight import Delivery, InFlight, Source

CONSUMER = "search"
# How soon a recreated consumer is noticed.
CONSUMER_CHECK_S = 5.0
WRITES = Backoff(first_s=1.0, longest_s=30.0, jitter=0.0)
MOST_BYTES = 64 * 1024 * 1024
# Upper bound of a row's bytes on disk, without its vector.
ROW_BYTES = 2048
# An event that fails this often alone, while others of its size can be written, is at fault.
BLAMED_AFTER = 3
LONGEST_REASON = 500
# The most models with vectors in the index, each dimension counted. Each has a table with indexes of its own, even for
# one row.
MOST_MODELS = 32
# A row further ahead of our clock has a wrong time. It would outlive all correct rows.
MOST_AHEAD_S = 24 * 3600.0
LOST = (
    "the index, or a table of it, is gone: what was seen before may not be found. 'tidegate up' builds it again from "
    "EVENTS by itself; elsewhere run 'tidegate reindex'"
)


class ToIndex(NamedTuple):
    """An event in flight, and its rows for the index."""

    delivery: Delivery
    event: IndexedEvent


class Writer:
    """Writes to the index in a thread of its own.

    While the index can't be written it retries, and `/readyz` says so.
    """

    def __init__(self, index: Index, where: str, health: Health) -> None:
        self._index = index
        self._where = where
        self._health = health
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._log = logger("search")

    def close(self) -> None:
        self._thread.shutdown(wait=False)

    async def write(self, change: Callable[[], None]) -> None:
        """Run `change()`, and retry until it succeeds."""
        tries = 0
        while error := await self._try(change):
            tries += 1
            await self._wait(tries, error)

    async def add(self, events: Sequence[IndexedEvent]) -> Exception | None:
        """Add the rows of events; return the error if they fail though the index accepts other data."""
        size = sum(ROW_BYTES + len(r.vector if isinstance(r, VectorRow) else b"") for e in events for r in e.rows)
        waits = 0
        while error := await self._try(lambda: self._add(events)):
            if not await self._is_writable(size):
                waits += 1
                await self._wait(waits, error)
            else:
                return error
        return None

    def _add(self, events: Sequence[IndexedEvent]) -> None:
        """Add rows. A revision's rows win, in whatever order and however often it and its first event come."""
        started = time.perf_counter()
        indexed = [event for event in events if event.first]
        revised_keys = self._index.revised_keys([event.first for event in indexed])
        fresh = [event for event in indexed if event.first not in revised_keys]
        marks = {event.first: event.mark for event in fresh if event.mark}
        rows = [row for event in fresh if event.mark or event.first not in marks for row in event.rows]
        vectors = [r for r in rows if isinstance(r, VectorRow)]
        labels = [r for r in rows if isinstance(r, LabelRow)]
        self._index.add(vectors, labels)
        self._index.replace(list(marks.values()))
        metrics.WRITE.observe(time.perf_counter() - started)
        metrics.ROWS.labels("vectors").inc(len(vectors))
        metrics.ROWS.labels("labels").inc(len(labels))

    async def _is_writable(self, size: int) -> bool:
        """Whether the index accepts any other data of that size."""
        try:
            await self._run(lambda: self._index.tables.try_out(size))
        except Exception as e:
            self._log.debug("nothing can be written", error=repr(e))
            return False
        return True

    async def _try(self, change: Callable[[], None]) -> Exception | None:
        """Run `change()`; return its error."""
        try:
            await self._run(change)
        except Exception as e:
            return e
        self._health.ready = None
        return None

    async def _run(self, change: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, change)

    async def _wait(self, tries: int, error: Exception) -> None:
        """Report that the index can't be written, and wait until the next try."""
        metrics.FAILED.inc()
        self._health.ready = f"the index in {self._where} can't be written: {error}"
        self._log.error("the index can't be written, trying again", error=repr(error), wait_s=WRITES.after(tries))
        await asyncio.sleep(WRITES.after(tries))


class Indexer:
    """See the module. pending: events that the index has not yet seen, as far as known."""

    def __init__(self, client: Client, index: Index, settings: SearchSettings, health: Health) -> None:
        self.pending = 0
        self._client = client
        self._index = index
        self._settings = settings
        self._health = health
        self._in_flight: InFlight[Delivery] = InFlight(client, CONSUMER)
        self._consumer = ""  # its creation time
        self._delivered = 0  # the consumer's own count of its deliveries, which never goes back
        self._writer = Writer(index, settings.search_index, health)
        self._retention = Retention(index.tables, settings)
        self._tidier = ThreadPoolExecutor(1, thread_name_prefix="tidier")
        self._untidy = asyncio.Event()
        self._added = 0  # rows since the last tidying
        self._log = logger("search")

    async def run(self, stop: asyncio.Event) -> None:
        """Index until `stop`. Raises BusError if the consumer is not there or the server closes for good."""
        while found := await unless(stop, bus.answered(self._client, self._health, self._open)):
            info, source = found
            await self._begin(info)
            await self._follow(source, stop)
        self._writer.close()
        self._tidier.shutdown(wait=False)

    async def _open(self) -> tuple[ConsumerInfo, Source]:
        self._in_flight.sources.clear()
        info = await bus.consumer_info(self._client.jetstream(), names.EVENTS, CONSUMER)
        return info, await self._in_flight.open(names.EVENTS, CONSUMER)

    async def _begin(self, info: ConsumerInfo) -> None:
        """Rebuild the index if its consumer was recreated: such a consumer delivers everything again.

        An index without a beginning, though events were acknowledged, gets none before the consumer is recreated.
        """
        self._delivered = info.delivered.consumer_seq if info.delivered else 0
        self._consumer = created = str(info.created)
        if not self._index.tables.origin and info.ack_floor and info.ack_floor.consumer_seq:
            self._log.error(LOST, rows=self._index.tables.count())
            return
        if self._index.tables.origin not in ("", created):
            self._log.warning("the consumer was made anew: the index is built again from EVENTS")
            await self._writer.write(self._index.tables.clear)
        if self._index.tables.origin != created:
            await self._writer.write(lambda: self._index.tables.begin(created))

    async def _follow(self, source: Source, stop: asyncio.Event) -> None:
        """Index until `stop`, or until the consumer is another."""
        messages = 2 * self._settings.search_batch_size
        async with source.pull(messages=messages, max_bytes=MOST_BYTES) as puller:
            self._health.ready = None
            self._log.info("ready", rows=self._index.tables.count())
            beating = beat(self._client, self._health, self._in_flight.beat, every_s=self._in_flight.beat_s)
            try:
                await supervise(self._work(source, puller), self._watch_consumer(), self._tidy(), beating, stop=stop)
            finally:
                await drain(self._client, self._in_flight, until=0.0, working=lambda: ())

    async def _work(self, source: Source, puller: Puller) -> None:
        """Index batches. Returns once the consumer was recreated: its events are not indexed yet, and come again."""
        while await self._gather(source, puller):
            await self._index_batch()

    async def _gather(self, source: Source, puller: Puller) -> bool:
        """Pull a batch into flight: full, or as much as came within the wait. The next is requested meanwhile.

        False if a message is of another consumer, which counts its deliveries from the start.
        """
        self._in_flight.take(Delivery(await puller.next(), source))
        deadline = asyncio.get_running_loop().time() + self._settings.search_batch_wait_ms / 1000
        try:
            async with asyncio.timeout_at(deadline):
                while len(self._in_flight) < self._settings.search_batch_size:
                    self._in_flight.take(Delivery(await puller.next(), source))
        except TimeoutError:
            pass
        for delivery in self._in_flight:
            delivery.return_credit()
        counts = [self._delivered, *(delivery.raw.metadata.sequence.consumer for delivery in self._in_flight)]
        self._delivered = counts[-1]
        return all(one < other for one, other in itertools.pairwise(counts))

    async def _index_batch(self) -> None:
        batch = list(self._in_flight)
        after = batch[-1].raw.metadata.num_pending
        self._set_pending(after + len(batch))
        found: list[ToIndex] = []
        models = self._index.models()
        for delivery in batch:
            try:
                event = _parse(delivery)
                _admit(event.rows, models)
                found.append(ToIndex(delivery, event))
            except Exception as e:
                await self._dead_letter(
                    delivery, str(e) if isinstance(e, BadMessage) else f"search failed on it: {e!r}"
                )
        await self._store(found)
        self._set_pending(after)
        # Not confirmed: a lost acknowledgement brings back an event that the index already has.
        for delivery in self._in_flight:
            await self._in_flight.acknowledge(delivery, confirmed=False)
        self._added += sum(len(item.event.rows) for item in found)
        if self._added >= chunk.TUNING.fresh:
            self._untidy.set()

    async def _store(self, events: Sequence[ToIndex]) -> None:
        """Write events. Those that fail though the index is writable are written in halves.

        So the one that would block all others is found, and dead-lettered.
        """
        failures = 0
        # The index may have become writable just now, which clears the event of earlier failures.
        while error := await self._writer.add([item.event for item in events]):
            failures += 1
            if len(events) > 1:
                half = len(events) // 2
                await self._store(events[:half])
                return await self._store(events[half:])
            if failures >= BLAMED_AFTER:
                reason = f"search can't index it: {redact(repr(error), LONGEST_REASON)}"
                return await self._dead_letter(events[0].delivery, reason)

    async def _dead_letter(self, delivery: Delivery, reason: str) -> None:
        if await self._in_flight.dead_letter(delivery, reason):
            metrics.REFUSED.inc()

    def _set_pending(self, count: int) -> None:
        self.pending = count
        metrics.PENDING.set(count)

    async def _watch_consumer(self) -> None:
        """Return once the consumer was recreated."""
        while True:
            await tick(CONSUMER_CHECK_S)
            try:
                info = await bus.consumer_info(self._client.jetstream(), names.EVENTS, CONSUMER)
            except BusError as e:
                self._log.debug("the consumer can't be asked for", error=str(e))
                continue
            if str(info.created) != self._consumer:
                return

    async def _tidy(self) -> None:
        """Tidy periodically, and whenever many rows have come."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.search_tidy_s):
                    await self._untidy.wait()
            self._untidy.clear()
            self._added = 0
            try:
                await asyncio.get_running_loop().run_in_executor(self._tidier, self._retention.apply)
            except Exception as e:
                self._log.warning("the index could not be tidied, later again", error=repr(e))


def _admit(rows: Sequence[Row], models: set[tuple[str, int]]) -> None:
    """Raise BadMessage for rows that the index must not have. models: those with vectors there; new ones are added."""
    ahead = max((row.time for row in rows), default=0) / 1000 - time.time()
    if ahead > MOST_AHEAD_S:
        raise BadMessage(f"its time is {ahead / 3600:.0f} hours ahead: a clock is wrong, of ingest or here")
    of = {(row.model, row.dimension) for row in rows if isinstance(row, VectorRow)}
    if len(models | of) > max(MOST_MODELS, len(models)):
        raise BadMessage(
            f"{len(models)} models have vectors in the index, and no more are taken: there is room for another once "
            "all vectors of one have been dropped for their age"
        )
    models |= of


def _parse(delivery: Delivery) -> IndexedEvent:
    if not delivery.is_for(CONSUMER):
        return IndexedEvent()
    # A replay has the ce-id of the event that it repeats; Nats-Msg-Id is for the stream alone.
    return read_event(delivery.headers.get("ce-id", ""), delivery.subject, delivery.data)
