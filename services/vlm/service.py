"""vlm's functions for the worker loop: a job becomes frames, frames and a question an answer, the answer an event.

Every job ends in one event, even if there is nothing to show, or the model's answer can't be used.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.vlm import kinds, metrics
from services.vlm.endpoints import tracing
from services.vlm.endpoints.chat import BrokenAnswer, Chat
from services.vlm.endpoints.model import Model
from services.vlm.frames.footage import Footage, NoFootage
from services.vlm.frames.frame_budget import frames_of
from services.vlm.kinds import JobKind, Work
from services.vlm.kinds.ask import Questions
from services.vlm.kinds.caption import Captions
from services.vlm.kinds.summarize import Summaries
from services.vlm.kinds.verify import Verdicts
from services.vlm.settings import VlmSettings
from services.vlm.static_scene import Check, StaticScenes
from shared.bus import direct
from shared.bus.log import Log
from shared.contract import names
from shared.contract.events import Caption, Cause, Event, Seen, Timing, Usage, Verdict, VlmResult
from shared.contract.work import jobs
from shared.contract.work.jobs import Job
from shared.elastic.sampling_plan import SamplingPlan
from shared.runtime.errors import BadSegment, TidegateError
from shared.worker import AnsweredBefore, Message, result_id
from shared.worker.extension import Extension

# The maximum difference between the clocks of the servers that store jobs and events.
CLOCKS_APART = dt.timedelta(minutes=1)
# With the worker loop's delays that is after 7 s. A server that can't open its files, or lags its cluster, reports
# existing video as missing, and without a verdict an alert may never come. From the fifth delivery on a worker does
# nothing else next to it.
BELIEVED_AT_DELIVERY = 4
MAY_COME: tuple[Cause, ...] = ("expired", "no_video", "no_captions")


@dataclass(frozen=True, slots=True)
class Task:
    """A job in flight. weight: every job counts as one, however large.

    plan: the frames for the model; None if there is nothing to show. check: whether a caption needs the model.
    """

    work: Work[Job]
    id: str
    message: Message
    plan: SamplingPlan | None
    check: Check | None = None
    decoded: None = None  # the model takes the time, not the decoding

    @property
    def weight(self) -> int:
        return 1


class NotYet(TidegateError):
    """No input was found for the model, but it may exist."""


class Late(TidegateError):
    """No client waits for the job's answer any more."""

    cause: Cause = "late"


class Learning(Extension[Task]):
    """Lets the static scenes learn from each stored caption."""

    def __init__(self, scenes: StaticScenes) -> None:
        self._scenes = scenes

    def stored(self, prepared: Task, event: Event) -> None:
        if prepared.check:
            self._scenes.stored(prepared.check, event)


class VlmService:
    """See the module. model: its name in events and their ids. scenes: None if the model captions all stretches."""

    name = "vlm"

    def __init__(self, client: Client, model: Model, settings: VlmSettings, *, name: str) -> None:
        footage = Footage(
            client,
            side=settings.vlm_size,
            threads=settings.vlm_threads,
            budget=settings.budget(),
            device=settings.decoding_device(),
        )
        self.model = name
        self._client = client
        self._model = model
        self._settings = settings
        refresh_s = settings.vlm_static_scene_refresh_s
        self._scenes = StaticScenes(refresh_s) if refresh_s else None
        self._kinds: dict[str, JobKind[Any]] = {
            jobs.Verify.kind: Verdicts(footage, settings),
            jobs.Check.kind: Verdicts(footage, settings),
            jobs.Ask.kind: Questions(client, footage, settings),
            jobs.Summarize.kind: Summaries(client, footage, settings),
            jobs.Caption.kind: Captions(footage, settings),
        }
        self._verifying: dict[tuple[str, str], asyncio.Future[VlmResult]] = {}

    @property
    def extensions(self) -> list[Extension[Task]]:
        """The worker's extensions that it needs."""
        return [Learning(self._scenes)] if self._scenes else []

    async def prepare(self, message: Message) -> Task:
        """Return the job, and its input for the model.

        Raises BadMessage for a message that is no job, AnsweredBefore for a job whose event is stored, NotYet for one
        to retry.
        """
        job = jobs.decode(message.raw.subject, message.data)
        id = job.id or f"{message.stream}-{message.origin.rpartition('/')[2]}"
        if isinstance(job, jobs.Verify):
            # Two jobs about one incident end in one verdict: JetStream drops the second by this id.
            id, message.origin = job.incident, f"{job.kind}/{job.camera}/{job.incident}"
        message.span.set_attributes(tracing.job(job.kind, job.camera, id))
        kind, s = self._kinds[job.kind], self._settings
        plan = frames_of(job, message.level, wanted=s.vlm_frames, floor=s.vlm_frames_floor)
        if message.deliveries > 1:
            await self._check_unanswered(names.event(kind.says.kind, job.camera), message)
        try:
            await self._check_wanted(job, message)
            work = await kind.look(job, plan.frames)
        except (NoFootage, BadSegment, Late) as e:
            cause: Cause = "unreadable" if isinstance(e, BadSegment) else e.cause
            if cause in MAY_COME and job.wait_s is None and message.deliveries < BELIEVED_AT_DELIVERY:
                raise NotYet(str(e)) from e
            stored = message.raw.metadata.timestamp
            start, end = getattr(job, "start", None) or stored, getattr(job, "end", None) or stored
            work = Work(job=job, start=start, end=end, cause=cause, reason=str(e))
        check = await self._check_scene(work, message)
        plan = plan.without_inference() if check and check.repeated else plan
        return Task(work, id, message, None if work.cause else plan, check)

    async def _check_scene(self, work: Work[Job], message: Message) -> Check | None:
        """Return whether a caption needs the model; None: it does, whatever it shows."""
        job = work.job
        if not self._scenes or not isinstance(job, jobs.Caption) or job.always or work.cause:
            return None
        return await self._scenes.check(job, work.frames, self.model, result_id(self, message))

    async def _check_unanswered(self, subject: str, message: Message) -> None:
        """Raise AnsweredBefore for a redelivered job whose event is stored: its acknowledgement was lost.

        EVENTS drops a second event only for some minutes, and the model's time would be spent twice in any case.
        """
        id, since = result_id(self, message), message.raw.metadata.timestamp - CLOCKS_APART
        try:
            found = [await direct.get(self._client, names.EVENTS, subject=subject, since=since)]
        except NotFoundError:
            return
        async with Log(self._client, names.EVENTS) as log:
            while found:
                if any(stored.headers.get("ce-id") == id for stored in found):
                    raise AnsweredBefore(f"{id} is stored")
                found = await log.read(subject, found[-1].seq + 1)

    async def _check_wanted(self, job: Job, message: Message) -> None:
        """Raise Late for a job that expired in flight: the server deletes pending ones by itself."""
        if job.wait_s is None or time.time() - message.stored_at < job.wait_s:
            return
        try:
            # Our clock may be wrong: the job expires by the server's.
            await direct.get(self._client, message.stream, seq=message.seq)
        except NotFoundError as e:
            raise Late(f"nobody waits for the answer any more: it was waited for {job.wait_s:g} s") from e
        except (TimeoutError, nats.errors.Error):
            return

    async def infer(self, batch: Sequence[Task]) -> list[VlmResult]:
        """Return the job's event, without its timing. Raises as `Model.complete` does."""
        (task,) = batch
        job = task.work.job
        if not isinstance(job, jobs.Verify):
            return [await self._answer(task)]
        key = (job.camera, job.incident)
        while (first := self._verifying.get(key)) is not None:
            try:
                return [await asyncio.shield(first)]
            except Exception:  # noqa: S112 - the first job reports it; the next in turn tries for itself
                continue
        verdict = self._verifying[key] = asyncio.get_running_loop().create_future()
        try:
            found = await self._answer(task)
            verdict.set_result(found)
            return [found]
        except BaseException as e:
            verdict.set_exception(e if isinstance(e, Exception) else RuntimeError("cancelled"))
            verdict.exception()  # marks it as retrieved, even if no other job waits for it
            raise
        finally:
            if self._verifying.get(key) is verdict:
                del self._verifying[key]

    async def _answer(self, task: Task) -> VlmResult:
        work, kind = task.work, self._kinds[task.work.job.kind]
        if work.cause:
            return kind.unanswered(work, self._base(task, work.cause, work.reason))
        if task.check and (repeated := task.check.repeated):
            return kinds.event(Caption, self._base(task), text=repeated.text, same_as=repeated.id)
        chat = Chat(self._model, self._settings, kind=work.job.kind, span=task.message.span)
        try:
            await self._check_wanted(work.job, task.message)
            event = await kind.answer(work, chat, self._base(task))
        except Late as e:
            event = kind.unanswered(work, self._base(task, e.cause, str(e)))
        except BrokenAnswer as e:
            event = kind.unanswered(work, self._base(task, "schema", str(e)))
        return msgspec.structs.replace(event, usage=chat.usage)

    def _base(self, task: Task, cause: Cause | None = None, reason: str = "") -> VlmResult:
        work = task.work
        return VlmResult(
            camera=work.job.camera,
            job=task.id,
            start=work.start,
            end=work.end,
            model=self.model,
            frames=[Seen(time=frame.time, seq=frame.seq) for frame in work.frames],
            cause=cause,
            reason=reason,
            # These are known at the job's end.
            timing=Timing(queued_ms=0.0, decode_ms=0.0, infer_ms=0.0),
            usage=Usage(prompt_tokens=0, completion_tokens=0, first_token_ms=0.0),
        )

    def event(self, message: Message, prepared: Task, result: VlmResult) -> VlmResult:
        kind = prepared.work.job.kind
        outcome: str = result.cause or (result.verdict if isinstance(result, Verdict) else "answered")
        if isinstance(result, Caption) and result.same_as:
            outcome = "repeated"
        metrics.JOBS.labels(kind, outcome).inc()
        metrics.JOB.labels(kind).observe(max(0.0, time.time() - message.stored_at))
        if isinstance(result, Caption) and prepared.plan:
            result = msgspec.structs.replace(result, quality=prepared.plan.quality)
        return msgspec.structs.replace(result, timing=message.timing)

    def frame_times(self, prepared: Task) -> list[float]:
        """Return the time of the job's last video."""
        return [prepared.work.end.timestamp()] if not prepared.work.cause else []
