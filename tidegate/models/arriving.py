"""The segments that arrive in MEDIA from now on, by a consumer of its own.

Example:
    await follow(client, ["lobby"], 60.0, comparison, tell)

The consumer delivers headers only. The payload of a segment is read when the detectors are ready for it. So a slow
detector costs neither memory nor traffic: at most WAITING headers wait, the oldest are skipped and counted. Nothing is
acknowledged and nothing is published, so the consumer of cv and its events are as without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

from shared.bus.pull import Puller
from shared.contract import names, segment
from shared.contract.memory import MAX_PAYLOAD
from shared.runtime.errors import BadSegment, Expired
from shared.runtime.tasks import end
from shared.video import gop
from tidegate.models.comparison import Comparison
from tidegate.models.footage import Part

# Headers that wait for the detectors. More of them would be older video, not more of it.
WAITING = 8
# The server removes the consumer of a process that crashed, after this time without a request.
INACTIVE_S = 30.0
_HEADERS = 64
_TICK_S = 1.0


class _Waiting:
    """The headers that wait for the detectors."""

    def __init__(self, late: Callable[[int], None]) -> None:
        self._late = late
        self._messages: deque[Msg] = deque()
        self._arrived = asyncio.Event()

    def add(self, message: Msg) -> None:
        if len(self._messages) == WAITING:
            self._messages.popleft()
            self._late(1)
        self._messages.append(message)
        self._arrived.set()

    async def next(self, timeout_s: float) -> Msg | None:
        """Return the oldest message; None if none arrives in time."""
        if not self._messages and timeout_s > 0:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._arrived.wait()
        return self._messages.popleft() if self._messages else None


async def follow(
    client: Client, cameras: Sequence[str], seconds: float, comparison: Comparison, tell: Callable[[str], None]
) -> None:
    """Compare on the segments that arrive within `seconds`. cameras: none for all.

    Raises nats.errors.Error, TimeoutError or BusError if the server does not answer.
    """
    js, loop = client.jetstream(), asyncio.get_running_loop()
    waiting = _Waiting(comparison.skip_late)
    async with (
        _consumer(js, cameras) as name,
        Puller(client, names.MEDIA, name, messages=_HEADERS, max_bytes=2 * MAX_PAYLOAD) as puller,
    ):
        reading = asyncio.create_task(_read(puller, waiting), name="arriving")
        try:
            began = loop.time()
            while True:
                passed = loop.time() - began
                tell(_progress(comparison, passed, seconds))
                if passed >= seconds:
                    await end(reading)
                message = await waiting.next(min(_TICK_S, seconds - passed))
                if message is None and passed >= seconds:
                    return
                if message is not None:
                    await _compare(js, message, comparison)
        finally:
            await end(reading)


@contextlib.asynccontextmanager
async def _consumer(js: JetStreamContext, cameras: Sequence[str]) -> AsyncIterator[str]:
    """Create the consumer, and delete it at the end."""
    name = f"compare-{secrets.token_hex(6)}"
    config = ConsumerConfig(
        durable_name=name,
        deliver_policy=DeliverPolicy.NEW,
        ack_policy=AckPolicy.NONE,
        filter_subjects=[names.media(camera) for camera in cameras] or [names.media("*")],
        headers_only=True,
        inactive_threshold=INACTIVE_S,
    )
    await js.add_consumer(names.MEDIA, config)
    try:
        yield name
    finally:
        # A server that is away removes it by itself.
        with contextlib.suppress(APIError, nats.errors.Error, TimeoutError):
            await js.delete_consumer(names.MEDIA, name)


async def _read(puller: Puller, waiting: _Waiting) -> None:
    while True:
        message = await puller.next()
        puller.release(message)
        waiting.add(message)


async def _compare(js: JetStreamContext, message: Msg, comparison: Comparison) -> None:
    try:
        part = await _part(js, message)
    except BadSegment as e:
        comparison.skip(e)
        return
    await asyncio.to_thread(comparison.add, part)


async def _part(js: JetStreamContext, message: Msg) -> Part:
    """Return the segment of a header. Raises BadSegment, Expired if MEDIA has lost it meanwhile."""
    head = segment.from_message(message.subject, message.headers)
    try:
        stored = await js.get_msg(names.MEDIA, message.metadata.sequence.stream, direct=True)
    except NotFoundError as e:
        raise Expired("it has left MEDIA before the detectors were ready") from e
    return Part(head, stored.data or b"", tuple(await gop.earlier(js, head)))


def _progress(comparison: Comparison, passed: float, seconds: float) -> str:
    skipped = comparison.skipped.total()
    more = f", {skipped} skipped" if skipped else ""
    return f"live, {min(passed, seconds):.0f} of {seconds:g} s: {comparison.segments} segments compared{more}"
