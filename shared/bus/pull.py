"""A pull subscription with credit by count and by bytes (ADR-37), which nats-py does not have.

    async with Puller(client, "MEDIA", "cv", messages=8, max_bytes=64_000_000) as puller:
        message = await puller.next()       # a message counts until the caller releases it
        puller.release(message)             # its credit goes back, for the next request

At most `messages` and about `max_bytes` are requested, buffered or in flight, so a replica never hoards another's work.
One request is open at a time, of `ASK_BYTES` at most. Once half of the credit is free, the next request asks for more:
messages are on their way while the other half is processed. `pause` withdraws the request, for work during which
nothing may be delivered.

A restarted server has forgotten its requests: its heartbeats stop, and we request again. A server that only hung has
not, and serves them once it continues. So we request again once it answers, and on another inbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import json

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import Header

from shared.contract import names
from shared.contract.memory import MAX_PAYLOAD
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger

EXPIRES_S = 5.0
# One request is for this much, or for one largest message: the server closes a connection with more than its
# `max_pending`, twice this, waiting.
ASK_BYTES = MAX_PAYLOAD
# The server's heartbeat interval while a request is open and idle. Two missed ones are a silence.
IDLE_HEARTBEAT_S = 1.0
SILENCE_S = 2.5 * IDLE_HEARTBEAT_S
TICK_S = 0.25
# How long a server may take to answer, or to finish sending: before a pause, and at the end.
PAUSE_S = 5.0
STOP_S = 1.0
# The server also counts the subject, the reply and its own headers. A message that does not fit into a request is never
# delivered, and blocks all behind it.
_AROUND = 16 * 1024
# The status of a heartbeat; every other status (404, 408, 409) ends the request.
_HEARTBEAT = "100"


class Puller:
    """See the module. messages: maximum requested, buffered and in flight. max_bytes: the same in bytes."""

    def __init__(self, client: Client, stream: str, consumer: str, *, messages: int, max_bytes: int) -> None:
        self._client = client
        self._next_subject = names.api("CONSUMER.MSG.NEXT", stream, consumer)
        self._info_subject = names.api("CONSUMER.INFO", stream, consumer)
        self._messages = messages
        self._bytes = max_bytes
        self._buffer: list[Msg] = []
        self._used = 0  # messages buffered or in flight, and their bytes
        self._used_bytes = 0
        self._requested = 0  # messages that the open request may still bring; 0: no request is open
        self._wanted = 0  # messages that it was for
        self._cut = False  # the last request ended by its bytes: there is more
        self._reply = ""
        self._requests = 0
        self._last_message_at = 0.0
        self._arrived = asyncio.Event()
        self._wake = asyncio.Event()
        self._stopped = False
        self._paused = False
        self._problem = ""
        self._log = logger("puller")
        self._sub: Subscription | None = None
        self._switching = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Puller:
        await self._listen()
        self._task = asyncio.create_task(self._request_loop(), name="puller")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def waiting(self) -> list[Msg]:
        """The messages that arrived and are not taken yet, the oldest first. They need heartbeats too."""
        return list(self._buffer)

    def release(self, message: Msg) -> None:
        """Return the credit of a message from `next`: the caller is done with it."""
        self._used -= 1
        self._used_bytes -= _size(message)
        self._wake.set()

    async def next(self) -> Msg:
        """Return the oldest message. Waits forever; CancelledError after `stop`."""
        await self.some()
        return self.take(self._buffer[0])

    async def some(self) -> None:
        """Wait until `take` has a message. CancelledError after `stop`."""
        while not self._buffer:
            if self._stopped:
                raise asyncio.CancelledError
            self._arrived.clear()
            await self._arrived.wait()

    def take(self, message: Msg) -> Msg:
        """Take a message that is waiting."""
        self._buffer.remove(message)
        return message

    async def pause(self) -> None:
        """Request nothing until `resume`. On return, all that the server had sent has arrived, unless it took longer
        than `PAUSE_S`.
        """
        self._paused = True
        async with self._switching:
            if await self._is_answered():
                await self._withdraw(PAUSE_S)

    async def resume(self) -> None:
        """Request again, if `pause` was called."""
        async with self._switching:
            if self._paused and not self._stopped and not self._client.is_closed:
                if self._sub is None:
                    await self._listen()
                self._paused = False
                self._wake.set()

    async def stop(self) -> list[Msg]:
        """Stop requesting; return the messages that arrived and are not taken, for the caller to hand back."""
        if self._stopped:
            return []
        self._stopped = True
        await end(self._task)
        async with self._switching:
            await self._withdraw(STOP_S)
        left, self._buffer = self._buffer, []
        self._arrived.set()
        return left

    async def _listen(self) -> None:
        inbox = self._inbox = self._client.new_inbox()

        async def on_message(message: Msg) -> None:
            self._on_message(message, ours=inbox == self._inbox)

        self._sub = await self._client.subscribe(
            f"{inbox}.*", cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1
        )

    async def _withdraw(self, within_s: float) -> None:
        """Unsubscribe, and have the server drop the open request; messages it had sent still arrive.

        The server may still serve a request without a listener: such a message is lost until its ack wait is over. A
        consumer info request makes the server drop those requests first.
        """
        if self._sub and not self._client.is_closed:
            try:
                async with asyncio.timeout(within_s):
                    await self._sub.drain()  # type: ignore[no-untyped-call]
                    await self._client.request(self._info_subject, timeout=within_s)
            except (TimeoutError, nats.errors.Error) as e:
                self._log.debug("unsubscribe failed", error=repr(e))
        self._sub = None
        self._requested = 0
        self._reply = ""

    async def _is_answered(self) -> bool:
        """Whether the consumer's server answers within `PAUSE_S`. If not, it may still serve the open request."""
        try:
            await self._client.request(self._info_subject, timeout=PAUSE_S)
            return True
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("the server does not answer", error=repr(e))
            return False

    def _is_silent(self) -> bool:
        return self._requested > 0 and asyncio.get_running_loop().time() - self._last_message_at > SILENCE_S

    async def _restart(self) -> None:
        """Abandon the open request, on which the server is silent, and listen on another inbox."""
        async with self._switching:
            if self._paused or not await self._is_answered() or not self._is_silent():
                return
            await self._withdraw(PAUSE_S)
            await self._listen()

    def _on_message(self, message: Msg, *, ours: bool) -> None:
        """Handle a reply. ours: it answers the open request, not an older one that could not be withdrawn in time."""
        if message.reply.startswith("$JS.ACK."):
            self._last_message_at = asyncio.get_running_loop().time()
            self._requested = max(0, self._requested - ours)
            self._used += 1
            self._used_bytes += _size(message)
            self._buffer.append(message)
            self._arrived.set()
            if self._requested == 0:
                self._wake.set()
        elif message.subject == self._reply:
            self._last_message_at = asyncio.get_running_loop().time()
            if (status := (message.headers or {}).get(Header.STATUS, "")) != _HEARTBEAT:
                self._on_end(status, (message.headers or {}).get(Header.DESCRIPTION, ""))

    def _on_end(self, status: str, description: str) -> None:
        """End the open request: it expired, it is filled, or the server refused it."""
        text = description.lower()
        is_cut = "maxbytes" in text and self._requested < self._wanted
        usual = status in ("404", "408") or (status == "409" and ("completed" in text or is_cut))
        problem = "" if usual else f"{status} {description}".strip()
        if problem and problem != self._problem:
            self._log.warning("pull refused", reason=problem)
        self._problem = problem
        self._cut = is_cut
        self._requested = 0
        self._wake.set()

    async def _request_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._client.is_closed:
            if self._is_silent() and self._client.is_connected:
                await self._restart()
            room = self._messages - self._used
            enough = room >= max(1, self._messages // 2) or (room > 0 and (self._cut or not self._buffer))
            room_bytes = self._bytes - self._used_bytes
            fits = room_bytes >= self._client.max_payload or self._used == 0
            ready = self._client.is_connected and not self._paused
            if ready and self._requested == 0 and enough and fits:
                size = max(min(room_bytes, ASK_BYTES), self._client.max_payload + _AROUND)
                await self._request(room, size)
                self._last_message_at = loop.time()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            if self._problem:  # refused: request again soon, not immediately
                await asyncio.sleep(TICK_S)

    async def _request(self, messages: int, size: int) -> None:
        self._requests += 1
        self._reply = f"{self._inbox}.{self._requests}"
        self._requested = self._wanted = messages
        self._cut = False
        request = {
            "batch": messages,
            "max_bytes": size,
            "expires": int(EXPIRES_S * 1e9),
            "idle_heartbeat": int(IDLE_HEARTBEAT_S * 1e9),
        }
        try:
            await self._client.publish(self._next_subject, json.dumps(request).encode(), reply=self._reply)
        except nats.errors.Error as e:  # not connected: the next round retries
            self._requested = 0
            self._log.debug("pull failed", error=repr(e))


def _size(message: Msg) -> int:
    """Return roughly the bytes that the server counts: subject, reply, headers and payload."""
    return len(message.data) + 512
