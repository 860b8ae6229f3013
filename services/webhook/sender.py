"""From EVENTS to the endpoint: several in parallel, acknowledged once accepted, else retried later.

While the endpoint works, up to WEBHOOK_PARALLEL events are in flight; a failed one is delivered again after a growing
delay. While the endpoint fails, only one event at a time is pulled, as a probe. An event that fails for longer than
WEBHOOK_GIVE_UP_S is dead-lettered: EVENTS would delete it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from functools import partial
from typing import Literal

from nats.aio.client import Client

from services.webhook import metrics
from services.webhook.endpoint import Endpoint, Failed
from services.webhook.formats import FORMATS
from services.webhook.outgoing import Outgoing, kind_of, read
from services.webhook.settings import WebhookSettings
from services.webhook.start import Beginning
from services.webhook.status import Status, StatusWriter
from shared import bus
from shared.bus.pull import Puller
from shared.contract import names
from shared.runtime.backoff import Backoff, Breaker
from shared.runtime.errors import BadMessage
from shared.runtime.tasks import end, supervise, unless
from shared.runtime.telemetry import Health, logger
from shared.service.process import beat
from shared.worker.drain import drain
from shared.worker.in_flight import Delivery, InFlight, Source

CONSUMER = names.WEBHOOK
# For the requests that run at the stop.
GRACE_S = 5.0
MOST_BYTES = 64 * 1024 * 1024
# An endpoint may request longer delays than ours, up to ten minutes.
DELAYS = Backoff(first_s=1.0, longest_s=300.0, longest_requested_s=600.0)
PROBES = Backoff(first_s=1.0, longest_s=30.0, longest_requested_s=600.0)

# The outcome of a message. passed: no request was needed. again: it is delivered again. old: given up for its age.
Done = Literal["passed", "answered", "again", "old"]


class Sender:
    """See the module."""

    def __init__(self, client: Client, endpoint: Endpoint, settings: WebhookSettings, health: Health) -> None:
        self._client = client
        self._endpoint = endpoint
        self._settings = settings
        self._health = health
        self._breaker = Breaker(PROBES)
        self._opened = asyncio.Event()
        self._opened_at = 0.0  # wall clock, seconds
        self._in_flight: InFlight[Delivery] = InFlight(client, CONSUMER)
        self._running: set[asyncio.Task[Done]] = set()
        self._draining = False
        self._beginning = Beginning(client)
        self._formatted = FORMATS[settings.webhook_format]
        status = Status(endpoint=endpoint.where, events=sorted(settings.kinds))
        self._status = StatusWriter(client, status)
        self._log = logger("webhook")

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`, then drain. Raises BusError if the consumer is not there or the server closes for good."""
        opening = partial(self._in_flight.open, names.EVENTS, CONSUMER)
        source = await unless(stop, bus.answered(self._client, self._health, opening))
        if source is None:
            return
        begin = partial(self._beginning.record, self._settings.since)
        if await unless(stop, bus.answered(self._client, self._health, begin)) is None:
            return
        self._log.info("ready", endpoint=self._endpoint.where, events=sorted(self._settings.kinds))
        if not self._settings.key:
            self._log.warning(
                "requests are not signed: set WEBHOOK_SECRET, so that the endpoint can tell them from others"
            )
        self._health.ready = None
        ending = asyncio.Event()
        working = asyncio.create_task(self._work(source, ending), name="send")
        beating = asyncio.create_task(
            beat(self._client, self._health, self._in_flight.beat, every_s=self._in_flight.beat_s)
        )
        telling = asyncio.create_task(self._status.run())
        try:
            await supervise(working, beating, telling, stop=stop)
        finally:
            await end(telling)
            self._draining = True
            self._health.ready = "draining"
            ending.set()
            await asyncio.wait({working})
            running = len(self._in_flight)
            late = await drain(
                self._client, self._in_flight, until=time.monotonic() + GRACE_S, working=lambda: self._running
            )
            await end(beating)
            self._log.info("drained", finished=running - late, handed_back=late)

    # ---- pull

    async def _work(self, source: Source, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if not self._breaker.is_open:
                async with source.pull(messages=self._settings.webhook_parallel, max_bytes=MOST_BYTES) as puller:
                    await unless(stop, unless(self._opened, self._take(source, puller)))
                continue
            await unless(stop, asyncio.sleep(self._breaker.wait_s))
            if not stop.is_set():
                async with source.pull(messages=1, max_bytes=MOST_BYTES) as puller:
                    await unless(stop, self._probe(source, puller))

    async def _take(self, source: Source, puller: Puller) -> None:
        """Begin every message. The puller's credit bounds their number."""
        while True:
            self._begin(Delivery(await puller.next(), source), ask=True)

    async def _probe(self, source: Source, puller: Puller) -> None:
        """Send one request. If it fails and its event is too old, dead-letter other old ones until the next probe.

        With only one per probe, EVENTS might delete some of them before their turn.
        """
        done: Done = "passed"
        while done == "passed":
            done = await self._one(source, puller, ask=True)
        if done == "old":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._breaker.wait_s):
                    while await self._one(source, puller, ask=False) != "again":
                        pass

    async def _one(self, source: Source, puller: Puller, *, ask: bool) -> Done:
        task = self._begin(Delivery(await puller.next(), source), ask=ask)
        await asyncio.wait({task})
        return task.result()

    def _begin(self, delivery: Delivery, *, ask: bool) -> asyncio.Task[Done]:
        task = asyncio.create_task(self._handle(self._in_flight.take(delivery), ask=ask))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    # ---- send

    async def _handle(self, delivery: Delivery, *, ask: bool) -> Done:
        """Handle a message. ask: with a request; without one, answer only for those that are too old."""
        try:
            if not await self._is_wanted(delivery):
                await self._in_flight.acknowledge(delivery, confirmed=False)
                return "passed"
            try:
                outgoing = self._formatted(read(delivery.subject, delivery.headers, delivery.data))
            except BadMessage as e:
                return "passed" if await self._dead_letter(delivery, str(e)) else "again"
            if ask:
                return await self._send(delivery, outgoing)
            if self._is_old(delivery):
                return await self._give_up(delivery, self._breaker.reason)
            await self._in_flight.hand_back(delivery)
        except Exception:
            self._log.exception("an event could not be worked on, it is delivered again", subject=delivery.subject)
            self._in_flight.release(delivery)
        return "again"

    async def _is_wanted(self, delivery: Delivery) -> bool:
        """Whether it is for us, of a kind to send, and after the start."""
        is_ours = delivery.is_for(CONSUMER) and kind_of(delivery.subject) in self._settings.kinds
        return is_ours and not await self._beginning.skips(delivery.seq, delivery.stored_at)

    async def _send(self, delivery: Delivery, outgoing: Outgoing) -> Done:
        begun = time.monotonic()
        try:
            await self._endpoint.post(outgoing)
        except Failed as e:
            metrics.REQUESTS.labels(e.outcome).inc()
            return await self._failed(delivery, outgoing, begun, e)
        metrics.REQUESTS.labels("delivered").inc()
        self._status.succeeded()
        if outgoing.time is not None:
            metrics.LATENCY.observe(max(0.0, time.time() - outgoing.time))
        self._log.debug("delivered", id=outgoing.id)
        self._answered(begun)
        # If the acknowledgement is lost, the event comes again, and is sent again.
        await self._in_flight.acknowledge(delivery)
        return "answered"

    async def _failed(self, delivery: Delivery, outgoing: Outgoing, begun: float, error: Failed) -> Done:
        if error.outcome == "gone":
            self._answered(begun)
            self._status.failed(str(error), None)
            return "answered" if await self._dead_letter(delivery, f"{self._endpoint.where} {error}") else "again"
        requested_s = error.requested_s if error.certain else None
        if self._breaker.failed(
            str(error), of=delivery.seq, begun=begun, certain=error.certain, requested_s=requested_s
        ):
            self._opened.set()
            self._opened_at = time.time()
            self._log.warning("the endpoint fails: it is left alone, but for one event at a time", reason=str(error))
        self._tell()
        self._status.failed(str(error), time.time() + self._breaker.wait_s if self._breaker.is_open else None)
        if self._is_old(delivery):
            return await self._give_up(delivery, str(error))
        wait_s = DELAYS.after(delivery.deliveries, error.requested_s)
        self._log.warning(
            "not delivered, tried again later", id=outgoing.id, delay_s=round(wait_s, 1), reason=str(error)
        )
        await self._in_flight.nak(delivery, wait_s)
        return "again"

    def _answered(self, begun: float) -> None:
        if self._breaker.succeeded(begun):
            self._opened.clear()
            self._log.info("the endpoint is back")
        self._tell()

    async def _give_up(self, delivery: Delivery, reason: str) -> Done:
        reason = (
            f"not delivered within WEBHOOK_GIVE_UP_S={self._settings.webhook_give_up_s:g} s: "
            f"{self._endpoint.where} {reason}"
        )
        return "old" if await self._dead_letter(delivery, reason) else "again"

    async def _dead_letter(self, delivery: Delivery, reason: str) -> bool:
        if dead_lettered := await self._in_flight.dead_letter(delivery, reason):
            metrics.DEAD.inc()
        return dead_lettered

    def _is_old(self, delivery: Delivery) -> bool:
        """Whether it was stored too long ago: a replayed dead letter is young again."""
        return time.time() - delivery.stored_at > self._settings.webhook_give_up_s

    def _tell(self) -> None:
        """Report on /readyz whether the endpoint is paused, since when and why."""
        if self._draining:
            return
        if not self._breaker.is_open:
            self._health.ready = None
            return
        self._health.ready = (
            f"{self._endpoint.where} takes no events since {_clock(self._opened_at)}: {self._breaker.reason}; "
            f"tried again at {_clock(time.time() + self._breaker.wait_s)}"
        )


def _clock(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M:%SZ}"
