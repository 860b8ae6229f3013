"""From EVENTS to the endpoint: several in parallel, acknowledged once accepted, else retried later.

While the endpoint works, up to WEBHOOK_PARALLEL events are in flight; a failed one is delivered again after a growing
delay. While the endpoint fails, only one event at a time is pulled, as a probe. An event that fails for longer than
WEBHOOK_GIVE_UP_S is dead-lettered: EVENTS would delete it.

The endpoint is that of WEBHOOK_URL, or else the stored one, which may change. Requests that run then finish at the
former one. An event that fails there, or failed there before, is tried at the new one. Without an endpoint nothing is
pulled.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from functools import partial
from typing import Literal

from services.webhook import metrics, stored
from services.webhook.delayed import Delayed
from services.webhook.endpoint import ENVIRONMENT, SITE, Failed
from services.webhook.outgoing import Outgoing, kind_of
from services.webhook.settings import WebhookSettings
from services.webhook.start import Beginning
from services.webhook.status import StatusWriter
from services.webhook.target import Target
from shared import bus
from shared.bus.client import Connection
from shared.bus.pull import Puller
from shared.contract import names
from shared.contract.endpoint import EndpointSettings
from shared.runtime.backoff import Backoff
from shared.runtime.errors import BadMessage, BusError, SettingError
from shared.runtime.tasks import Background, end, supervise, unless
from shared.runtime.telemetry import Health, logger
from shared.service.process import beat
from shared.worker.drain import drain
from shared.worker.in_flight import Delivery, InFlight, Source

CONSUMER = names.WEBHOOK
# For the requests that run at the stop.
GRACE_S = 5.0
MOST_BYTES = 64 * 1024 * 1024
ADD_ONE = "add 'webhook' to the site file, or set WEBHOOK_URL"
# An endpoint may request longer delays than ours, up to ten minutes.
DELAYS = Backoff(first_s=1.0, longest_s=300.0, longest_requested_s=600.0)

# The outcome of a message. passed: no request was needed. again: it is delivered again. old: given up for its age.
Done = Literal["passed", "answered", "again", "old"]


class Sender:
    """See the module."""

    def __init__(self, client: Connection, settings: WebhookSettings, health: Health) -> None:
        self._client = client
        self._settings = settings
        self._names = ENVIRONMENT if settings.endpoint else SITE
        self._health = health
        self._target: Target | None = None
        self._has_target = asyncio.Event()
        self._refusal = ""  # of the stored endpoint, while there is no usable one
        self._has_begun = False
        self._retiring = Background()
        self._in_flight: InFlight[Delivery] = InFlight(client, CONSUMER)
        self._running: set[asyncio.Task[Done]] = set()
        self._draining = False
        self._beginning = Beginning(client)
        self._delayed = Delayed(client)
        self._status = StatusWriter(client)
        self._log = logger("webhook")

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`, then drain. Raises BusError if the consumer is not there or the server closes for good."""
        opening = partial(self._in_flight.open, names.EVENTS, CONSUMER)
        source = await unless(stop, bus.answered(self._client, self._health, opening))
        if source is None:
            return
        ending = asyncio.Event()
        finding = asyncio.create_task(self._find_target(), name="endpoint")
        working = asyncio.create_task(self._work(source, ending), name="send")
        beating = asyncio.create_task(
            beat(self._client, self._health, self._in_flight.beat, every_s=self._in_flight.beat_s)
        )
        telling = asyncio.create_task(self._status.run())
        try:
            await supervise(finding, working, beating, telling, stop=stop)
        finally:
            await end(finding, telling)
            self._draining = True
            self._health.ready = "draining"
            ending.set()
            await asyncio.wait({working})
            running = len(self._in_flight)
            late = await drain(
                self._client, self._in_flight, until=time.monotonic() + GRACE_S, working=lambda: self._running
            )
            await end(beating)
            await self._close()
            self._log.info("drained", finished=running - late, handed_back=late)

    # ---- endpoint

    async def _find_target(self) -> None:
        """Use the endpoint of the environment, or follow the stored one, until cancelled."""
        if settings := self._settings.endpoint:
            self._use(settings)
            with contextlib.suppress(BusError, SettingError):
                if await stored.read(self._client):
                    self._log.warning(
                        "WEBHOOK_URL overrides the webhook of the site: unset it, with the settings next to it, or "
                        "remove 'webhook' from the site file"
                    )
            await asyncio.Event().wait()
        if self._settings.webhook_secret:
            self._log.warning("WEBHOOK_SECRET is not used without WEBHOOK_URL: the site's webhook has its own secret")
        following = stored.Following(self._client)
        await bus.answered(self._client, self._health, following.open)
        await following.run(self._use, self._refuse)

    def _use(self, settings: EndpointSettings | None) -> None:
        """Post to this endpoint from now on; None: to none."""
        former = self._target
        if former and former.settings == settings:
            return
        timeout_s = self._settings.webhook_timeout_s
        self._target = Target(settings, timeout_s=timeout_s, names=self._names) if settings else None
        if former:
            self._retiring.start(former.retire())
        if target := self._target:
            self._has_target.set()
            self._retiring.start(self._delayed.release())
        else:
            self._has_target.clear()
            self._log.warning(f"there is no endpoint, so nothing is sent: {ADD_ONE}")
        self._status.use(target.where if target else "", sorted(target.kinds) if target else [])
        self._announce()

    def _announce(self) -> None:
        """Report that events go to the present endpoint, once the start is recorded."""
        if self._target and self._has_begun:
            self._log.info("ready", endpoint=self._target.where, events=sorted(self._target.kinds))
            if not self._target.settings.secret:
                self._log.warning(
                    f"requests are not signed: set {self._names.secret}, so that the endpoint can tell them from others"
                )
        self._tell()

    def _refuse(self, error: str) -> None:
        """Record why the stored endpoint can't be used; empty: it can."""
        self._refusal = error
        self._status.refuse(error)
        if error:
            self._tell()

    async def _close(self) -> None:
        await end(*self._retiring.tasks)
        if self._target:
            await self._target.close()

    # ---- pull

    async def _work(self, source: Source, stop: asyncio.Event) -> None:
        await unless(stop, self._has_target.wait())
        begin = partial(self._beginning.record, self._settings.since)
        if stop.is_set() or await unless(stop, bus.answered(self._client, self._health, begin)) is None:
            return
        self._has_begun = True
        self._announce()
        while not stop.is_set():
            target = self._target
            if target is None:
                await unless(stop, self._has_target.wait())
            elif not target.breaker.is_open:
                async with source.pull(messages=self._settings.webhook_parallel, max_bytes=MOST_BYTES) as puller:
                    await unless(stop, unless(target.paused, self._take(source, puller)))
            else:
                await unless(stop, unless(target.replaced, asyncio.sleep(target.breaker.wait_s)))
                if not stop.is_set() and not target.replaced.is_set():
                    async with source.pull(messages=1, max_bytes=MOST_BYTES) as puller:
                        await unless(stop, unless(target.replaced, self._probe(source, puller, target)))

    async def _take(self, source: Source, puller: Puller) -> None:
        """Begin every message. The puller's credit bounds their number."""
        while True:
            self._begin(Delivery(await puller.next(), source), ask=True)

    async def _probe(self, source: Source, puller: Puller, target: Target) -> None:
        """Send one request. If it fails and its event is too old, dead-letter other old ones until the next probe.

        With only one per probe, EVENTS might delete some of them before their turn.
        """
        done: Done = "passed"
        while done == "passed":
            done = await self._one(source, puller, ask=True)
        if done == "old":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(target.breaker.wait_s):
                    while await self._one(source, puller, ask=False) != "again":
                        pass

    async def _one(self, source: Source, puller: Puller, *, ask: bool) -> Done:
        task = self._begin(Delivery(await puller.next(), source), ask=ask)
        await asyncio.wait({task})
        return task.result()

    def _begin(self, delivery: Delivery, *, ask: bool) -> asyncio.Task[Done]:
        self._delayed.discard(delivery)
        task = asyncio.create_task(self._handle(self._in_flight.take(delivery), ask=ask))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    # ---- send

    async def _handle(self, delivery: Delivery, *, ask: bool) -> Done:
        """Handle a message. ask: with a request; without one, answer only for those that are too old."""
        try:
            target = self._target
            if target and not await self._is_wanted(delivery, target):
                await self._in_flight.acknowledge(delivery, confirmed=False)
                return "passed"
            if target and ask:
                return await self._send(delivery, target)
            if target and self._is_old(delivery):
                return await self._give_up(delivery, target, target.breaker.reason)
            await self._in_flight.hand_back(delivery)
        except Exception:
            self._log.exception("an event could not be worked on, it is delivered again", subject=delivery.subject)
            self._in_flight.release(delivery)
        return "again"

    async def _is_wanted(self, delivery: Delivery, target: Target) -> bool:
        """Whether it is for us, of a kind to send, and after the start."""
        is_ours = delivery.is_for(CONSUMER) and kind_of(delivery.subject) in target.kinds
        return is_ours and not await self._beginning.skips(delivery.seq, delivery.stored_at)

    async def _send(self, delivery: Delivery, target: Target) -> Done:
        begun = time.monotonic()
        try:
            outgoing = target.request(delivery)
        except BadMessage as e:
            return "passed" if await self._dead_letter(delivery, str(e)) else "again"
        try:
            await target.post(outgoing)
        except Failed as e:
            metrics.REQUESTS.labels(e.outcome).inc()
            return await self._failed(delivery, target, outgoing, begun, e)
        metrics.REQUESTS.labels("delivered").inc()
        self._status.succeeded()
        if outgoing.time is not None:
            metrics.LATENCY.observe(max(0.0, time.time() - outgoing.time))
        self._log.debug("delivered", id=outgoing.id)
        self._answered(target, begun)
        # If the acknowledgement is lost, the event comes again, and is sent again.
        await self._in_flight.acknowledge(delivery)
        return "answered"

    async def _failed(
        self, delivery: Delivery, target: Target, outgoing: Outgoing, begun: float, error: Failed
    ) -> Done:
        if target is not self._target:
            self._log.info("not delivered, tried at the endpoint that replaces this one", id=outgoing.id)
            await self._in_flight.hand_back(delivery)
            return "again"
        if error.outcome == "gone":
            self._answered(target, begun)
            self._status.failed(str(error), None)
            return "answered" if await self._dead_letter(delivery, f"{target.where} {error}") else "again"
        if target.failed(error, of=delivery.seq, begun=begun):
            self._log.warning("the endpoint fails: it is left alone, but for one event at a time", reason=str(error))
        self._tell()
        self._status.failed(str(error), time.time() + target.breaker.wait_s if target.breaker.is_open else None)
        if self._is_old(delivery):
            return await self._give_up(delivery, target, str(error))
        wait_s = DELAYS.after(delivery.deliveries, error.requested_s)
        self._log.warning(
            "not delivered, tried again later", id=outgoing.id, delay_s=round(wait_s, 1), reason=str(error)
        )
        self._delayed.add(delivery, wait_s)
        await self._in_flight.nak(delivery, wait_s)
        return "again"

    def _answered(self, target: Target, begun: float) -> None:
        if target.answered(begun):
            self._log.info("the endpoint is back")
        self._tell()

    async def _give_up(self, delivery: Delivery, target: Target, reason: str) -> Done:
        reason = (
            f"not delivered within WEBHOOK_GIVE_UP_S={self._settings.webhook_give_up_s:g} s: {target.where} {reason}"
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
        """Report on /readyz why no events are sent, and since when the endpoint is paused."""
        target = self._target
        if self._draining:
            return
        if target is None:
            self._health.ready = self._refusal or f"there is no endpoint, so nothing is sent: {ADD_ONE}"
        elif not self._has_begun:
            self._health.ready = "it records where it begins"
        elif not target.breaker.is_open:
            self._health.ready = None
        else:
            self._health.ready = (
                f"{target.where} takes no events since {_clock(target.opened_at)}: {target.breaker.reason}; "
                f"tried again at {_clock(time.time() + target.breaker.wait_s)}"
            )


def _clock(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M:%SZ}"
