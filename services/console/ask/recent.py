"""Answers and summaries of the last day, from EVENTS. They are read only on request."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import deque

from services.console.ask.questions import ModelAnswer, model_answer
from services.console.web.asker import Asker
from shared.bus.client import Connection
from shared.bus.direct import Stored
from shared.bus.log import Log
from shared.contract import events, names
from shared.contract.events import Answer, Summary
from shared.runtime.errors import BadMessage

MAX_AGE = dt.timedelta(days=1)
# Per kind, over all cameras.
MOST = 1000
_KINDS: tuple[type[Answer] | type[Summary], ...] = (Answer, Summary)
# Requests within this time share one read.
_FRESH_S = 1.0
# Seconds between full reads: EVENTS may have been recreated.
_RESET_S = 300.0
# Batches of the log that one read takes at most; the next read continues there.
_MOST_PARTS = 40


class Recent:
    """Recent answers. client: the viewer's."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._lock = asyncio.Lock()
        self._found: dict[str, deque[tuple[dt.datetime, ModelAnswer]]] = {}
        self._next: dict[str, int] = {}
        self._read_at = self._reset_at = -_RESET_S

    async def all(self, asker: Asker, limit: int) -> list[ModelAnswer]:
        """Return the answers about the user's cameras, newest first. Raises nats.errors.Error and TimeoutError."""
        async with self._lock:
            if time.monotonic() - self._read_at >= _FRESH_S:
                await self._read()
                self._read_at = time.monotonic()
        oldest = dt.datetime.now(dt.UTC) - MAX_AGE
        found = [
            item
            for answers in self._found.values()
            for item in answers
            if item[0] > oldest and asker.sees(item[1].camera)
        ]
        return [item for _, item in sorted(found, key=lambda item: item[0], reverse=True)[:limit]]

    async def _read(self) -> None:
        if time.monotonic() - self._reset_at >= _RESET_S:
            self._reset_at = time.monotonic()
            self._found, self._next = {}, {}
        async with Log(self._client, names.EVENTS) as log:
            for kind in _KINDS:
                subject, answers = names.event(kind.kind, "*"), self._found.setdefault(kind.kind, deque(maxlen=MOST))
                for _ in range(_MOST_PARTS):
                    if kind.kind in self._next:
                        part = await log.read(subject, self._next[kind.kind])
                    else:
                        part = await log.since(subject, dt.datetime.now(dt.UTC) - MAX_AGE)
                    for stored in part:
                        self._next[kind.kind] = stored.seq + 1
                        if item := _item(stored, kind):
                            answers.append((stored.time, item))
                    if not part:
                        break


def _item(stored: Stored, kind: type[Answer] | type[Summary]) -> ModelAnswer | None:
    """Return the answer of an event; None for an invalid one, which its consumers report."""
    try:
        return model_answer(events.decode(stored.data, kind, stored.subject))
    except BadMessage:
        return None
