"""Reanalysis of recorded video on request: an idle worker's least urgent work.

    is there time? ──▶ ask for a task ──▶ fetch its video ──▶ time ──▶ prepare ──▶ time ──▶ infer ──▶ answer

Like a backfill, it checks again before each stage whether there is time. Without time it gives the task up, and another
worker gets it. Nothing is stored here or in a stream. If this worker falls silent, the requester assigns the task to
another. If no process takes the answer, the task is obsolete.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from itertools import accumulate, pairwise
from typing import Generic, Protocol, TypeVar

import nats.errors
from msgspec.structs import replace
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from shared.bus.requests import NobodyAnswers, ask
from shared.contract import names
from shared.contract.work import reanalysis
from shared.contract.work.reanalysis import Fetch, Free, Seen, Task, Working
from shared.runtime import telemetry
from shared.runtime.errors import BadMessage, Refusal
from shared.runtime.tasks import end
from shared.worker import metrics
from shared.worker.device import DeviceError
from shared.worker.extension import Extension
from shared.worker.extensions.spare import Spare
from shared.worker.loop import Loop
from shared.worker.service import P, R, preparing
from shared.worker.stopwatch import Stopwatch

Rcontra = TypeVar("Rcontra", contravariant=True)

ANSWER_S = 5.0
MOST_REASON = 1000


class ReanalysisService(Protocol[P, Rcontra]):
    """The interface of a service that supports reanalysis."""

    name: str
    model: str

    async def prepare_reanalysis(self, task: Task, segments: list[bytes]) -> P:
        """Decode and sample; the work itself in threads. segments: of the task. Raises BadMessage."""

    def seen(self, task: Task, prepared: P, result: Rcontra) -> Seen:
        """Return the answer."""


class _Errand:
    """A task in flight."""

    def __init__(self, task: Task) -> None:
        self.task = task
        # A run counts once: a single run can't make the device count as broken.
        self.origin = task.by
        self.infer_s = 0.0
        self.preparing_since: float | None = None
        self.prepare_s = 0.0

    def goes_on(self) -> None:
        if self.preparing_since is not None:
            self.preparing_since = time.monotonic()


class _Input(Generic[P]):
    """Input of the device."""

    def __init__(self, message: _Errand, prepared: P) -> None:
        self.message, self.prepared = message, prepared

    @property
    def weight(self) -> int:
        return self.prepared.weight


class Reanalyzing(Extension[P], Generic[P, R]):
    """See the module. spare: the worker's idle time. is_free: whether nothing more urgent waits in that time.

    One task a thread runs concurrently, plus one.
    """

    def __init__(
        self, loop: Loop[P, R], service: ReanalysisService[P, R], spare: Spare, *, is_free: Callable[[], bool]
    ) -> None:
        self._client = loop.client
        self._service = service
        self._device = loop.device
        self._exit = loop.heartbeat.exit
        self._tuning = loop.tuning
        self._replica = loop.settings.replica
        self._lanes = loop.settings.threads + 1
        self._spare = spare
        self._is_free = is_free
        self._turn = asyncio.Lock()
        self._working = Stopwatch()
        self._errands: set[_Errand] = set()
        self._running: list[asyncio.Task[None]] = []
        self._log = telemetry.logger("reanalysis")

    def running_since(self) -> list[float | None]:
        return [errand.preparing_since for errand in self._errands]

    async def start(self) -> list[asyncio.Task[None]]:
        """Run tasks whenever there is time."""
        self._running = [asyncio.create_task(self._lane()) for _ in range(self._lanes)]
        return self._running

    async def stop(self) -> None:
        """Give up immediately all that is in flight."""
        await end(*self._running)
        for errand in self._errands:
            await self._notify(errand.task, Seen(id=errand.task.id, gave_up=True))
        self._errands.clear()

    async def beat(self) -> None:
        """Report progress on the tasks in flight."""
        for errand in tuple(self._errands):
            await self._notify(errand.task, Working(id=errand.task.id))

    async def _lane(self) -> None:
        while True:
            async with self._turn:
                errand = await self._next()
            result = await self._run(errand)
            # A cancelled one stays in flight: `stop` gives it up.
            self._errands.discard(errand)
            metrics.REANALYSIS.labels(self._service.name, result).inc()

    async def _next(self) -> _Errand:
        """Ask until there is a task."""
        question = reanalysis.encode(Free(replica=self._replica, model=self._service.model))
        silences = 0
        while True:
            await self._spare.until(self._has_time)
            pause_s = self._tuning.ask_s
            try:
                answer = await ask(self._client, names.reanalysis(self._service.name), question, timeout_s=ANSWER_S)
                if task := reanalysis.task(answer.data):
                    errand = _Errand(task)
                    self._errands.add(errand)
                    return errand
                silences = 0
            except NobodyAnswers as e:
                # Usually there is no responder, and the server says so. Accounts of older versions are silent.
                silences = 0 if isinstance(e.__cause__, NoRespondersError) else silences + 1
                pause_s = self._tuning.nobody.after(max(1, silences))
            except (Refusal, BadMessage) as e:
                self._log.warning("no task of a reanalysis", error=str(e))
                pause_s = self._tuning.nobody.after(1)
            await asyncio.sleep(pause_s)

    def _has_time(self) -> bool:
        return self._spare.has_time() and self._is_free()

    async def _run(self, errand: _Errand) -> str:
        """Run a task, and answer; return the outcome. Any other failure gets no answer: another worker tries."""
        task, result = errand.task, "done"
        try:
            try:
                seen = await self._seen(errand)
            except BadMessage as e:
                seen, result = Seen(id=task.id, failed=str(e)[:MOST_REASON] or type(e).__name__), "failed"
            except TimeoutError:
                seen, result = Seen(id=task.id, gave_up=True), "no_time"
            await self._request(task, seen)
        except (NobodyAnswers, Refusal) as e:
            self._log.debug("the answer of a reanalysis is obsolete", by=task.by, reason=str(e))
            return "unwanted"
        except DeviceError as e:
            await self._exit(str(e))
        except Exception as e:
            self._log.warning("a reanalysis failed", camera=task.segment.camera, by=task.by, error=repr(e))
            return "error"
        return result

    async def _seen(self, errand: _Errand) -> Seen:
        """Run the task. Raises TimeoutError if there is no time after all, and errors of the service and device."""
        task = errand.task
        segments = await self._fetch(task)
        async with self._start_deadline() as begun, self._spare.preparing(self._working, self._has_time):
            begun()
            with preparing(errand):
                prepared = await self._service.prepare_reanalysis(task, segments)
        async with self._start_deadline() as begun, self._spare.on_device(self._working, self._has_time):
            begun()
            (result,) = await self._device.infer([_Input(errand, prepared)])
        if isinstance(result, Exception):
            raise result
        return replace(self._service.seen(task, prepared, result), busy_s=round(errand.prepare_s + errand.infer_s, 3))

    @contextlib.asynccontextmanager
    async def _start_deadline(self) -> AsyncIterator[Callable[[], None]]:
        """Raise TimeoutError unless the block calls the yielded function within `spare_wait_s`, as its stage starts."""
        async with asyncio.timeout(self._tuning.spare_wait_s) as limit:
            yield lambda: limit.reschedule(None)

    async def _fetch(self, task: Task) -> list[bytes]:
        """Return the segments. Raises NobodyAnswers, Refusal, and BadMessage if they don't match the task."""
        size, found = sum(task.sizes), bytearray()
        while len(found) < size:
            part = (await self._request(task, Fetch(id=task.id, begin=len(found)))).data
            if not part or len(found) + len(part) > size:
                raise BadMessage(f"{len(found) + len(part)} bytes of {size} were given")
            found += part
        ends = list(accumulate(task.sizes, initial=0))
        return [bytes(found[begin:end]) for begin, end in pairwise(ends)]

    async def _request(self, task: Task, message: Fetch | Seen) -> Msg:
        subject = names.reanalysis(self._service.name, task.by)
        return await ask(self._client, subject, reanalysis.encode(message), timeout_s=ANSWER_S)

    async def _notify(self, task: Task, message: Seen | Working) -> None:
        """Publish without an answer."""
        with contextlib.suppress(nats.errors.Error):
            await self._client.publish(names.reanalysis(self._service.name, task.by), reanalysis.encode(message))
