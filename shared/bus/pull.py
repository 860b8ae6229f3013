"""A pull subscription with credit by count and by bytes (ADR-37), which nats-py does not have.

    async with Puller(client, "MEDIA", "cv", messages=8, max_bytes=64_000_000) as puller:
        message = await puller.next()       # a message counts until the caller releases it
        puller.release(message)             # its credit goes back, for the next request

At most `messages` and about `max_bytes` are requested, buffered or in flight, so a replica never hoards another's work.
One request is open at a time, of `ASK_BYTES` at most. Once half of the credit is free, the next request asks for more:
messages are on their way while the other half is processed. `pause` withdraws the request, for work during which
nothing may be delivered.

A restarted server has forgotten its requests: our connection or its heartbeats end, and we request again. A server that
only hung has not, and serves them once it continues. So we request again once it answers, and on another inbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.bus.pull_request import PullRequest
from shared.contract.memory import MAX_PAYLOAD
from shared.runtime.tasks import end
from shared.runtime.ticks import until_tick

# One request is for this much, or for one largest message: the server closes a connection with more than its
# `max_pending`, twice this, waiting.
ASK_BYTES = MAX_PAYLOAD
# The interval between two checks of the connection: without an open request, and with one.
TICK_S, OPEN_S = 0.25, 1.0
# How long a server may take to finish sending: before a pause, and at the end.
PAUSE_S = 5.0
STOP_S = 1.0
# The server also counts the subject, the reply and its own headers. A message that does not fit into a request is never
# delivered, and blocks all behind it.
_AROUND = 16 * 1024


class Puller:
    """See the module. messages: maximum requested, buffered and in flight. max_bytes: the same in bytes."""

    def __init__(self, client: Client, stream: str, consumer: str, *, messages: int, max_bytes: int) -> None:
        self._client = client
        self._messages = messages
        self._bytes = max_bytes
        self._buffer: list[Msg] = []
        self._used = 0  # messages buffered or in flight, and their bytes
        self._used_bytes = 0
        self._arrived = asyncio.Event()
        self._wake = asyncio.Event()
        self._stopped = False
        self._paused = False
        self._request = PullRequest(client, stream, consumer, self._on_message, self._wake.set)
        self._switching = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Puller:
        await self._request.listen()
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
            if await self._request.is_answered():
                await self._request.withdraw(PAUSE_S)

    async def resume(self) -> None:
        """Request again, if `pause` was called."""
        async with self._switching:
            if self._paused and not self._stopped and not self._client.is_closed:
                await self._request.listen()
                self._paused = False
                self._wake.set()

    async def stop(self) -> list[Msg]:
        """Stop requesting; return the messages that arrived and are not taken, for the caller to hand back."""
        if self._stopped:
            return []
        self._stopped = True
        await end(self._task)
        async with self._switching:
            await self._request.withdraw(STOP_S)
        left, self._buffer = self._buffer, []
        self._arrived.set()
        return left

    def _on_message(self, message: Msg) -> None:
        self._used += 1
        self._used_bytes += _size(message)
        self._buffer.append(message)
        self._arrived.set()

    async def _restart(self) -> None:
        """Abandon the open request, on which the server is silent, and listen on another inbox."""
        async with self._switching:
            if self._paused or not await self._request.is_answered() or not self._request.is_silent:
                return
            await self._request.withdraw(PAUSE_S)
            await self._request.listen()

    async def _request_loop(self) -> None:
        request = self._request
        while not self._client.is_closed:
            self._wake.clear()
            if request.is_silent and self._client.is_connected:
                await self._restart()
            room = self._messages - self._used
            enough = room >= max(1, self._messages // 2) or (room > 0 and (request.was_cut or not self._buffer))
            room_bytes = self._bytes - self._used_bytes
            fits = room_bytes >= self._client.max_payload or self._used == 0
            ready = self._client.is_connected and not self._paused
            if ready and request.expected == 0 and enough and fits:
                size = max(min(room_bytes, ASK_BYTES), self._client.max_payload + _AROUND)
                await request.send(room, size)
            is_open = request.expected > 0 and self._client.is_connected
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until_tick(OPEN_S, time.time()) if is_open else TICK_S):
                    await self._wake.wait()
            if request.problem:  # refused: request again soon, not immediately
                await asyncio.sleep(TICK_S)


def _size(message: Msg) -> int:
    """Return roughly the bytes that the server counts: subject, reply, headers and payload."""
    return len(message.data) + 512
