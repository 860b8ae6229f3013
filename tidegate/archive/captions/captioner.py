"""Captions of recordings, with the frames, prompts and requests of live captions. The leading process of a run sends
the requests to the model in the VLM_ settings.

    with Captioner(job, pieces, settings) as captioner:
        rate = captioner.probe(chapters)
        captioner.caption(chapters, on_stretch)          # each chapter is one object of the results
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec.structs import replace
from opentelemetry import trace

from services.vlm.endpoints.chat import Chat
from services.vlm.endpoints.failures import Rejected, RequestFailed
from services.vlm.endpoints.model import event_name
from services.vlm.frames.footage import NoFootage
from services.vlm.kinds import Work
from services.vlm.kinds.caption import Captions
from services.vlm.planning.stretches import CaptionStretch
from services.vlm.settings import VlmSettings
from shared.contract.events import Caption as Event
from shared.contract.events import Seen, Usage, VlmResult
from shared.contract.work import jobs
from shared.recordings import opening
from shared.runtime.errors import BadSegment, SettingError, TidegateError
from shared.runtime.settings import load
from shared.runtime.tasks import gather
from shared.worker.service import id_of
from tidegate.archive import rows
from tidegate.archive.captions.chapters import CAPTIONS, CaptionTotals, Chapter, files_by_camera
from tidegate.archive.captions.endpoint import opened
from tidegate.archive.captions.footage import Footage
from tidegate.archive.frames.analysis import results_key
from tidegate.archive.frames.probe import sample
from tidegate.archive.job import Caption, Job, Piece, with_captioner

# Maximum consecutive failures: beyond it, the cause is not the video of single stretches.
MOST_FAILED = 16
# Maximum attempts to measure the model before a run: the video of some stretches may be deleted.
_TRIES = 8
_PREFIXES = ("VLM_", "VLLM_", "NUM_GPUS", "DECODE_")
_NO_USAGE = Usage(prompt_tokens=0, completion_tokens=0, first_token_ms=0.0)

OnStretch = Callable[[], None]


class Rate(NamedTuple):
    """The measured speed of a model. per_s: captions a second. concurrency: requests in flight meanwhile."""

    model: str
    per_s: float
    concurrency: int


def load_vlm_settings(caption: Caption | None = None) -> VlmSettings:
    """Load the VLM_ settings as the service does. caption: of a planned run, which overrides them.

    Raises SettingError.
    """
    environment = {k: v for k, v in os.environ.items() if k.startswith(_PREFIXES) and k != "VLM_MODE"}
    planned = {"VLM_FRAMES": f"{caption.frames}", "VLM_SIZE": f"{caption.size}"} if caption else {}
    return load(VlmSettings, environment | planned)


class Captioner:
    """See the module. Raises TidegateError with the remedy if the model is unreachable.

    job: with the model's name after entering. pieces: of the run.
    """

    def __init__(self, job: Job, pieces: Sequence[Piece], settings: VlmSettings) -> None:
        assert job.caption
        self.job, self._caption = job, job.caption
        self._settings = settings
        self._results = opening.open_store(job.output, "--output")
        self._recordings = opening.open_recordings(job.store, "--store", job.key_file)
        footage = Footage(self._recordings, files_by_camera(pieces), settings)
        self._captions = Captions(footage, settings)
        concurrency = settings.vlm_batch_size
        self._requests = asyncio.Semaphore(concurrency)
        # Like a worker, prepare the frames of the next requests while others are in flight.
        self._preparations = asyncio.Semaphore(concurrency + max(1, concurrency // 2))
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

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server and the tasks that were started here."""
        self._runner.run(self._open.aclose())
        self._runner.close()

    async def _start(self) -> None:
        for store in (self._results, self._recordings):
            self._open.push_async_callback(store.close)
        self._endpoint = await self._open.enter_async_context(opened(self._settings))
        name = event_name(self._settings, self._endpoint.model.name)
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
        """Caption some stretches, and discard the captions. Raises TidegateError if the model does not work."""
        return self._runner.run(self._endpoint.supervised(self._probe(todo)))

    def caption(self, todo: Sequence[Chapter], on_stretch: OnStretch) -> None:
        """Caption and write chapters. on_stretch: called after each stretch. Raises TidegateError."""
        self._runner.run(self._endpoint.supervised(self._all(todo, on_stretch)))

    async def _probe(self, todo: Sequence[Chapter]) -> Rate:
        concurrency = self._settings.vlm_batch_size
        attempts = [(chapter.camera, stretch) for chapter in sample(todo) for stretch in chapter.stretches]
        failed = ""
        for n, (camera, stretch) in enumerate(attempts[:_TRIES]):
            # The first request is a warm-up, and not measured.
            if failed := (await self._caption_stretch(camera, stretch)).reason:
                continue
            began, measured = time.perf_counter(), attempts[n : n + concurrency]
            await gather(self._caption_stretch(*attempt) for attempt in measured)
            return Rate(self.model, len(measured) / (time.perf_counter() - began), concurrency)
        raise TidegateError(f"not one caption was made of what was tried: {failed}")

    async def _all(self, todo: Sequence[Chapter], on_stretch: OnStretch) -> None:
        waiting = iter(todo)

        async def work() -> None:
            for chapter in waiting:
                await self._write(chapter, on_stretch)

        # One task for each concurrent request, as a chapter may have a single stretch. Semaphores are fair: the chapter
        # that started first finishes first.
        await gather(work() for _ in range(self._settings.vlm_batch_size))

    async def _write(self, chapter: Chapter, on_stretch: OnStretch) -> None:
        async def caption(stretch: CaptionStretch) -> Event:
            event = await self._caption_stretch(chapter.camera, stretch)
            on_stretch()
            return event

        events = await gather(caption(stretch) for stretch in chapter.stretches)
        failed = sum(bool(event.reason) for event in events)
        totals = CaptionTotals(camera=chapter.camera, captions=len(events) - failed, failed=failed)
        caption_rows = (rows.caption(self.job.run, id_of("vlm", self.model, event.job), event) for event in events)
        await self._results.put(results_key(CAPTIONS, chapter.key), [rows.parquet(caption_rows, rows.CAPTIONS, totals)])

    async def _caption_stretch(self, camera: str, stretch: CaptionStretch) -> Event:
        """Return a caption, or the reason why there is none. Raises TidegateError if the stretch is not the cause."""
        prompt = self._caption.prompts.get(camera, "")
        job = jobs.Caption(camera=camera, start=stretch.start, end=stretch.end, prompt=prompt)
        async with self._preparations:
            try:
                work = await self._captions.look(job, self._caption.frames)
            except (NoFootage, BadSegment) as e:
                return self._failed_event(job, str(e))
            async with self._requests:
                return await self._endpoint.with_restarts(lambda: self._answer(work))

    async def _answer(self, work: Work[jobs.Caption]) -> Event:
        chat = Chat(self._endpoint.model, self._settings, kind=jobs.Caption.kind, span=trace.INVALID_SPAN)
        try:
            event = await self._captions.answer(work, chat, self._base(work))
        except (Rejected, RequestFailed) as e:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= MOST_FAILED:
                raise TidegateError(f"{MOST_FAILED} captions failed one after the other: {e}") from e
            return self._failed_event(work.job, str(e))
        self._failed_in_a_row = 0
        return replace(event, usage=chat.usage)

    def _failed_event(self, job: jobs.Caption, reason: str) -> Event:
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
