"""Captions of what was recorded: the frames, prompts and requests of live ones, asked of the model that VLM_ settings
name, by the process that leads the run.

    with Captioner(job, pieces, settings) as captioner:
        rate = captioner.probe(chapters)
        captioner.caption(chapters, told)          # each chapter is written as a whole
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from msgspec.structs import replace
from opentelemetry import trace

from services.vlm.chat import Chat
from services.vlm.failures import Rejected, RequestFailed
from services.vlm.footage import NoFootage
from services.vlm.kinds import Work
from services.vlm.kinds.caption import Captions
from services.vlm.model import event_name
from services.vlm.reaching import keeping, reached
from services.vlm.settings import VlmSettings
from services.vlm.stretches import CaptionStretch
from shared.contract import jobs
from shared.contract.events import Caption as Event
from shared.contract.events import Seen, Usage, VlmResult
from shared.recordings import opening
from shared.runtime.errors import Away, BadSegment, SettingError, TidegateError
from shared.runtime.settings import load
from shared.runtime.tasks import end, gather, supervise
from shared.worker.service import id_of
from tidegate.archive import rows
from tidegate.archive.chapters import CAPTIONS, Captioned, Chapter, reels
from tidegate.archive.footage import Footage
from tidegate.archive.job import Caption, Job, Piece, with_captioner
from tidegate.archive.looking import key_of
from tidegate.archive.probe import some

# Where so many fail one after the other, it is not their video that is to blame.
MOST_FAILED = 16
# So many are tried before a run, as the video of some may have gone.
_TRIES = 8
# A request that was under way so often when our server died has it die.
_DEATHS = 3
_PREFIXES = ("VLM_", "VLLM_", "NUM_GPUS", "DECODE_")
_NO_USAGE = Usage(prompt_tokens=0, completion_tokens=0, first_token_ms=0.0)

T = TypeVar("T")
Told = Callable[[], None]


class Rate(NamedTuple):
    """model: that captions. per_s: captions, so many at once. at_once: requests."""

    model: str
    per_s: float
    at_once: int


def settings_of(caption: Caption | None = None) -> VlmSettings:
    """VLM_ settings, as the service reads them. caption: of a run that was planned, which is kept to.

    Raises SettingError.
    """
    ours = {k: v for k, v in os.environ.items() if k.startswith(_PREFIXES) and k != "VLM_MODE"}
    planned = {"VLM_FRAMES": f"{caption.frames}", "VLM_SIZE": f"{caption.size}"} if caption else {}
    return load(VlmSettings, ours | planned)


class Captioner:
    """See the module. Raises TidegateError with the remedy, where the model is not there.

    job: afterwards with the model's name. pieces: of the run.
    """

    def __init__(self, job: Job, pieces: Sequence[Piece], settings: VlmSettings) -> None:
        assert job.caption
        self.job, self._caption = job, job.caption
        self._settings = settings
        self._results = opening.opened(job.output, "--output")
        self._kept = opening.recordings(job.store, "--store", job.key_file)
        footage = Footage(self._kept, reels(pieces), settings)
        self._captions = Captions(footage, settings)
        at_once = settings.vlm_batch_size
        # As many again are made ready meanwhile, as by a worker.
        self._turns, self._hands = asyncio.Semaphore(at_once), asyncio.Semaphore(at_once + max(1, at_once // 2))
        self._failed_in_a_row = 0
        self._open = contextlib.AsyncExitStack()
        self._runner = asyncio.Runner()

    def __enter__(self) -> Captioner:
        try:
            self._runner.run(self._start())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """What was started here ends."""
        self._runner.run(self._open.aclose())
        self._runner.close()

    async def _start(self) -> None:
        for store in (self._results, self._kept):
            self._open.push_async_callback(store.close)
        self._model, server = await self._open.enter_async_context(reached(self._settings))
        self._beside = keeping(self._model, server)
        self._open.push_async_callback(end, *self._beside)
        self._is_ours = server is not None
        await self._until_well()
        if server:
            server.is_well()
        name = event_name(self._settings, self._model.name)
        if self._caption.model not in ("", name):
            raise SettingError(
                f"this run is captioned by {self._caption.model}, and {name} is what answers: set VLM_MODEL or VLM_URL "
                "as they were, or begin another run"
            )
        self.job = with_captioner(self.job, name)

    @property
    def model(self) -> str:
        return self.job.caption.model if self.job.caption else ""

    def probe(self, todo: Sequence[Chapter]) -> Rate:
        """Caption a few, which are not kept. Raises TidegateError where the model does not work."""
        return self._runner.run(self._beside_the_model(self._probe(todo)))

    def caption(self, todo: Sequence[Chapter], told: Told) -> None:
        """Caption and write chapters. told: hears of each stretch. Raises TidegateError."""
        self._runner.run(self._beside_the_model(self._all(todo, told)))

    async def _beside_the_model(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(work)
        try:
            await supervise(task, *self._beside)
            return task.result()
        finally:
            await end(task)

    async def _probe(self, todo: Sequence[Chapter]) -> Rate:
        at_once = self._settings.vlm_batch_size
        tried = [(chapter.camera, stretch) for chapter in some(todo) for stretch in chapter.stretches]
        failed = ""
        for n, (camera, stretch) in enumerate(tried[:_TRIES]):
            # What is done for the first time is no measure.
            if failed := (await self._say(camera, stretch)).reason:
                continue
            began, more = time.perf_counter(), tried[n : n + at_once]
            await gather(self._say(*one) for one in more)
            return Rate(self.model, len(more) / (time.perf_counter() - began), at_once)
        raise TidegateError(f"not one caption was made of what was tried: {failed}")

    async def _all(self, todo: Sequence[Chapter], told: Told) -> None:
        waiting = iter(todo)

        async def work() -> None:
            for chapter in waiting:
                await self._write(chapter, told)

        # Of chapters of one stretch each, too, as many are asked for at once. Turns are in order: what was begun first
        # is whole first.
        await gather(work() for _ in range(self._settings.vlm_batch_size))

    async def _write(self, chapter: Chapter, told: Told) -> None:
        async def one(stretch: CaptionStretch) -> Event:
            said = await self._say(chapter.camera, stretch)
            told()
            return said

        found = await gather(one(stretch) for stretch in chapter.stretches)
        failed = sum(bool(said.reason) for said in found)
        about = Captioned(camera=chapter.camera, captions=len(found) - failed, failed=failed)
        made = (rows.caption(self.job.run, self._id(said), said) for said in found)
        await self._results.put(key_of(CAPTIONS, chapter.key), [rows.parquet(made, rows.CAPTIONS, about)])

    async def _say(self, camera: str, stretch: CaptionStretch) -> Event:
        """A caption, or why there is none. Raises TidegateError where that is not due to the stretch."""
        job = jobs.Caption(camera=camera, start=stretch.start, end=stretch.end, prompt=self._prompt(camera))
        async with self._hands:
            try:
                work = await self._captions.look(job, self._caption.frames)
            except (NoFootage, BadSegment) as e:
                return self._unsaid(job, str(e))
            async with self._turns:
                return await self._asked(work)

    async def _until_well(self) -> None:
        """Raises Away where the model is not there. A server of ours takes minutes to load, and ends where it can't."""
        waits = [] if self._is_ours else [self._model.lost.wait()]
        await supervise(self._model.well.wait(), *waits, *self._beside)
        if not self._model.well.is_set():
            raise Away(f"captions can't be made: {self._model.reason}. Start it, or correct VLM_URL")

    async def _asked(self, work: Work[jobs.Caption]) -> Event:
        """Raises Away where the model is, but where its server is ours, which is started again."""
        deaths = 0
        while True:
            try:
                return await self._asked_once(work)
            except Away:
                deaths += 1
                if not self._is_ours or deaths == _DEATHS:
                    raise
            await self._until_well()

    async def _asked_once(self, work: Work[jobs.Caption]) -> Event:
        chat = Chat(self._model, self._settings, kind=jobs.Caption.kind, span=trace.INVALID_SPAN)
        try:
            said = await self._captions.answer(work, chat, self._base(work))
        except (Rejected, RequestFailed) as e:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= MOST_FAILED:
                raise TidegateError(f"{MOST_FAILED} captions failed one after the other: {e}") from e
            return self._unsaid(work.job, str(e))
        self._failed_in_a_row = 0
        return replace(said, usage=chat.usage)

    def _unsaid(self, job: jobs.Caption, reason: str) -> Event:
        work = Work(job=job, start=job.start, end=job.end)
        return self._captions.unanswered(work, replace(self._base(work), reason=reason))

    def _base(self, work: Work[jobs.Caption]) -> VlmResult:
        return VlmResult(
            camera=work.job.camera,
            job=work.job.message_id or "",
            start=work.start,
            end=work.end,
            model=self.model,
            frames=[Seen(time=frame.time, seq=frame.seq) for frame in work.frames],
            timing=rows.NO_TIME,
            usage=_NO_USAGE,
        )

    def _id(self, said: VlmResult) -> str:
        return id_of("vlm", self.model, said.job)

    def _prompt(self, camera: str) -> str:
        return self._caption.prompts.get(camera, "")
