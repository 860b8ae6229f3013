"""The seam of the loop: the moments at which it calls its optional parts.

    prepare ─▶ infer ─▶ publishing( publish ) ─▶ stored ─▶ acknowledge        a message that has a result
    prepare ─▶ failed ─▶ dead letter or nak                                   one that has none

The loop alone takes, publishes and answers messages. An extension that is left out changes nothing for the others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Generic

from nats.aio.msg import Msg

from shared.contract.events import Event
from shared.worker.in_flight import Source
from shared.worker.service import Message, P


class Extension(Generic[P]):
    """An optional part of the loop. Each method is called at its moment; these do nothing."""

    async def open(self) -> None:
        """The consumers' configuration is read, and nothing is pulled yet. Raises BusError."""

    async def start(self) -> Sequence[asyncio.Task[None]]:
        """The loop starts. Return the tasks of this extension: if one of them fails, the loop ends."""
        return ()

    def received(self, message: Message) -> None:
        """A message of this service was taken."""

    def prepared(self, message: Message, prepared: P) -> None:
        """A message is prepared."""

    def computed(self, batch: Sequence[P], seconds: float) -> None:
        """The device computed a batch. seconds: of a replica."""

    def publishing(self, message: Message, event: Event, id: str) -> AbstractAsyncContextManager[None]:
        """Wrap the publication of a result. An error fails the message. id: the event's `ce-id`."""
        return contextlib.nullcontext()

    def stored(self, prepared: P, event: Event) -> None:
        """The server confirmed a result; its message is acknowledged next."""

    def failed(self, message: Message, error: Exception) -> bool:
        """Return whether a message without any chance is worth a dead letter. Otherwise it is acknowledged."""
        return True

    def running_since(self) -> Iterable[float | None]:
        """Return when each running preparation began, or last made progress: monotonic clock, seconds."""
        return ()

    async def beat(self) -> None:
        """Some seconds have passed: the time for reports of progress."""

    async def stop(self) -> None:
        """The loop stops, and begins to drain after this."""

    async def close(self) -> None:
        """The loop has drained."""

    async def hand_back(self) -> None:
        """The process is about to exit: nak what this extension has in flight."""


class Extensions(Generic[P]):
    """Calls each of several extensions, in their order, at a moment of the loop."""

    def __init__(self, extensions: Sequence[Extension[P]] = ()) -> None:
        self._each = extensions
        # Each context costs microseconds a message.
        self._wrapping = [e for e in extensions if type(e).publishing is not Extension.publishing]

    async def open(self) -> None:
        for extension in self._each:
            await extension.open()

    async def start(self) -> list[asyncio.Task[None]]:
        return [task for extension in self._each for task in await extension.start()]

    def received(self, message: Message) -> None:
        for extension in self._each:
            extension.received(message)

    def prepared(self, message: Message, prepared: P) -> None:
        for extension in self._each:
            extension.prepared(message, prepared)

    def computed(self, batch: Sequence[P], seconds: float) -> None:
        for extension in self._each:
            extension.computed(batch, seconds)

    @contextlib.asynccontextmanager
    async def publishing(self, message: Message, event: Event, id: str) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as around:
            for extension in self._wrapping:
                await around.enter_async_context(extension.publishing(message, event, id))
            yield

    def stored(self, prepared: P, event: Event) -> None:
        for extension in self._each:
            extension.stored(prepared, event)

    def failed(self, message: Message, error: Exception) -> bool:
        """Return whether all of them agree to a dead letter."""
        return all(extension.failed(message, error) for extension in self._each)

    def running_since(self) -> list[float | None]:
        return [since for extension in self._each for since in extension.running_since()]

    async def beat(self) -> None:
        for extension in self._each:
            await extension.beat()

    async def stop(self) -> None:
        for extension in self._each:
            await extension.stop()

    async def close(self) -> None:
        for extension in self._each:
            await extension.close()

    async def hand_back(self) -> None:
        for extension in self._each:
            await extension.hand_back()


class Intake:
    """Chooses the message that is taken next: the oldest of a source."""

    def open(self, sources: Sequence[Source]) -> None:
        """The consumers' configuration is read."""

    async def next(self, source: Source) -> tuple[Source, Msg] | None:
        """Return a message that has arrived, and its source, once `source` has one.

        None: there is none left, or this has processed it.
        """
        arrived = source.arrived
        return (source, source.puller.take(arrived[0])) if arrived else None
