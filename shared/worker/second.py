"""Looks at recorded video for whoever asks, by a worker that has nothing else to do: its least urgent work.

    is there time? ──▶ ask for a task ──▶ fetch its video ──▶ time ──▶ prepare ──▶ time ──▶ infer ──▶ answer

As what was put off, it looks again before each stage whether there is time; without any it gives the task up, which
another worker is given then. Nothing is kept of it here or in a stream: whoever gave the task gives it to another where
this worker falls silent, and where nobody takes the answer, nobody wants it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import accumulate, pairwise
from typing import Generic, Protocol, TypeVar

import nats.errors
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from shared.bus.requests import NobodyAnswers, ask
from shared.contract import names, second
from shared.contract.second import Fetch, Free, Seen, Task, Working
from shared.runtime import progress, telemetry
from shared.runtime.errors import BadMessage, Refusal
from shared.runtime.tasks import end
from shared.worker import metrics
from shared.worker.device import Device, DeviceError
from shared.worker.service import P, R
from shared.worker.spare import Spare
from shared.worker.stopwatch import Stopwatch
from shared.worker.tuning import Tuning

Rcontra = TypeVar("Rcontra", contravariant=True)

ANSWER_S = 5.0
MOST_REASON = 1000


class LooksAgain(Protocol[P, Rcontra]):
    """What a service gives for this."""

    name: str
    model: str

    async def prepare_again(self, task: Task, segments: list[bytes]) -> P:
        """Decode and sample; the work itself in threads. segments: of the task. Raises BadMessage."""

    def seen(self, task: Task, prepared: P, result: Rcontra) -> Seen:
        """The answer."""


class _Errand:
    """A task in hand."""

    def __init__(self, task: Task) -> None:
        self.task = task
        # A run counts once: by itself it can't have the device taken for broken.
        self.origin = task.by
        self.infer_s = 0.0
        self.preparing_since: float | None = None

    def goes_on(self) -> None:
        if self.preparing_since is not None:
            self.preparing_since = time.monotonic()


class _Given(Generic[P]):
    """For the device."""

    def __init__(self, message: _Errand, prepared: P) -> None:
        self.message, self.prepared = message, prepared

    @property
    def weight(self) -> int:
        return self.prepared.weight


class SecondLooks(Generic[P, R]):
    """One for the worker. spare: its time. is_free: whether nothing that is more urgent waits, in that time.

    threads: that prepare. As many tasks are worked on at once, and one more. broken: called where the device is.
    """

    def __init__(
        self,
        client: Client,
        service: LooksAgain[P, R],
        device: Device[P, R],
        spare: Spare,
        *,
        replica: str,
        is_free: Callable[[], bool],
        threads: int,
        tuning: Tuning,
        broken: Callable[[str], Awaitable[None]],
    ) -> None:
        self._client = client
        self._service = service
        self._device = device
        self._spare = spare
        self._replica = replica
        self._is_free = is_free
        self._threads = threads
        self._tuning = tuning
        self._broken = broken
        self._turn = asyncio.Lock()
        self._working = Stopwatch()
        self._errands: set[_Errand] = set()
        self._running: list[asyncio.Task[None]] = []
        self._log = telemetry.logger("second")

    @property
    def begun(self) -> list[float | None]:
        """When the preparations at hand began, or last made progress: monotonic clock, seconds."""
        return [errand.preparing_since for errand in self._errands]

    def begin(self) -> list[asyncio.Task[None]]:
        """Look, whenever there is time; the tasks that do, which `stop` ends."""
        self._running = [asyncio.create_task(self._lane()) for _ in range(self._threads + 1)]
        return self._running

    async def stop(self) -> None:
        """Give up at once what is in hand."""
        await end(*self._running)
        for errand in self._errands:
            await self._told(errand.task, Seen(id=errand.task.id, gave_up=True))
        self._errands.clear()

    async def beat(self) -> None:
        """Say that what is in hand is worked on."""
        for errand in tuple(self._errands):
            await self._told(errand.task, Working(id=errand.task.id))

    async def _lane(self) -> None:
        while True:
            async with self._turn:
                errand = await self._next()
            result = await self._done(errand)
            # One that was cancelled stays in hand: `stop` gives it up.
            self._errands.discard(errand)
            metrics.SECOND_LOOKS.labels(self._service.name, result).inc()

    async def _next(self) -> _Errand:
        """Ask until there is a task."""
        question = second.encode(Free(replica=self._replica, model=self._service.model))
        silences = 0
        while True:
            await self._spare.until(self._has_time)
            pause_s = self._tuning.ask_s
            try:
                answer = await ask(self._client, names.look(self._service.name), question, timeout_s=ANSWER_S)
                if task := second.task(answer.data):
                    errand = _Errand(task)
                    self._errands.add(errand)
                    return errand
                silences = 0
            except NobodyAnswers as e:
                # Mostly there is nobody, which the server says at once. Accounts of an older version say nothing.
                silences = 0 if isinstance(e.__cause__, NoRespondersError) else silences + 1
                pause_s = self._tuning.nobody.after(max(1, silences))
            except (Refusal, BadMessage) as e:
                self._log.warning("no task of a second look", error=str(e))
                pause_s = self._tuning.nobody.after(1)
            await asyncio.sleep(pause_s)

    def _has_time(self) -> bool:
        return self._spare.has_time() and self._is_free()

    async def _done(self, errand: _Errand) -> str:
        """Look, and answer; what became of it. Whatever else fails is answered by silence: another worker tries."""
        task, result = errand.task, "done"
        try:
            try:
                seen = await self._seen(errand)
            except BadMessage as e:
                seen, result = Seen(id=task.id, failed=str(e)[:MOST_REASON] or type(e).__name__), "failed"
            except TimeoutError:
                seen, result = Seen(id=task.id, gave_up=True), "no_time"
            await self._asked(task, seen)
        except (NobodyAnswers, Refusal) as e:
            self._log.debug("a second look is not wanted any more", by=task.by, reason=str(e))
            return "unwanted"
        except DeviceError as e:
            await self._broken(str(e))
            return "error"
        except Exception as e:
            self._log.warning("a second look failed", camera=task.segment.camera, by=task.by, error=repr(e))
            return "error"
        return result

    async def _seen(self, errand: _Errand) -> Seen:
        """Raises TimeoutError where there is no time after all, and what the service and the device raise."""
        task = errand.task
        segments = await self._fetched(task)
        async with self._soon() as begun, self._spare.preparing(self._working, self._has_time):
            begun()
            errand.preparing_since = started = time.monotonic()
            try:
                with progress.heard_by(errand.goes_on):
                    prepared = await self._service.prepare_again(task, segments)
            finally:
                errand.preparing_since = None
            prepare_s = time.monotonic() - started
        async with self._soon() as begun, self._spare.on_device(self._working, self._has_time):
            begun()
            (result,) = await self._device.infer([_Given(errand, prepared)])
        if isinstance(result, Exception):
            raise result
        return replace(self._service.seen(task, prepared, result), busy_s=round(prepare_s + errand.infer_s, 3))

    @contextlib.asynccontextmanager
    async def _soon(self) -> AsyncIterator[Callable[[], None]]:
        """Raises TimeoutError where a stage has not begun, and said so, in a while."""
        async with asyncio.timeout(self._tuning.look_s) as limit:
            yield lambda: limit.reschedule(None)

    async def _fetched(self, task: Task) -> list[bytes]:
        """The segments. Raises NobodyAnswers, Refusal, and BadMessage for others than the task says."""
        size, found = sum(task.sizes), bytearray()
        while len(found) < size:
            part = (await self._asked(task, Fetch(id=task.id, begin=len(found)))).data
            if not part or len(found) + len(part) > size:
                raise BadMessage(f"{len(found) + len(part)} bytes of {size} were given")
            found += part
        ends = list(accumulate(task.sizes, initial=0))
        return [bytes(found[begin:end]) for begin, end in pairwise(ends)]

    async def _asked(self, task: Task, said: Fetch | Seen) -> Msg:
        subject = names.look(self._service.name, task.by)
        return await ask(self._client, subject, second.encode(said), timeout_s=ANSWER_S)

    async def _told(self, task: Task, said: Seen | Working) -> None:
        """Without an answer."""
        with contextlib.suppress(nats.errors.Error):
            await self._client.publish(names.look(self._service.name, task.by), second.encode(said))
