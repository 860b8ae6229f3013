"""One message at a time, and only if there is one now: no request stays open during other work.

    fetcher = NoWaitFetcher(client, "BACKFILL", "cv-backfill")
    await fetcher.open()
    message = await fetcher.next()          # None if there is none
    await fetcher.close()

`shared.bus.pull` always has an open request, which may bring a message when there is no time for it.
"""

from __future__ import annotations

import asyncio

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import Header

from shared.contract import names
from shared.runtime.telemetry import logger

TIMEOUT_S = 5.0
CLOSE_S = 1.0
_REQUEST = b'{"batch": 1, "no_wait": true}'


class NoWaitFetcher:
    """See the module. One caller at a time."""

    def __init__(self, client: Client, stream: str, consumer: str) -> None:
        self._client = client
        self._subject = names.api("CONSUMER.MSG.NEXT", stream, consumer)
        self._inbox = client.new_inbox()
        self._requests = 0
        self._reply = ""
        self._waiter: asyncio.Future[Msg | None] | None = None
        self._left: list[Msg] = []  # came just as the caller was cancelled
        self._answered = asyncio.Event()
        self._answered.set()
        self._sub: Subscription | None = None
        self._log = logger("puller")

    async def open(self) -> None:
        self._sub = await self._client.subscribe(f"{self._inbox}.*", cb=self._on_message)

    async def close(self) -> None:
        """Close, and hand back the messages of an abandoned request.

        It waits for them: the server may send them even after the unsubscribe, and they are lost until their ack wait
        is over.
        """
        if self._sub and not self._client.is_closed:
            try:
                async with asyncio.timeout(CLOSE_S):
                    await self._answered.wait()
                    for message in self._left:
                        await message.nak()
                    await self._sub.drain()  # type: ignore[no-untyped-call]
            except (TimeoutError, nats.errors.Error) as e:
                self._log.debug("unsubscribe failed", error=repr(e))
        self._sub = None

    async def next(self) -> Msg | None:
        """Return a message for the caller to answer. None if there is none, or the server does not answer."""
        self._requests += 1
        self._reply = f"{self._inbox}.{self._requests}"
        waiter: asyncio.Future[Msg | None] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        self._answered.clear()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._client.publish(self._subject, _REQUEST, reply=self._reply)
                return await waiter
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("pull failed", error=repr(e))
            return waiter.result() if waiter.done() and not waiter.cancelled() else None
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and (message := waiter.result()):
                self._left.append(message)
            raise
        finally:
            self._waiter = None

    async def _on_message(self, message: Msg) -> None:
        """Handle a message, or the status that there is none."""
        if message.subject == self._reply or message.reply.startswith("$JS.ACK."):
            self._answered.set()
        waits = self._waiter is not None and not self._waiter.done()
        if message.reply.startswith("$JS.ACK."):
            if waits and self._waiter:
                self._waiter.set_result(message)
                return
            try:  # it came late, and no caller has it
                await message.nak()
            except nats.errors.Error as e:
                self._log.debug("nak failed", error=repr(e))
        elif waits and self._waiter and message.subject == self._reply:
            status, why = ((message.headers or {}).get(of, "") for of in (Header.STATUS, Header.DESCRIPTION))
            if status not in ("404", "408"):
                self._log.warning("pull refused", reason=f"{status} {why}".strip())
            self._waiter.set_result(None)
