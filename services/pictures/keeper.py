"""From alerts in EVENTS to pictures in PICTURES: a few in parallel, acknowledged once stored.

An incident that waits for a verification has its picture at its start: when it becomes an alert, minutes later, its
video may have expired.

A picture that can't be stored is tried again, as long as MEDIA has its video. An alert whose video can't be decoded is
a dead letter after a few tries: a child that dies may be the fault of the machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import nats.errors

from services.pictures import metrics
from services.pictures.settings import PicturesSettings
from services.pictures.storing import Store
from shared import bus
from shared.bus.client import Connection
from shared.bus.mirror import Mirror, all_read, mirror
from shared.bus.pull import Puller
from shared.contract import names
from shared.contract.events import Alert, Incident, decode
from shared.recordings.policies import Policies
from shared.runtime.backoff import Backoff
from shared.runtime.errors import BadMessage, BusError, Refusal, Unstorable
from shared.runtime.tasks import end, supervise, unless
from shared.runtime.telemetry import Health, logger
from shared.service.process import beat
from shared.video.decoding.decoders import Decoders
from shared.worker.drain import drain
from shared.worker.in_flight import Delivery, InFlight, Source

CONSUMER = names.PICTURE
PARALLEL = 4
MOST_BYTES = 16 * 1024 * 1024
# For the pictures that are being made at the stop.
GRACE_S = 5.0
# The decoding process, some 100 MB, ends after this long without an alert.
IDLE_S = 30.0
# Deliveries of an alert whose video can't be decoded.
TRIES = 3
KINDS: Mapping[str, type[Incident]] = {kind.kind: kind for kind in (Alert, Incident)}
DELAYS = Backoff(first_s=1.0, longest_s=30.0)


class Keeper:
    """See the module."""

    def __init__(self, client: Connection, settings: PicturesSettings, health: Health) -> None:
        self._client = client
        self._health = health
        self._settings = settings
        self._decoders = Decoders(settings.pictures_decoders, owner=CONSUMER, idle_s=IDLE_S)
        self._in_flight: InFlight[Delivery] = InFlight(client, CONSUMER)
        self._running: set[asyncio.Task[None]] = set()
        self._draining = False
        self._log = logger(CONSUMER)

    async def run(self, stop: asyncio.Event) -> None:
        """Store pictures until `stop`, then drain. Raises BusError if the consumer is not there."""

        async def opening() -> tuple[Source, Mirror]:
            policies = await mirror(self._client, names.RECORDINGS, asyncio.Event())
            return await self._in_flight.open(names.EVENTS, CONSUMER), policies

        opened = await unless(stop, bus.answered(self._client, self._health, opening))
        if opened is None:
            return
        source, policies = opened
        store = Store(self._client, self._decoders, Policies(policies.values), self._settings)
        following = [asyncio.create_task(policies.run()), asyncio.create_task(self._decoders.run())]
        working = asyncio.create_task(self._work(source, policies, store, stop))
        beating = asyncio.create_task(
            beat(self._client, self._health, self._in_flight.beat, every_s=self._in_flight.beat_s)
        )
        try:
            await supervise(working, beating, *following, stop=stop)
        finally:
            self._draining = True
            self._health.ready = "draining"
            await asyncio.wait({working}, timeout=GRACE_S)
            await end(working)
            left = await drain(
                self._client, self._in_flight, until=time.monotonic() + GRACE_S, working=lambda: self._running
            )
            await end(beating, *following)
            self._log.info("drained", handed_back=left)

    async def _work(self, source: Source, policies: Mirror, store: Store, stop: asyncio.Event) -> None:
        self._health.ready = "reading the bucket of recordings' policies"
        # No picture is stored before the masks are known.
        await unless(stop, all_read(policies))
        if stop.is_set():
            return
        self._log.info("ready")
        self._health.ready = None
        async with source.pull(messages=PARALLEL, max_bytes=MOST_BYTES) as puller:
            await unless(stop, self._take(source, puller, store))

    async def _take(self, source: Source, puller: Puller, store: Store) -> None:
        """Begin every alert. The puller's credit bounds their number."""
        while True:
            delivery = self._in_flight.take(Delivery(await puller.next(), source))
            task = asyncio.create_task(self._handle(delivery, store))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _handle(self, delivery: Delivery, store: Store) -> None:
        if not delivery.is_for(CONSUMER):
            await self._in_flight.acknowledge(delivery, confirmed=False)
            return
        try:
            alert = decode(delivery.data, KINDS[names.kind_of(delivery.subject)], delivery.subject)
        except BadMessage as e:
            await self._dead_letter(delivery, str(e))
            return
        if not _may_be_alert(alert):
            await self._in_flight.acknowledge(delivery, confirmed=False)
            return
        try:
            outcome = await store.store(alert, delivery.headers, time.time() - delivery.stored_at)
        except (BadMessage, Refusal, Unstorable) as e:
            await self._failed(delivery, alert, store, e)
        except (BusError, TimeoutError, nats.errors.Error) as e:
            await self._again(delivery, str(e) or type(e).__name__)
            self._tell(f"pictures can't be stored: {e}")
        except Exception as e:
            self._log.exception("an alert could not be processed", subject=delivery.subject)
            await self._again(delivery, repr(e))
        else:
            metrics.PICTURES.labels(outcome).inc()
            if outcome == "stored":
                metrics.LATENCY.observe(max(0.0, time.time() - delivery.stored_at))
            self._tell(None)
            await self._in_flight.acknowledge(delivery)

    async def _failed(self, delivery: Delivery, alert: Incident, store: Store, error: Exception) -> None:
        """Try an alert without a readable picture again, and dead-letter it in the end."""
        if isinstance(error, Refusal) and delivery.deliveries < TRIES:
            await self._again(delivery, str(error))
            return
        try:
            await store.explain(alert, delivery.headers, f"its video can't be decoded: {error}")
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("the reason is not stored", error=repr(e))
        await self._dead_letter(delivery, str(error))

    async def _again(self, delivery: Delivery, reason: str) -> None:
        metrics.PICTURES.labels("again").inc()
        delay_s = DELAYS.after(delivery.deliveries)
        self._log.warning("no picture yet, tried again later", subject=delivery.subject, reason=reason)
        await self._in_flight.nak(delivery, delay_s)

    async def _dead_letter(self, delivery: Delivery, reason: str) -> None:
        if await self._in_flight.dead_letter(delivery, reason):
            metrics.PICTURES.labels("unreadable").inc()

    def _tell(self, problem: str | None) -> None:
        if not self._draining:
            self._health.ready = problem


def _may_be_alert(event: Incident) -> bool:
    return isinstance(event, Alert) or (event.state == "start" and event.verification == "pending")
