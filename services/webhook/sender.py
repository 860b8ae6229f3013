"""From EVENTS to the endpoint: several at once, acknowledged once it took them, and later again until it does.

While the endpoint works, up to WEBHOOK_PARALLEL events are in hand; one that fails goes back to the server, which
gives it again later, longer each time. While it does not, nothing is pulled but one event at a time, to see.
What fails for longer than WEBHOOK_GIVE_UP_S is buried: EVENTS would forget it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import AsyncIterator
from typing import Literal

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.webhook import metrics
from services.webhook.backoff import delay
from services.webhook.breaker import Breaker
from services.webhook.endpoint import Endpoint, Failed
from services.webhook.outgoing import Outgoing, kind_of, read
from services.webhook.settings import WebhookSettings
from shared import bus
from shared.bus.pull import Puller
from shared.contract import deadletters, names
from shared.runtime.errors import BadMessage, BusError
from shared.runtime.tasks import end, unless
from shared.runtime.telemetry import Health, logger

CONSUMER = "webhook"
ACK_TRIES = 3
BEAT_S = 1.0
# For the requests that run when we are told to go.
GRACE_S = 5.0
MOST_BYTES = 64 * 1024 * 1024

# What became of a message: passed: no request was to be made. again: it comes again. old: given up for its age.
Done = Literal["passed", "answered", "again", "old"]


class Sender:
    """See the module."""

    def __init__(self, client: Client, endpoint: Endpoint, settings: WebhookSettings, health: Health) -> None:
        self._client = client
        self._endpoint = endpoint
        self._settings = settings
        self._health = health
        self._breaker = Breaker()
        self._opened = asyncio.Event()
        self._running: dict[asyncio.Task[Done], Msg] = {}
        self._puller: Puller | None = None
        self._draining = False
        self._ack_wait_s = 10.0
        self._log = logger("webhook")

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`, then drain. Raises BusError if the consumer is not there or the server closes for good."""
        config = await bus.consumer_config(self._client.jetstream(), names.EVENTS, CONSUMER)
        self._ack_wait_s = float(config.ack_wait or self._ack_wait_s)
        self._log.info("ready", endpoint=self._endpoint.where, events=sorted(self._settings.kinds))
        if not self._settings.key:
            self._log.warning(
                "requests are not signed: set WEBHOOK_SECRET, so that the endpoint can tell them from others"
            )
        self._health.ready = None
        ending = asyncio.Event()
        working = asyncio.create_task(self._work(ending), name="send")
        beating = asyncio.create_task(self._beat(), name="beat")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait({working, beating, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._draining = True
            self._health.ready = "draining"
            ending.set()
            await asyncio.wait({working})
            await self._drain()
            await end(beating, stopping)

    # ---- pull

    async def _work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if not self._breaker.is_open:
                async with self._pulling(self._settings.webhook_parallel) as puller:
                    await unless(stop, unless(self._opened, self._take(puller)))
                continue
            await unless(stop, asyncio.sleep(self._breaker.wait_s))
            if not stop.is_set():
                async with self._pulling(1) as puller:
                    await unless(stop, self._probe(puller))

    @contextlib.asynccontextmanager
    async def _pulling(self, messages: int) -> AsyncIterator[Puller]:
        """At the end what has come and was not begun is handed back."""
        async with Puller(self._client, names.EVENTS, CONSUMER, messages=messages, max_bytes=MOST_BYTES) as puller:
            self._puller = puller
            try:
                yield puller
            finally:
                for message in await puller.stop():
                    await self._hand_back(message)

    async def _take(self, puller: Puller) -> None:
        """Begin whatever comes. How much runs at once is bounded by the puller's credit."""
        while True:
            self._begin(puller, await puller.next(), ask=True)

    async def _probe(self, puller: Puller) -> None:
        """One request. If it fails and its event is too old, others are: until the next probe they are buried unasked.

        One a probe, EVENTS might forget some of them before their turn.
        """
        done: Done = "passed"
        while done == "passed":
            done = await self._one(puller, ask=True)
        if done == "old":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._breaker.wait_s):
                    while await self._one(puller, ask=False) != "again":
                        pass

    async def _one(self, puller: Puller, *, ask: bool) -> Done:
        task = self._begin(puller, await puller.next(), ask=ask)
        await asyncio.wait({task})
        return task.result()

    def _begin(self, puller: Puller, message: Msg, *, ask: bool) -> asyncio.Task[Done]:
        task = asyncio.create_task(self._handle(message, ask=ask))
        self._running[task] = message

        def over(task: asyncio.Task[Done]) -> None:
            del self._running[task]
            puller.release(message)

        task.add_done_callback(over)
        return task

    # ---- send

    async def _handle(self, message: Msg, *, ask: bool) -> Done:
        """ask: with a request; without one only those that are too old are answered for."""
        headers = message.headers or {}
        try:
            if headers.get(deadletters.REPLAY_FOR, CONSUMER) != CONSUMER or not self._is_wanted(message):
                await message.ack()
                return "passed"
            try:
                outgoing = read(message.subject, headers, message.data)
            except BadMessage as e:
                await self._bury(message, str(e))
                return "passed"
            if ask:
                return await self._send(message, outgoing)
            if self._is_old(message):
                await self._give_up(message, self._breaker.reason)
                return "old"
            await message.nak()
        except (BusError, TimeoutError, nats.errors.Error) as e:  # it comes again after the ack wait
            self._log.warning("could not answer for an event", subject=message.subject, error=repr(e))
        except Exception:
            self._log.exception("an event could not be worked on, it comes again", subject=message.subject)
        return "again"

    async def _send(self, message: Msg, outgoing: Outgoing) -> Done:
        begun = time.monotonic()
        try:
            await self._endpoint.post(outgoing)
        except Failed as e:
            metrics.REQUESTS.labels(e.outcome).inc()
            return await self._failed(message, outgoing, begun, e)
        metrics.REQUESTS.labels("delivered").inc()
        if outgoing.time is not None:
            metrics.LATENCY.observe(max(0.0, time.time() - outgoing.time))
        self._log.debug("delivered", id=outgoing.id)
        self._answered(begun)
        await self._acknowledge(message)
        return "answered"

    async def _failed(self, message: Msg, outgoing: Outgoing, begun: float, error: Failed) -> Done:
        if error.outcome == "gone":
            self._answered(begun)
            await self._bury(message, f"{self._endpoint.where} {error}")
            return "answered"
        meta = message.metadata
        was_open = self._breaker.is_open
        asked_s = error.asked_s if error.certain else None
        self._breaker.failed(meta.sequence.stream, begun, str(error), certain=error.certain, asked_s=asked_s)
        if self._breaker.is_open and not was_open:
            self._opened.set()
            self._log.warning("the endpoint fails: it is left alone, but for one event at a time", reason=str(error))
        self._tell()
        if self._is_old(message):
            await self._give_up(message, str(error))
            return "old"
        wait_s = delay(meta.num_delivered, error.asked_s)
        self._log.warning("not delivered, comes again", id=outgoing.id, delay_s=round(wait_s, 1), reason=str(error))
        await message.nak(delay=wait_s)
        return "again"

    def _answered(self, begun: float) -> None:
        was_open = self._breaker.is_open
        self._breaker.succeeded(begun)
        if was_open and not self._breaker.is_open:
            self._opened.clear()
            self._log.info("the endpoint is back")
        self._tell()

    async def _give_up(self, message: Msg, reason: str) -> None:
        await self._bury(
            message,
            f"not delivered within WEBHOOK_GIVE_UP_S={self._settings.webhook_give_up_s:g} s: "
            f"{self._endpoint.where} {reason}",
        )

    async def _bury(self, message: Msg, reason: str) -> None:
        await bus.bury(self._client, CONSUMER, message, reason, patience_s=self._ack_wait_s)
        metrics.DEAD.inc()
        self._log.warning("dead-lettered", subject=message.subject, reason=reason)
        await message.term()

    async def _acknowledge(self, message: Msg) -> None:
        """Ask for the server's word for it. Without it the event comes again, and is sent again."""
        for _ in range(ACK_TRIES):
            try:
                await message.ack_sync(timeout=2.0)
                return
            except (TimeoutError, nats.errors.Error) as e:
                self._log.debug("acknowledgement not confirmed", subject=message.subject, error=repr(e))

    async def _hand_back(self, message: Msg) -> None:
        try:
            await message.nak()
        except nats.errors.Error as e:
            self._log.debug("nak failed", error=repr(e))

    def _is_wanted(self, message: Msg) -> bool:
        return kind_of(message.subject) in self._settings.kinds

    def _is_old(self, message: Msg) -> bool:
        """By when it was stored: a dead letter that is replayed is young again."""
        return time.time() - message.metadata.timestamp.timestamp() > self._settings.webhook_give_up_s

    # ---- beside it

    def _tell(self) -> None:
        """/readyz: whether the endpoint is left alone, since when and why."""
        if self._draining:
            return
        opened_at = self._breaker.opened_at
        if opened_at is None:
            self._health.ready = None
            return
        self._health.ready = (
            f"{self._endpoint.where} takes no events since {_clock(opened_at)}: {self._breaker.reason}; "
            f"tried again at {_clock(time.time() + self._breaker.wait_s)}"
        )

    async def _beat(self) -> None:
        """Tell JetStream that what we hold is worked on."""
        progress = time.monotonic()
        while not self._client.is_closed:
            self._health.beat()
            if time.monotonic() - progress >= self._ack_wait_s / 3:
                progress = time.monotonic()
                waiting = self._puller.waiting if self._puller else []
                for message in [*self._running.values(), *waiting]:
                    await self._client.publish(message.reply, Msg.Ack.Progress)
            await asyncio.sleep(min(BEAT_S, self._ack_wait_s / 6))
        raise BusError("the connection to NATS was closed")

    async def _drain(self) -> None:
        """Let what runs end; hand back what does not in time, which the endpoint may have taken all the same."""
        running = dict(self._running)
        if running:
            await asyncio.wait(running, timeout=GRACE_S)
        late = [task for task in running if not task.done()]
        await end(*late)
        for task in late:
            await self._hand_back(running[task])
        try:
            await self._client.flush(timeout=2)
        except Exception as e:  # the server is gone: what we said may be lost, and comes again
            self._log.warning("drain could not flush", error=repr(e))
        self._log.info("drained", finished=len(running) - len(late), handed_back=len(late))


def _clock(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M:%SZ}"
