"""Live events for any number of browsers. A slow one loses events, gets their number, and takes bounded memory.

    with hub.listening(lambda event: event.kind == "alerts") as listener:
        async for item in listener: ...      # FeedEvent, or Missed

In addition to EVENTS, it publishes the runs over recordings, as their bucket changes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec
from nats.aio.msg import Msg

from services.console.links.subscriptions import subscribed
from services.console.metrics import DROPPED, VIEWERS
from shared.bus.client import Connection
from shared.bus.direct import stored
from shared.contract import names
from shared.contract.work import runs
from shared.runtime.errors import SettingError

# Events that wait for one browser: some seconds of a busy system.
MOST_WAITING = 1000
_REMEMBERED = 20_000
# The kind of events about runs over recordings.
RUNS = names.RUNS


class FeedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as stored. cameras: its cameras; exactly one, except for RUNS. id: its ce-id. data: JSON."""

    kind: str
    cameras: tuple[str, ...]
    id: str
    data: msgspec.Raw

    @property
    def camera(self) -> str:
        return self.cameras[0]


Filter = Callable[[FeedEvent], bool]


class Missed(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of dropped events of each kind: the browser was too slow."""

    missed: dict[str, int]


class Listener:
    """The waiting events of one browser. wanted: whether it gets an event."""

    def __init__(self, wanted: Filter) -> None:
        self._wanted = wanted
        self._waiting: deque[FeedEvent] = deque()
        self._missed: Counter[str] = Counter()
        self._wakeup = asyncio.Event()

    def take(self, event: FeedEvent) -> None:
        if not self._wanted(event):
            return
        if len(self._waiting) >= MOST_WAITING:
            oldest = self._waiting.popleft()
            self._missed[oldest.kind] += 1
            DROPPED.labels("event").inc()
        self._waiting.append(event)
        self._wakeup.set()

    def __aiter__(self) -> AsyncIterator[FeedEvent | Missed]:
        return self

    async def __anext__(self) -> FeedEvent | Missed:
        """Return the next event; missed ones are reported before those after them."""
        while not self._waiting:
            self._wakeup.clear()
            await self._wakeup.wait()
        if self._missed:
            missed, self._missed = Missed(missed=dict(self._missed)), Counter()
            return missed
        return self._waiting.popleft()


class Hub:
    """One subscription for all browsers. client: the viewer's connection."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._listeners: set[Listener] = set()
        self._seen: dict[str, None] = {}
        # Callbacks of other parts of the console, not of browsers, for every event except RUNS.
        self.taps: list[Callable[[FeedEvent], None]] = []

    @contextlib.contextmanager
    def listening(self, wanted: Filter) -> Iterator[Listener]:
        listener = Listener(wanted)
        self._listeners.add(listener)
        VIEWERS.inc()
        try:
            yield listener
        finally:
            VIEWERS.dec()
            self._listeners.discard(listener)

    async def run(self) -> None:
        """Run until cancelled."""
        callbacks = {f"{names.EVENT}.>": self._on_event, names.change(names.RUNS, ">"): self._on_run}
        async with subscribed(self._client, callbacks):
            await asyncio.Event().wait()

    async def _on_event(self, message: Msg) -> None:
        id = (message.headers or {}).get("ce-id", "")
        # The same id with another kind is another event.
        key = f"{message.subject} {id}"
        if not id or key in self._seen:
            return
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        kind, _, camera = message.subject.removeprefix(f"{names.EVENT}.").rpartition(".")
        event = FeedEvent(kind=kind, cameras=(camera,), id=id, data=msgspec.Raw(message.data))
        for tap in self.taps:
            tap(event)
        self._publish(event)

    async def _on_run(self, message: Msg) -> None:
        key = message.subject.removeprefix(names.change(names.RUNS, ""))
        try:
            run = runs.decode(key, message.data)
        except SettingError:  # it was deleted, or written by hand
            return
        id = f"{RUNS}/{key}/{stored(message).seq}"
        self._publish(FeedEvent(kind=RUNS, cameras=run.cameras, id=id, data=msgspec.Raw(runs.encode(run))))

    def _publish(self, event: FeedEvent) -> None:
        for listener in list(self._listeners):
            listener.take(event)
