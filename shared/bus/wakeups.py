"""Notification of the first message on an idle consumer, without polling every few milliseconds.

    wakeups = Wakeups(client)
    await wakeups.arm(["stored.media.>"], reader.wake)     # while the consumer is idle; it is called once

A stream with republish publishes each message that it stores. A subscription here ends with its first message, so a
busy stream costs nothing. Consumers of one subject share a subscription.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

Wake = Callable[[], None]


def republished_subjects(source: str, destination: str, filters: Sequence[str]) -> list[str]:
    """Return the subjects on which a stream that republishes `source` to `destination` publishes messages to `filters`.

    No filters mean every message. The list is empty if the subjects alone are ambiguous: then only polls help.
    """
    if "{{" in destination or not destination:
        return []
    source = source or ">"
    if not filters or list(filters) == [source]:
        return [destination]
    if not (source.endswith(">") and destination.endswith(">")):
        return []
    prefix = source[:-1]
    return [destination[:-1] + f.removeprefix(prefix) for f in filters if f.startswith(prefix)]


class _Waiting:
    """The callbacks for the first message on a subject. subscription: None while it is being created."""

    def __init__(self, wake: Wake) -> None:
        self.sleepers = {wake}
        self.subscription: Subscription | None = None


class Wakeups:
    """The subscriptions that wait for a first message, by subject."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: dict[str, _Waiting] = {}

    async def arm(self, subjects: Iterable[str], wake: Wake) -> None:
        """Call `wake` once, at the next message on any of `subjects`. Arming is idempotent."""
        for subject in subjects:
            if waiting := self._waiting.get(subject):
                waiting.sleepers.add(wake)
            else:
                await self._subscribe(subject, wake)

    async def _subscribe(self, subject: str, wake: Wake) -> None:
        waiting = self._waiting[subject] = _Waiting(wake)

        async def first(_: Msg) -> None:
            if self._waiting.get(subject) is waiting:
                del self._waiting[subject]
            sleepers, waiting.sleepers = waiting.sleepers, set()
            for each in sleepers:
                each()

        try:
            waiting.subscription = await self._client.subscribe(subject, cb=first)
            await waiting.subscription.unsubscribe(limit=1)
        except (nats.errors.Error, OSError):
            # The connection is lost, or being closed: the next poll arms it again.
            self._waiting.pop(subject, None)

    async def disarm(self, wake: Wake) -> None:
        """Remove `wake`, and end a subscription without callbacks."""
        for subject, waiting in list(self._waiting.items()):
            waiting.sleepers.discard(wake)
            if waiting.subscription and not waiting.sleepers:
                del self._waiting[subject]
                with suppress(nats.errors.Error, OSError):
                    await waiting.subscription.unsubscribe()
