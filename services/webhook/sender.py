"""From EVENTS to the endpoint: several at once, acknowledged once it took them, and later again until it does.

While the endpoint works, up to WEBHOOK_PARALLEL events are in hand; one that fails is delivered again after a growing
delay. While the endpoint fails, one event at a time is pulled, as a probe, and nothing else.
What fails for longer than WEBHOOK_GIVE_UP_S is buried: EVENTS would forget it.
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
from services.webhook.outgoing import Outgoing, kind_of, read
from services.webhook.settings import WebhookSettings
from shared import bus
from shared.bus.pull import Puller
from shared.contract import names
from shared.runtime.backoff import Backoff
from shared.runtime.breaker import Breaker
from shared.runtime.errors import BadMessage
from shared.runtime.tasks import end, supervise, unless
from shared.runtime.telemetry import Health, logger
from shared.service.process import beat
from shared.worker.drain import drain
from shared.worker.hold import Held, Hold, Source

CONSUMER = "webhook"
# For the requests that run when we are told to go.
GRACE_S = 5.0
MOST_BYTES = 64 * 1024 * 1024
# An endpoint may ask for more than our own delays, up to ten minutes.
DELAYS = Backoff(first_s=1.0, longest_s=300.0, longest_asked_s=600.0)
PROBES = Backoff(first_s=1.0, longest_s=30.0, longest_asked_s=600.0)

# What became of a message: passed: no request was to be made. again: it is delivered again. old: given up for its age.
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
        self._hold: Hold[Held] = Hold(client, CONSUMER)
        self._running: set[asyncio.Task[Done]] = set()
        self._draining = False
        self._log = logger("webhook")

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`, then drain. Raises BusError if the consumer is not there or the server closes for good."""
        opening = partial(self._hold.open, names.EVENTS, CONSUMER)
        source = await unless(stop, bus.answered(self._client, self._health, opening))
        if source is None:
            return
        self._log.info("ready", endpoint=self._endpoint.where, events=sorted(self._settings.kinds))
        if not self._settings.key:
            self._log.warning(
                "requests are not signed: set WEBHOOK_SECRET, so that the endpoint can tell them from others"
            )
        self._health.ready = None
        ending = asyncio.Event()
        working = asyncio.create_task(self._work(source, ending), name="send")
        beating = asyncio.create_task(beat(self._client, self._health, self._hold.beat, every_s=self._hold.beat_s))
        try:
            await supervise(working, beating, stop=stop)
        finally:
            self._draining = True
            self._health.ready = "draining"
            ending.set()
            await asyncio.wait({working})
            running = len(self._hold)
            late = await drain(
                self._client, self._hold, until=time.monotonic() + GRACE_S, working=lambda: self._running
            )
            await end(beating)
            self._log.info("drained", finished=running - late, handed_back=late)

    # ---- pull

    async def _work(self, source: Source, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if not self._breaker.is_open:
                async with self._hold.pull(
                    source, messages=self._settings.webhook_parallel, max_bytes=MOST_BYTES
                ) as puller:
                    await unless(stop, unless(self._opened, self._take(source, puller)))
                continue
            await unless(stop, asyncio.sleep(self._breaker.wait_s))
            if not stop.is_set():
                async with self._hold.pull(source, messages=1, max_bytes=MOST_BYTES) as puller:
                    await unless(stop, self._probe(source, puller))

    async def _take(self, source: Source, puller: Puller) -> None:
        """Begin whatever comes. How much runs at once is bounded by the puller's credit."""
        while True:
            self._begin(Held(await puller.next(), source), ask=True)

    async def _probe(self, source: Source, puller: Puller) -> None:
        """One request. If it fails and its event is too old, others are: until the next probe they are buried unasked.

        One a probe, EVENTS might forget some of them before their turn.
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
        task = self._begin(Held(await puller.next(), source), ask=ask)
        await asyncio.wait({task})
        return task.result()

    def _begin(self, held: Held, *, ask: bool) -> asyncio.Task[Done]:
        task = asyncio.create_task(self._handle(self._hold.take(held), ask=ask))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    # ---- send

    async def _handle(self, held: Held, *, ask: bool) -> Done:
        """ask: with a request; without one only those that are too old are answered for."""
        try:
            if not (held.is_for(CONSUMER) and kind_of(held.subject) in self._settings.kinds):
                await self._hold.acknowledge(held, confirmed=False)
                return "passed"
            try:
                outgoing = read(held.subject, held.headers, held.data)
            except BadMessage as e:
                return "passed" if await self._bury(held, str(e)) else "again"
            if ask:
                return await self._send(held, outgoing)
            if self._is_old(held):
                return await self._give_up(held, self._breaker.reason)
            await self._hold.hand_back(held)
        except Exception:
            self._log.exception("an event could not be worked on, it is delivered again", subject=held.subject)
            self._hold.release(held)
        return "again"

    async def _send(self, held: Held, outgoing: Outgoing) -> Done:
        begun = time.monotonic()
        try:
            await self._endpoint.post(outgoing)
        except Failed as e:
            metrics.REQUESTS.labels(e.outcome).inc()
            return await self._failed(held, outgoing, begun, e)
        metrics.REQUESTS.labels("delivered").inc()
        if outgoing.time is not None:
            metrics.LATENCY.observe(max(0.0, time.time() - outgoing.time))
        self._log.debug("delivered", id=outgoing.id)
        self._answered(begun)
        # Unconfirmed, the event comes again, and is sent again.
        await self._hold.acknowledge(held)
        return "answered"

    async def _failed(self, held: Held, outgoing: Outgoing, begun: float, error: Failed) -> Done:
        if error.outcome == "gone":
            self._answered(begun)
            return "answered" if await self._bury(held, f"{self._endpoint.where} {error}") else "again"
        asked_s = error.asked_s if error.certain else None
        if self._breaker.failed(str(error), of=held.seq, begun=begun, certain=error.certain, asked_s=asked_s):
            self._opened.set()
            self._opened_at = time.time()
            self._log.warning("the endpoint fails: it is left alone, but for one event at a time", reason=str(error))
        self._tell()
        if self._is_old(held):
            return await self._give_up(held, str(error))
        wait_s = DELAYS.after(held.deliveries, error.asked_s)
        self._log.warning(
            "not delivered, tried again later", id=outgoing.id, delay_s=round(wait_s, 1), reason=str(error)
        )
        await self._hold.nak(held, wait_s)
        return "again"

    def _answered(self, begun: float) -> None:
        if self._breaker.succeeded(begun):
            self._opened.clear()
            self._log.info("the endpoint is back")
        self._tell()

    async def _give_up(self, held: Held, reason: str) -> Done:
        reason = (
            f"not delivered within WEBHOOK_GIVE_UP_S={self._settings.webhook_give_up_s:g} s: "
            f"{self._endpoint.where} {reason}"
        )
        return "old" if await self._bury(held, reason) else "again"

    async def _bury(self, held: Held, reason: str) -> bool:
        if buried := await self._hold.bury(held, reason):
            metrics.DEAD.inc()
        return buried

    def _is_old(self, held: Held) -> bool:
        """By when it was stored: a dead letter that is replayed is young again."""
        return time.time() - held.stored_at > self._settings.webhook_give_up_s

    def _tell(self) -> None:
        """/readyz: whether the endpoint is left alone, since when and why."""
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
