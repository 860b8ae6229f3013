"""Jobs that verify whether an incident is what its rule detected."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from services.vlm.endpoints.chat import Chat
from services.vlm.endpoints.prompt import Prompt
from services.vlm.frames.footage import Footage, NoFootage
from services.vlm.kinds import Work, event
from services.vlm.settings import VlmSettings
from shared.contract.events import Verdict, VlmResult
from shared.contract.work import jobs
from shared.runtime.plain import plain

PROMPT = """These are frames of a surveillance camera, in order of time. A rule has raised an alarm on them. What has to
be true for the alarm to be right:

{prompt}

Judge by what can be seen and by nothing else. "confirmed": it is clearly so. "rejected": it is clearly not so.
"uncertain": the frames do not show it. Give your confidence from 0 to 100, and the reason in one or two sentences."""


class VerdictAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The model's answer. The verdict comes first, so that it does not follow from the reason's wording."""

    verdict: Literal["confirmed", "rejected", "uncertain"]
    confidence: Annotated[int, Meta(ge=0, le=100)]
    reason: Annotated[str, Meta(max_length=240)]


class Verdicts:
    """Jobs of kind `verify`."""

    says: type[VlmResult] = Verdict

    def __init__(self, footage: Footage, settings: VlmSettings) -> None:
        self._footage = footage
        self._settings = settings

    async def look(self, job: jobs.Verify, frames: int) -> Work[jobs.Verify]:
        span = (job.start, job.end) if job.start and job.end else None
        try:
            shown = await self._footage.of(job.camera, job.segments, frames, span)
        except NoFootage:
            if span is None:
                raise
            shown = await self._footage.between(job.camera, *span, frames)
        return Work(job=job, start=job.start or shown[0].time, end=job.end or shown[-1].time, frames=shown)

    async def answer(self, work: Work[jobs.Verify], chat: Chat, base: VlmResult) -> Verdict:
        text = PROMPT.format(prompt=work.job.prompt)
        request = Prompt(text=text, frames=work.frames, max_tokens=self._settings.vlm_max_tokens)
        found = await chat.fill(request, VerdictAnswer)
        base = msgspec.structs.replace(base, reason=plain(found.reason))
        return _verdict(work.job, base, found.verdict, found.confidence / 100)

    def unanswered(self, work: Work[jobs.Verify], base: VlmResult) -> Verdict:
        return _verdict(work.job, base, "uncertain", 0.0)


def _verdict(job: jobs.Verify, base: VlmResult, verdict: str, confidence: float) -> Verdict:
    return event(Verdict, base, incident=job.incident, rule=job.rule, verdict=verdict, confidence=confidence)
