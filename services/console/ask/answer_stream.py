"""The questions of one request: what they wait for, and each answer as it arrives. They end when the browser leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec

from services.console.ask.questions import ModelAnswer, model_answer
from services.console.now.replicas import Fleet
from services.console.web.asker import Asker
from services.console.web.cached_value import CachedValue
from services.console.web.concurrency_limit import ConcurrencyLimit
from services.console.web.refused import Refused
from shared.bus import requests
from shared.bus.client import Connection
from shared.client import ask
from shared.contract.events import Answer, Summary
from shared.runtime.errors import TidegateError
from shared.runtime.plain import plain
from shared.runtime.redact import redact
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger

# Per person: concurrent requests, and concurrent questions of all these requests.
MOST_AT_ONCE = 4
SAY_EVERY_S = 1.0
# Seconds between requests to the server, for all users together.
_EVERY_S = 1.0
_BUSY = f"{MOST_AT_ONCE} questions of yours are under way: wait until one is answered"


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """A question without an answer. camera: whose question; empty: all. error: why, in one sentence."""

    camera: str = ""
    error: str


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """waited_s: seconds since the question. jobs: in flight or waiting, of all users, this one too; null if the server
    does not say. ready, loading: workers.
    """

    waited_s: float = 0.0
    jobs: int | None = None
    ready: int = 0
    loading: int = 0


class Workers:
    """Workers that answer questions. client: the viewer's. fleet: their heartbeats."""

    def __init__(self, client: Connection, fleet: Fleet) -> None:
        self._fleet = fleet
        self._jobs: CachedValue[int | None] = CachedValue(lambda: ask.jobs_before(client), _EVERY_S)

    async def waiting(self, waited_s: float) -> Waiting:
        ready, loading = (self._fleet.count(time.monotonic(), state) for state in ("ready", "loading"))
        return Waiting(waited_s=round(waited_s, 1), jobs=await self._jobs.get(), ready=ready, loading=loading)


# A server-sent event's data; its type gives the event's name.
Line = ModelAnswer | Waiting | Failed


class AnswerStream:
    """Asks the model. client: the operator's. current: the user with the rights they have now."""

    def __init__(self, client: Connection, workers: Workers, current: Callable[[Asker], Asker | None]) -> None:
        self._client = client
        self._workers = workers
        self._current = current
        self.limit = ConcurrencyLimit(MOST_AT_ONCE, _BUSY, 2)
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def lines(self, asker: Asker, questions: Sequence[dict[str, Any]]) -> AsyncIterator[Line]:
        """Yield what the questions wait for, each second, and each outcome. questions: as `svc.ask` takes them."""
        try:
            with self.limit.slot(asker.name):
                async for line in self._lines(asker, questions):
                    yield line
        except Refused as e:
            yield Failed(error=str(e))

    async def _lines(self, asker: Asker, questions: Sequence[dict[str, Any]]) -> AsyncIterator[Line]:
        slots = self._slots.setdefault(asker.name, asyncio.Semaphore(MOST_AT_ONCE))
        tasks = {asyncio.create_task(self._ask(request, slots)): str(request["camera"]) for request in questions}
        began = time.monotonic()
        try:
            left = set(tasks)
            yield await self._workers.waiting(0.0)
            while left:
                done, left = await asyncio.wait(left, timeout=SAY_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                now = self._current(asker)
                if now is None or not now.may("operator"):
                    yield Failed(error="you may ask no more: sign in again")
                    return
                for task in done:
                    yield _outcome(now, tasks[task], task)
                if left and not done:
                    yield await self._workers.waiting(time.monotonic() - began)
        finally:
            # A task that is cancelled because the browser left must not await anything.
            ending = asyncio.create_task(end(*tasks))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _ask(self, request: dict[str, Any], slots: asyncio.Semaphore) -> ModelAnswer:
        async with slots:
            answer = await ask.ask(self._client, request)
            if request["kind"] == "summarize":
                return model_answer(requests.read(answer, Summary))
            return model_answer(requests.read(answer, Answer))


def _outcome(asker: Asker, camera: str, task: asyncio.Task[ModelAnswer]) -> Line:
    if not asker.sees(camera):
        return Failed(error=f"there is no camera {camera!r}")
    try:
        found = task.result()
    except TidegateError as e:
        return Failed(camera=camera, error=plain(redact(str(e)))[:2000])
    except Exception:
        logger("console").exception("a question failed", camera=camera)
        return Failed(camera=camera, error="this failed here: the console's log says why")
    if found.camera != camera:
        return Failed(camera=camera, error="the answer is about another camera: does a service of another version run?")
    return Failed(camera=camera, error=found.reason) if found.reason else found
