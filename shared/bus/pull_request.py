"""One pull request at a time to a consumer, and an inbox for what it brings. See `pull`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import Header

from shared.bus.client import server_is_alone
from shared.contract import names
from shared.runtime.telemetry import logger

# The time that a request stays open: in a cluster, and at a lone server.
EXPIRES_S, LONE_EXPIRES_S = 5.0, 30.0
# The server's heartbeat interval while a request is open and idle. Two missed ones are a silence.
IDLE_HEARTBEAT_S = 1.0
SILENCE_S = 2.5 * IDLE_HEARTBEAT_S
# How long the consumer's server may take to answer.
ANSWER_S = 5.0
# The status of a heartbeat; every other status (404, 408, 409) ends the request.
_HEARTBEAT = "100"


class PullRequest:
    """arrived: called with each message. ended: called when the request brings no more.

    expected: messages that the open request may still bring; 0: no request is open. was_cut: the last request ended by
    its bytes: there is more. problem: why the server refused the last request; "" if it did not.
    """

    def __init__(
        self, client: Client, stream: str, consumer: str, arrived: Callable[[Msg], None], ended: Callable[[], None]
    ) -> None:
        self.expected = 0
        self.was_cut = False
        self.problem = ""
        self._client = client
        self._next_subject = names.api("CONSUMER.MSG.NEXT", stream, consumer)
        self._info_subject = names.api("CONSUMER.INFO", stream, consumer)
        self._arrived = arrived
        self._ended = ended
        self._wanted = 0  # messages that it was for
        self._inbox = ""
        self._reply = ""
        self._requests = 0
        self._has_heartbeats = True
        self._connection = 0
        self._last_message_at = 0.0
        self._sub: Subscription | None = None
        self._log = logger("puller")

    @property
    def is_silent(self) -> bool:
        """Whether a request is open, and the server sends not even heartbeats, or may have forgotten it."""
        quiet_s = SILENCE_S if self._has_heartbeats else LONE_EXPIRES_S + SILENCE_S
        is_quiet = asyncio.get_running_loop().time() - self._last_message_at > quiet_s
        return self.expected > 0 and (is_quiet or self._client.stats["reconnects"] != self._connection)

    async def listen(self) -> None:
        """Listen on a new inbox, unless there is one."""
        if self._sub:
            return
        inbox = self._inbox = self._client.new_inbox()

        async def on_message(message: Msg) -> None:
            self._on_message(message, ours=inbox == self._inbox)

        self._sub = await self._client.subscribe(
            f"{inbox}.*", cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1
        )

    async def send(self, messages: int, size: int) -> None:
        """Request up to `messages`, of up to `size` bytes."""
        self._requests += 1
        self._reply = f"{self._inbox}.{self._requests}"
        self.expected = self._wanted = messages
        self.was_cut = False
        # A lone server forgets a request only when it ends, and our connection with it.
        self._has_heartbeats = not server_is_alone(self._client)
        self._connection = self._client.stats["reconnects"]
        request = {
            "batch": messages,
            "max_bytes": size,
            "expires": int((EXPIRES_S if self._has_heartbeats else LONE_EXPIRES_S) * 1e9),
            "idle_heartbeat": int(IDLE_HEARTBEAT_S * 1e9) if self._has_heartbeats else 0,
        }
        try:
            await self._client.publish(self._next_subject, json.dumps(request).encode(), reply=self._reply)
        except nats.errors.Error as e:  # not connected: the next round retries
            self.expected = 0
            self._log.debug("pull failed", error=repr(e))
        self._last_message_at = asyncio.get_running_loop().time()

    async def withdraw(self, within_s: float) -> None:
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
        self.expected = 0
        self._reply = ""

    async def is_answered(self) -> bool:
        """Whether the consumer's server answers. If not, it may still serve the open request."""
        try:
            await self._client.request(self._info_subject, timeout=ANSWER_S)
            return True
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("the server does not answer", error=repr(e))
            return False

    def _on_message(self, message: Msg, *, ours: bool) -> None:
        """Handle a reply. ours: it answers the open request, not an older one that could not be withdrawn in time."""
        if message.reply.startswith("$JS.ACK."):
            self._last_message_at = asyncio.get_running_loop().time()
            self.expected = max(0, self.expected - ours)
            self._arrived(message)
            if self.expected == 0:
                self._ended()
        elif message.subject == self._reply:
            self._last_message_at = asyncio.get_running_loop().time()
            if (status := (message.headers or {}).get(Header.STATUS, "")) != _HEARTBEAT:
                self._on_end(status, (message.headers or {}).get(Header.DESCRIPTION, ""))

    def _on_end(self, status: str, description: str) -> None:
        """End the open request: it expired, it is filled, or the server refused it."""
        text = description.lower()
        is_cut = "maxbytes" in text and self.expected < self._wanted
        usual = status in ("404", "408") or (status == "409" and ("completed" in text or is_cut))
        problem = "" if usual else f"{status} {description}".strip()
        if problem and problem != self.problem:
            self._log.warning("pull refused", reason=problem)
        self.problem = problem
        self.was_cut = is_cut
        self.expected = 0
        self._ended()
