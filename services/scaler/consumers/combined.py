"""What is read from several replies: the sum of several consumers, and the deferred segments of a service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.scaler.consumers.counts import ConsumerState
from services.scaler.consumers.listeners import Listeners, nothing
from services.scaler.consumers.readers import ConsumerReader, StreamReader
from services.scaler.demand.observation import DeferredSegments
from shared.bus.infos import Missing, Unavailable
from shared.contract import names


class MergedReader:
    """The sum of several consumers, with the interface of a `ConsumerReader`. parts: the reader of each."""

    def __init__(self, parts: Sequence[ConsumerReader]) -> None:
        self.stream = ",".join(dict.fromkeys(part.stream for part in parts))
        self.consumer = ",".join(part.consumer for part in parts)
        self.listeners = Listeners()
        self.first_answer = asyncio.Event()
        self.parts = list(parts)
        for part in parts:
            part.listeners.add(self._notify)

    def state(self) -> ConsumerState:
        """Return the sum of all, with the oldest time. Raises if any of them does."""
        states = [part.state() for part in self.parts]
        return ConsumerState(
            at=min(s.at for s in states),
            pending=sum(s.pending for s in states),
            in_flight=sum(s.in_flight for s in states),
            arrived=sum(s.arrived for s in states),
        )

    @property
    def expired(self) -> int:
        return sum(part.expired for part in self.parts)

    @property
    def woken(self) -> bool:
        return any(part.woken for part in self.parts)

    def _notify(self) -> None:
        if all(part.first_answer.is_set() for part in self.parts):
            self.first_answer.set()
        self.listeners.notify(consumer=self.consumer, stream=self.stream)

    async def close(self) -> None:
        for part in self.parts:
            part.listeners.discard(self._notify)


class DeferredReader:
    """A service's deferred segments. media: gives the retention of video. problem: why they are unknown."""

    def __init__(self, jobs: ConsumerReader, media: StreamReader) -> None:
        self._jobs = jobs
        self.problem = ""
        self._media = media

    @property
    def latest(self) -> DeferredSegments | None:
        """The counts; None if either reply is missing, or MEDIA has no maximum age."""
        media = self._media.reply
        try:
            state = self._jobs.state()
        except (Missing, Unavailable) as e:
            self.problem = str(e)
            return None
        if not (media and media.config.max_age):
            self.problem = f"stream {names.MEDIA} does not say for how long it keeps video"
            return None
        self.problem = ""
        return DeferredSegments(ever=state.arrived, waiting=state.backlog, retention_s=media.config.max_age / 1e9)

    def open(self) -> None:
        self._jobs.listeners.add(nothing)

    def close(self) -> None:
        self._jobs.listeners.discard(nothing)


Reader = ConsumerReader | MergedReader
