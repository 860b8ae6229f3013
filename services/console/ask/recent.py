"""Answers and summaries of the last day, as EVENTS keeps them. They are read when somebody looks, and no sooner."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import deque

from services.console.ask.questions import ModelAnswer, told
from services.console.people.asker import Asker
from shared.bus.client import Connection
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import events, names
from shared.contract.events import Answer, Summary
from shared.runtime.errors import BadMessage

KEPT_FOR = dt.timedelta(days=1)
# Of each kind, and of all cameras.
MOST = 1000
_KINDS: tuple[type[Answer] | type[Summary], ...] = (Answer, Summary)
# Whoever looks again at once sees the same.
_FRESH_S = 1.0
# From its beginning it is read this often: EVENTS may have been made anew.
_AGAIN_S = 300.0
# One look reads at most so many parts of the log; the next goes on there.
_MOST_PARTS = 40


class Recent:
    """client: the viewer's."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._turn = asyncio.Lock()
        self._found: dict[str, deque[tuple[dt.datetime, ModelAnswer]]] = {}
        self._next: dict[str, int] = {}
        self._looked = self._began = -_AGAIN_S

    async def all(self, asker: Asker, limit: int) -> list[ModelAnswer]:
        """Those of cameras that they may see, the newest first. Raises nats.errors.Error and TimeoutError."""
        async with self._turn:
            if time.monotonic() - self._looked >= _FRESH_S:
                await self._read()
                self._looked = time.monotonic()
        oldest = dt.datetime.now(dt.UTC) - KEPT_FOR
        found = [
            item for kept in self._found.values() for item in kept if item[0] > oldest and asker.sees(item[1].camera)
        ]
        return [item for _, item in sorted(found, key=lambda item: item[0], reverse=True)[:limit]]

    async def _read(self) -> None:
        if time.monotonic() - self._began >= _AGAIN_S:
            self._began = time.monotonic()
            self._found, self._next = {}, {}
        async with Log(self._client, names.EVENTS) as log:
            for kind in _KINDS:
                subject, kept = names.event(kind.kind, "*"), self._found.setdefault(kind.kind, deque(maxlen=MOST))
                for _ in range(_MOST_PARTS):
                    if kind.kind in self._next:
                        part = await log.read(subject, self._next[kind.kind])
                    else:
                        part = await log.since(subject, dt.datetime.now(dt.UTC) - KEPT_FOR)
                    for stored in part:
                        self._next[kind.kind] = stored.seq + 1
                        if item := _item(stored, kind):
                            kept.append((stored.time, item))
                    if not part:
                        break


def _item(stored: Stored, kind: type[Answer] | type[Summary]) -> ModelAnswer | None:
    """None of what is no such event: whoever takes it says so."""
    try:
        return told(events.decode(stored.data, kind, stored.subject))
    except BadMessage:
        return None
