"""Events as they come, for any number of browsers. A slow one loses events and is told how many, and never more memory.

with hub.listening(lambda event: event.kind == "alerts") as heard:
    async for item in heard: ...         # Heard, or Missed

Beside what EVENTS stores it tells of runs over recordings, as their bucket changes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec
from nats.aio.msg import Msg

from services.console.metrics import DROPPED, VIEWERS
from shared.bus.client import Connection
from shared.bus.direct import stored
from shared.contract import names, runs
from shared.runtime.errors import SettingError

# Events that wait for one browser: some seconds of a busy system.
MOST_WAITING = 1000
_REMEMBERED = 20_000
# What is told of runs over recordings.
RUNS = names.RUNS


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it was stored. cameras: all that it is of; one, but for RUNS. id: its ce-id. data: JSON."""

    kind: str
    cameras: tuple[str, ...]
    id: str
    data: msgspec.Raw

    @property
    def camera(self) -> str:
        return self.cameras[0]


Wanted = Callable[[Heard], bool]


class Missed(msgspec.Struct, frozen=True, kw_only=True):
    """So many events of each kind were dropped, as the browser did not take them in time."""

    missed: dict[str, int]


class Listener:
    """What waits for one browser. wanted: whether it gets an event."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._waiting: deque[Heard] = deque()
        self._missed: Counter[str] = Counter()
        self._came = asyncio.Event()

    def take(self, event: Heard) -> None:
        if not self._wanted(event):
            return
        if len(self._waiting) >= MOST_WAITING:
            oldest = self._waiting.popleft()
            self._missed[oldest.kind] += 1
            DROPPED.labels("event").inc()
        self._waiting.append(event)
        self._came.set()

    def __aiter__(self) -> AsyncIterator[Heard | Missed]:
        return self

    async def __anext__(self) -> Heard | Missed:
        """What was missed is told of before what came after it."""
        while not self._waiting:
            self._came.clear()
            await self._came.wait()
        if self._missed:
            missed, self._missed = Missed(missed=dict(self._missed)), Counter()
            return missed
        return self._waiting.popleft()


class Hub:
    """One subscription for all of them. client: the viewer's connection."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._listeners: set[Listener] = set()
        self._seen: dict[str, None] = {}
        # Parts of the console that hear of every event, but not of RUNS: no browser among them.
        self.taps: list[Callable[[Heard], None]] = []

    @contextlib.contextmanager
    def listening(self, wanted: Wanted) -> Iterator[Listener]:
        listener = Listener(wanted)
        self._listeners.add(listener)
        VIEWERS.inc()
        try:
            yield listener
        finally:
            VIEWERS.dec()
            self._listeners.discard(listener)

    async def run(self) -> None:
        """Until cancelled."""
        subscriptions = [
            await self._client.subscribe(f"{names.EVENT}.>", cb=self._on),
            await self._client.subscribe(names.change(names.RUNS, ">"), cb=self._on_run),
        ]
        try:
            await asyncio.Event().wait()
        finally:
            if not self._client.is_closed:
                for subscription in subscriptions:
                    await subscription.unsubscribe()

    async def _on(self, message: Msg) -> None:
        id = (message.headers or {}).get("ce-id", "")
        # The same id of another kind is another event: it hides nothing.
        key = f"{message.subject} {id}"
        if not id or key in self._seen:
            return
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        kind, _, camera = message.subject.removeprefix(f"{names.EVENT}.").rpartition(".")
        event = Heard(kind=kind, cameras=(camera,), id=id, data=msgspec.Raw(message.data))
        for tap in self.taps:
            tap(event)
        self._tell(event)

    async def _on_run(self, message: Msg) -> None:
        key = message.subject.removeprefix(names.change(names.RUNS, ""))
        try:
            run = runs.decode(key, message.data)
        except SettingError:  # it was deleted, or written by hand
            return
        id = f"{RUNS}/{key}/{stored(message).seq}"
        self._tell(Heard(kind=RUNS, cameras=run.cameras, id=id, data=msgspec.Raw(runs.encode(run))))

    def _tell(self, event: Heard) -> None:
        for listener in list(self._listeners):
            listener.take(event)
